//! Which databases a process has open for writing.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use monolite_platform::process::{Pid, open_files};

use crate::files;

/// Databases, and which of them were seen open for writing.
pub(super) struct Writers {
    /// By each of the files that hold what is written; to `-shm` those write, too, who only read.
    wanted: HashMap<PathBuf, PathBuf>,
    seen: BTreeSet<PathBuf>,
}

impl Writers {
    pub(super) fn of(databases: &[PathBuf]) -> Self {
        let mut wanted = HashMap::new();
        for database in databases {
            let path = database.canonicalize().unwrap_or_else(|_| database.clone());
            for file in files::logs(&path).into_iter().chain([path]) {
                wanted.insert(file, database.clone());
            }
        }
        let seen = BTreeSet::new();
        Self { wanted, seen }
    }

    /// Looks at what a process has open. What is not known to write does not count: it would excuse
    /// what somebody else wrote.
    pub(super) fn see(&mut self, pid: Pid) {
        for file in open_files(pid).unwrap_or_default() {
            if let Some(database) = self.wanted.get(file.path())
                && file.access().is_known_to_write()
            {
                self.seen.insert(database.clone());
            }
        }
    }

    pub(super) fn seen(self) -> Vec<PathBuf> {
        self.seen.into_iter().collect()
    }
}
