//! The copy that migration files are tried on.

use std::path::{Path, PathBuf};

use anyhow::Context;
use monolite_platform::path::with_suffix;
use monolite_replica::backup::local::{self, TakeOptions};
use monolite_replica::backup::{self, Check};
use rusqlite::Connection;
use rustix::io::Errno;

use super::stop::Stop;
use super::target::{Found, now_ms};
use crate::Failure;
use crate::bar::Bar;

/// The copy, and what it is compared with afterwards; gone with this.
pub(super) struct Scratch {
    dir: Option<PathBuf>,
    path: PathBuf,
    /// The same, in which nothing is changed.
    pristine: Option<PathBuf>,
    pub(super) bytes: u64,
}

impl Scratch {
    pub(super) fn of(found: &Found, stop: &Stop) -> Result<Self, Failure> {
        let mut scratch = Self {
            dir: None,
            path: ":memory:".into(),
            pristine: None,
            bytes: 0,
        };
        if !found.is_there()? {
            return Ok(scratch);
        }
        // One of this process's own, beside the database: where it can share
        // the disk's blocks with it.
        let all = found.plans();
        sweep(&all);
        let dir = all.join(std::process::id().to_string());
        scratch.dir = Some(dir.clone());
        let options = TakeOptions {
            check: Check::None,
            cancel: stop.cancel.clone(),
            ..TakeOptions::default()
        };
        let bar = Bar::new(found.shown());
        match local::take(&found.path, &dir, now_ms(), &options, &bar) {
            Ok(taken) => {
                // Where the filesystem can, the two share their blocks.
                let pristine = with_suffix(&taken.path, "-pristine");
                std::fs::copy(&taken.path, &pristine)
                    .with_context(|| format!("cannot copy {}", taken.path.display()))?;
                scratch.pristine = Some(pristine);
                scratch.path = taken.path;
                scratch.bytes = taken.bytes;
            }
            Err(backup::Error::Empty { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(scratch)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn pristine(&self) -> Option<&Path> {
        self.pristine.as_deref()
    }

    /// Bytes of its log.
    pub(super) fn log(&self) -> u64 {
        size(&with_suffix(&self.path, "-wal"))
    }

    pub(super) fn open(&self) -> Result<Connection, Failure> {
        let conn = Connection::open(&self.path);
        Ok(conn.with_context(|| format!("cannot open the copy {}", self.path.display()))?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(dir) = &self.dir {
            let _ = std::fs::remove_dir_all(dir);
            // Others may plan, too; the directories go with the last.
            for dir in dir.ancestors().skip(1).take(2) {
                let _ = std::fs::remove_dir(dir);
            }
        }
    }
}

/// Removes what processes that were killed have left.
fn sweep(all: &Path) {
    for entry in std::fs::read_dir(all).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        let is_gone = |pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH);
        if pid.is_some_and(is_gone) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |of| of.len())
}
