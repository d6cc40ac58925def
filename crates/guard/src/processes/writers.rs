//! Which databases a process has open for writing, as `/proc` shows it.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The files that hold what is written: `-shm` readers write, too.
const FILES: [&str; 3] = ["", "-wal", "-journal"];

/// Databases, and which of them were seen open for writing.
pub(super) struct Writers {
    /// By each of its files.
    wanted: HashMap<PathBuf, PathBuf>,
    seen: BTreeSet<PathBuf>,
}

impl Writers {
    pub(super) fn of(databases: &[PathBuf]) -> Self {
        let mut wanted = HashMap::new();
        for database in databases {
            let path = database.canonicalize().unwrap_or_else(|_| database.clone());
            for suffix in FILES {
                let mut file = path.clone().into_os_string();
                file.push(suffix);
                wanted.insert(file.into(), database.clone());
            }
        }
        let seen = BTreeSet::new();
        Self { wanted, seen }
    }

    /// Looks at what a process has open, by its directory in `/proc`.
    pub(super) fn see(&mut self, process: &Path) {
        let Ok(files) = std::fs::read_dir(process.join("fd")) else {
            return;
        };
        for fd in files.flatten() {
            let database = std::fs::read_link(fd.path())
                .ok()
                .and_then(|target| self.wanted.get(&target));
            if let Some(database) = database
                && may_write(&process.join("fdinfo").join(fd.file_name()))
            {
                self.seen.insert(database.clone());
            }
        }
    }

    pub(super) fn seen(self) -> Vec<PathBuf> {
        self.seen.into_iter().collect()
    }
}

/// What cannot be told does not: it would excuse what somebody else wrote.
fn may_write(info: &Path) -> bool {
    const READ_ONLY: u32 = 0;
    const ACCESS: u32 = 0o3;
    let info = std::fs::read_to_string(info).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & ACCESS != READ_ONLY)
}
