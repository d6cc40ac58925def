//! The log of the app's database, seen from outside: how long it becomes, and
//! how often it is begun anew.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// See above.
pub(super) struct Log {
    path: PathBuf,
    /// In bytes.
    pub(super) largest: u64,
    pub(super) resets: usize,
    /// From its header; another with each reset.
    salt: Option<[u8; 8]>,
}

impl Log {
    pub(super) fn new(database: &Path) -> Self {
        let mut name = database.as_os_str().to_owned();
        name.push("-wal");
        Self {
            path: name.into(),
            largest: 0,
            resets: 0,
            salt: None,
        }
    }

    pub(super) fn watch(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.look();
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// No lock is on the log itself, so that to close it does no harm.
    pub(super) fn look(&mut self) {
        let mut header = [0; 24];
        let read = std::fs::File::open(&self.path).and_then(|mut file| {
            self.largest = self.largest.max(file.metadata()?.len());
            file.read_exact(&mut header)
        });
        let salt: [u8; 8] = header[16..].try_into().unwrap();
        if read.is_ok() && self.salt.replace(salt).is_some_and(|before| before != salt) {
            self.resets += 1;
        }
    }
}
