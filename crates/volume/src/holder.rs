//! Who holds the lock of a directory.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::lock::{LockError, lock_path};
use crate::text::quote;

/// More than anyone writes; a longer file is not ours.
const MAX_BYTES: u64 = 4096;
/// Who has just locked has not yet written who it is.
const READ_ATTEMPTS: u32 = 10;
const READ_PAUSE: Duration = Duration::from_millis(2);

/// The process that holds a lock, as it described itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id, in its own container; 0 if it could not be learned.
    pub pid: u32,
    /// What it is, for example `monolite run`.
    pub command: String,
    /// The port it listens on, if any.
    pub port: Option<u16>,
    /// When it took the lock, in seconds since 1970; 0 if not known.
    pub started_unix: u64,
    /// The name of its machine or container; empty if not known.
    #[serde(default)]
    pub host: String,
}

impl Holder {
    pub(crate) fn unknown() -> Self {
        Self {
            pid: 0,
            command: String::new(),
            port: None,
            started_unix: 0,
            host: String::new(),
        }
    }

    /// How to make it let go of `dir`.
    pub(crate) fn mend(&self, dir: &Path) -> String {
        if self.pid == 0 {
            format!(
                "find the process with: fuser -v {}; and stop it",
                quote(&lock_path(dir))
            )
        } else if self.is_elsewhere() {
            format!("stop it on {} first, or name another directory", self.host)
        } else {
            format!(
                "stop it first (kill {}), or name another directory",
                self.pid
            )
        }
    }

    /// Its PID means nothing here: another container, or another machine.
    fn is_elsewhere(&self) -> bool {
        !self.host.is_empty() && self.host != host()
    }
}

/// `` `monolite run` (pid 123, port 8080) ``
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return f.write_str("another process");
        }
        // Read from a file: nothing in it may steer a terminal.
        write!(f, "`{}` (pid {}", self.command.escape_debug(), self.pid)?;
        if let Some(port) = self.port {
            write!(f, ", port {port}")?;
        }
        if self.is_elsewhere() {
            write!(f, ", on {}", self.host.escape_debug())?;
        }
        f.write_str(")")
    }
}

/// Who holds the lock of `dir` now; None if nobody does, or if `dir` was never
/// locked. Nothing is created or left behind.
///
/// When it is held but its holder has not said who it is (within 20 ms), the
/// answer has `pid` 0. Two calls at once do not mistake each other for a
/// holder, and [`Lock::acquire`](crate::Lock::acquire) waits such a call out.
///
/// # Errors
/// [`LockError::Io`] when the lock cannot be read, as by another user.
pub fn holder(dir: &Path) -> Result<Option<Holder>, LockError> {
    let path = lock_path(dir);
    let failed = |what| {
        let path = path.clone();
        move |source| LockError::Io { what, path, source }
    };
    let nofollow = OFlags::NOFOLLOW.bits().cast_signed();
    let mut file = match OpenOptions::new()
        .read(true)
        .custom_flags(nofollow)
        .open(&path)
    {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("read"))?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => Ok(Some(read(&mut file).unwrap_or_else(Holder::unknown))),
        Err(errno) => Err(failed("lock")(errno.into())),
    }
}

/// What the holder of the lock wrote into it.
pub(crate) fn read(file: &mut File) -> Option<Holder> {
    for attempt in 0..READ_ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(READ_PAUSE);
        }
        let mut bytes = Vec::new();
        let whole = file
            .rewind()
            .and_then(|()| file.take(MAX_BYTES).read_to_end(&mut bytes));
        if whole.is_ok()
            && let Ok(holder) = serde_json::from_slice(&bytes)
        {
            return Some(holder);
        }
    }
    None
}

/// The name of this machine, or of this container.
pub(crate) fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Holder {
        Holder {
            pid: 123,
            command: "monolite run".into(),
            port: Some(8080),
            started_unix: 1,
            host: host(),
        }
    }

    #[test]
    fn it_says_who_and_where() {
        assert_eq!(run().to_string(), "`monolite run` (pid 123, port 8080)");
        assert!(run().mend(Path::new("/data")).contains("kill 123"));
        let elsewhere = Holder {
            port: None,
            host: "4f3a\x1b[2J".into(),
            ..run()
        };
        assert_eq!(
            elsewhere.to_string(),
            r"`monolite run` (pid 123, on 4f3a\u{1b}[2J)"
        );
        assert!(!elsewhere.mend(Path::new("/data")).contains("kill"));
        assert_eq!(Holder::unknown().to_string(), "another process");
        assert!(
            Holder::unknown()
                .mend(Path::new("/d"))
                .contains("'/d/.monolite/lock'")
        );
    }

    #[test]
    fn what_is_not_ours_is_not_believed() {
        for text in ["", "{", "{}", "[1]", "null", "{\"pid\":-1}", "\0\0"] {
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
            assert_eq!(read(&mut file), None, "{text}");
        }
        let mut file = tempfile::tempfile().unwrap();
        serde_json::to_writer(&file, &run()).unwrap();
        assert_eq!(read(&mut file), Some(run()));
    }

    #[test]
    fn asking_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(holder(dir.path()).unwrap(), None);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(holder(Path::new("/not/there")).unwrap(), None);
    }
}
