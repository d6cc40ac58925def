//! What `monolite migrate` offers to the guard: lines, and a bar on a terminal; and how a migration
//! is entered, whether a command or files are run.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::anyhow;
use monolite_guard::migration;
use monolite_guard::{
    Cancel, Error, GUARDED, Guard, Host, Interrupted, Progress, holder, messages,
};
use monolite_platform::process;
use monolite_replica::Find;

use crate::Failure;
use crate::bar::Bar;

/// A volume as the guard sees it from a terminal.
pub(super) struct Terminal {
    volume: PathBuf,
    find: Find,
    cancel: Cancel,
    /// Of the database that is worked on.
    bar: Mutex<Option<(String, Bar)>>,
}

impl Terminal {
    /// `find` answers with the databases to guard.
    pub(super) fn new(volume: PathBuf, find: Find) -> Arc<Self> {
        Arc::new(Self {
            volume,
            find,
            cancel: Cancel::default(),
            bar: Mutex::default(),
        })
    }

    /// Takes the migration lock for `name` and does away with a migration that was interrupted; no
    /// guard if `stop` came first. The flag says whether one had been interrupted.
    pub(super) async fn enter(
        self: &Arc<Self>,
        name: &str,
        interrupted: Interrupted,
        mut stop: impl Future<Output = ()> + Unpin,
    ) -> Result<(Option<Guard>, bool), Failure> {
        let host: Arc<dyn Host> = Arc::clone(self) as _;
        let guard = migration::enter(host, name, &mut stop).await?;
        let guard = guard.ok_or_else(cancelled)?;
        // It may have been started while another migration was waited for.
        self.nobody_runs()?;
        let (guard, rollback) = migration::recover(guard, interrupted, &mut stop).await?;
        for line in rollback.iter().flat_map(messages::recovered) {
            eprintln!("monolite: {line}");
        }
        Ok((guard, rollback.is_some()))
    }

    /// An app that `run` serves may write at any time.
    fn nobody_runs(&self) -> anyhow::Result<()> {
        match monolite_volume::holder(&self.volume)? {
            Some(holder) => Err(anyhow!(
                "{} is in use by {holder}: what its app writes would be lost if the migration had to be put back; \
                 give the migration to it instead (`monolite run --migrate`), which holds the requests meanwhile",
                self.volume.display()
            )),
            None => Ok(()),
        }
    }
}

pub(super) fn cancelled() -> anyhow::Error {
    Error::Cancelled.into()
}

/// Whether this process is (of) the command of a guard of the volume: by its
/// environment, or, where that was not passed on (`sudo`, `env -i`), by who its
/// ancestors are.
pub(super) fn is_guarded(volume: &Path) -> bool {
    let guarded = std::env::var_os(GUARDED).and_then(|of| Path::new(&of).canonicalize().ok());
    let by_name = guarded.is_some() && guarded == volume.canonicalize().ok();
    by_name || holder(volume).is_some_and(is_ancestor)
}

/// Whether a process is above this one.
fn is_ancestor(pid: u32) -> bool {
    let all = process::all().unwrap_or_default();
    let above = process::ancestors(&all, rustix::process::getpid());
    let pid = i32::try_from(pid).ok().and_then(process::Pid::from_raw);
    pid.is_some_and(|pid| above.contains(&pid))
}

impl Host for Terminal {
    fn volume(&self) -> &Path {
        &self.volume
    }

    fn databases(&self) -> Vec<PathBuf> {
        (self.find)()
    }

    fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    fn has_no_database_open(&self) -> bool {
        true
    }

    fn report(&self, progress: Progress) {
        use monolite_replica::Progress as _;
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = messages::progress(&progress) {
            *bar = None;
            eprintln!("monolite: {}", message.text);
        }
        match progress {
            Progress::Step {
                database,
                step,
                total,
            } => {
                if bar.as_ref().is_none_or(|(of, _)| *of != database) {
                    *bar = Some((database.clone(), Bar::new(database)));
                }
                if let Some((_, bar)) = bar.as_ref() {
                    bar.begin(step, total);
                }
            }
            Progress::Advance(bytes) => {
                if let Some((_, bar)) = bar.as_ref() {
                    bar.advance(bytes);
                }
            }
            Progress::Idle => *bar = None,
            _ => {}
        }
    }
}
