//! The driver lane: what the app's processes load so that their SQLite drivers wait their turn.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use monolite_driver::{Lane, LockedWatch, need};
use monolite_supervisor::{Error, Run, Service, Started, Stream};
use monolite_volume::layout;

use crate::settings::DriverLane;

pub(crate) struct DriverLaneService {
    dir: PathBuf,
    app_dir: PathBuf,
    when: DriverLane,
    lane: Option<Lane>,
}

impl DriverLaneService {
    pub(crate) fn new(volume: &Path, app_dir: &Path, when: DriverLane) -> Self {
        Self {
            dir: layout::driver(volume),
            app_dir: app_dir.into(),
            when,
            lane: None,
        }
    }

    /// Why the app gets the lane; `None` if it does not.
    fn reason(&self) -> Option<String> {
        match self.when {
            DriverLane::Off => None,
            DriverLane::On => Some("--driver-lane on".into()),
            DriverLane::Auto => need(&self.app_dir).map(|need| format!("the app is {need}")),
        }
    }
}

#[async_trait(?Send)]
impl Service for DriverLaneService {
    fn name(&self) -> &'static str {
        "driver lane"
    }

    async fn start(&mut self, run: &mut Run) -> Result<Started, Error> {
        if let Some(reason) = self.reason() {
            match Lane::install(&self.dir) {
                Ok(lane) => {
                    let current = |name: &str| run.variable(name).map(Into::into);
                    for (name, value) in lane.variables(current) {
                        run.set_variable(name, value);
                    }
                    tracing::info!(
                        reason,
                        "driver lane: the app's SQLite drivers begin write transactions IMMEDIATE and wait in order; --driver-lane off switches this off"
                    );
                    self.lane = Some(lane);
                }
                // The app runs as it would without.
                Err(error) => tracing::warn!(
                    "no driver lane, so the app may answer `database is locked`: {error}"
                ),
            }
        }
        if self.when != DriverLane::Off {
            watch_for_locked(run, self.lane.is_some());
        }
        Ok(Started::Yes)
    }

    async fn stop(&mut self) {
        let Some(lane) = self.lane.take() else {
            return;
        };
        if let Ok(counters) = lane.counters() {
            let counted = counters.read();
            if counted.waits > 0 {
                tracing::info!(
                    waits = counted.waits,
                    waited_s = counted.waited.as_secs_f32(),
                    longest_ms = counted.longest_wait.as_millis(),
                    gave_up = counted.timeouts,
                    "driver lane: what the app's connections waited for each other"
                );
            }
        }
    }
}

/// Says once what helps when the app prints SQLite's words for a lock that was not got in time.
fn watch_for_locked(run: &mut Run, has_lane: bool) {
    let is_seen = AtomicBool::new(false);
    let watches = [Stream::Stdout, Stream::Stderr].map(|_| Mutex::new(LockedWatch::default()));
    run.watch_output(move |stream, bytes| {
        if is_seen.load(Ordering::Relaxed) {
            return;
        }
        let watch = &watches[usize::from(stream == Stream::Stderr)];
        let found = watch.lock().unwrap_or_else(PoisonError::into_inner).look(bytes);
        let Some(words) = found else {
            return;
        };
        if is_seen.swap(true, Ordering::Relaxed) {
            return;
        }
        match has_lane {
            false => tracing::warn!(
                "the app has printed `{words}`: a transaction of its reads before it writes, or its driver cannot wait. Set --driver-lane on, which lets its drivers wait in order without a change of the app"
            ),
            true => tracing::warn!(
                "the app has printed `{words}` although it has the driver lane: a write took longer than the busy timeout of the app's connection, or its driver is one that the lane does not reach; docs/driver-lane.md lists them"
            ),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_itself_it_is_for_apps_that_need_it() {
        let volume = tempfile::tempdir().unwrap();
        let app = tempfile::tempdir().unwrap();
        let reason = |when| DriverLaneService::new(volume.path(), app.path(), when).reason();
        assert_eq!(reason(DriverLane::Auto), None);
        assert_eq!(reason(DriverLane::On).as_deref(), Some("--driver-lane on"));
        std::fs::write(app.path().join("manage.py"), "").unwrap();
        assert_eq!(
            reason(DriverLane::Auto).as_deref(),
            Some("the app is Django")
        );
        assert_eq!(reason(DriverLane::Off), None);
    }
}
