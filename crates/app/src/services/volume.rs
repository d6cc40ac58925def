//! The volume: checked, and locked for this run alone.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use monolite_supervisor::{Error, Exit, Run, Service, Started};
use monolite_volume::{Finding, Level, Lock, LockError, Purpose, Volume};

pub(crate) struct VolumeService {
    pub(crate) volume: Volume,
    /// Checks that may fail.
    pub(crate) allow: Vec<String>,
    /// The public port, for whoever finds the volume locked.
    pub(crate) port: u16,
    /// Held until the run ends.
    pub(crate) lock: Option<Lock>,
}

/// The volume is not fit for production: the checks that failed and are not allowed to.
#[derive(Debug, thiserror::Error)]
#[error("the volume is not fit for production")]
pub struct NotFit(pub Vec<Finding>);

/// Why a volume that is fit cannot be used.
#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error("cannot create the data directory {}: {source}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Locked(#[from] LockError),
}

#[async_trait(?Send)]
impl Service for VolumeService {
    fn name(&self) -> &'static str {
        "volume"
    }

    async fn start(&mut self, run: &mut Run) -> Result<Started, Error> {
        let volume = self.volume.clone();
        // On a slow disk this takes its time.
        let inspected = blocking("check the volume", move || {
            monolite_volume::inspect(&volume)
        });
        let found = tokio::select! {
            found = inspected => found?,
            () = run.stop_requested() => return Ok(Started::Stopped(Exit::Code(0))),
        };
        let refused = judge(found, &self.allow);
        if !refused.is_empty() {
            return Err(Error::service("volume", NotFit(refused)));
        }
        let (dir, port) = (self.volume.dir.clone(), self.port);
        let taken = blocking("lock the volume", move || take(&dir, port)).await?;
        self.lock = Some(taken.map_err(|error| Error::service("volume", error))?);
        Ok(Started::Yes)
    }

    async fn stop(&mut self) {
        self.lock = None;
    }
}

/// Logs what is not as it should be; answers with what must stop the run.
fn judge(found: Vec<Finding>, allow: &[String]) -> Vec<Finding> {
    let mut refused = Vec::new();
    for finding in found {
        let is_allowed = allow.iter().any(|name| name == finding.name);
        let (check, fix, what) = (finding.name, &finding.remedy, &finding.what);
        match finding.level {
            Level::Pass => {}
            Level::Warn => tracing::warn!(check, fix, "{what}"),
            Level::Fail if is_allowed => tracing::warn!(check, "allowed: {what}"),
            Level::Fail => refused.push(finding),
        }
    }
    refused
}

fn take(dir: &Path, port: u16) -> Result<Lock, TakeError> {
    std::fs::create_dir_all(dir).map_err(|source| TakeError::Create {
        path: dir.into(),
        source,
    })?;
    let purpose = Purpose::new("monolite run").port(Some(port));
    Ok(Lock::acquire(dir, &purpose)?)
}

/// Work on disks does not block the supervisor's thread.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Io {
        what,
        source: io::Error::other(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_that_are_not_allowed_stop_the_run() {
        let found = |allow: &[&str]| {
            let dir = tempfile::tempdir().unwrap();
            let mut volume = Volume::new(dir.path());
            // Nothing has so much free.
            volume.min_free_bytes = u64::MAX;
            let allow: Vec<String> = allow.iter().map(|name| (*name).into()).collect();
            let refused = judge(monolite_volume::inspect(&volume), &allow);
            refused
                .iter()
                .map(|finding| finding.name)
                .collect::<Vec<_>>()
        };
        assert!(
            found(&["persistent"]).contains(&"free-space"),
            "{:?}",
            found(&[])
        );
        assert!(!found(&["persistent", "free-space"]).contains(&"free-space"));
    }

    #[test]
    fn a_volume_is_taken_by_one_run() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("made/for/it");
        let lock = take(&volume, 80).unwrap();
        assert!(matches!(take(&volume, 80), Err(TakeError::Locked(_))));
        drop(lock);
        assert!(take(&volume, 80).is_ok());
        std::fs::write(dir.path().join("file"), "").unwrap();
        let error = take(&dir.path().join("file/data"), 80)
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot create the data directory "),
            "{error}"
        );
    }
}
