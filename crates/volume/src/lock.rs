//! One `monolite` per directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::holder::{self, Holder};

/// How long a lock that is held is tried again: [`holder()`](crate::holder())
/// holds it for a moment, and so does a child of its holder between fork and
/// exec.
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(5);

/// What the holder of a lock says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockInfo {
    /// What it is, in a few words: `monolite run`. Not the whole command line,
    /// which may hold secrets; in all, 3 KiB at most can be told to others.
    pub command: String,
    /// The port it listens on, if any.
    pub port: Option<u16>,
}

/// Holds a directory for this process: dropped, or at any death of the
/// process, it is free again. Children do not inherit it over exec.
///
/// It is an advisory lock (`flock`) on `<dir>/.monolite/lock`. The file stays:
/// to delete it would let two processes lock two files of the same name.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process, or this one, holds it.
    #[error("{} is in use by {}: {}", .dir.display(), or_unknown(.holder), or_unknown(.holder).mend(.dir))]
    Held {
        /// The directory.
        dir: PathBuf,
        /// Who holds it, if that could be read.
        holder: Option<Holder>,
    },
    /// The operating system refused something.
    #[error("cannot {what} {}: {source}{}", .path.display(), mend(.source))]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl Lock {
    /// Locks `dir`, which must exist; `.monolite` in it is created (0700).
    ///
    /// A file left by a process that died is simply locked again. Blocks for
    /// about 0.1 s when the directory is held.
    ///
    /// # Errors
    /// [`LockError::Held`] with the holder; [`LockError::Io`] when the lock
    /// cannot be created, opened or locked.
    pub fn acquire(dir: &Path, info: &LockInfo) -> Result<Self, LockError> {
        let path = lock_path(dir);
        let own = dir.join(".monolite");
        match DirBuilder::new().mode(0o700).create(&own) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(LockError::Io {
                    what: "create",
                    path: own,
                    source: error,
                });
            }
            _ => {}
        }
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // A link could make us overwrite anything.
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path);
        let mut file = match opened {
            Ok(file) => file,
            Err(source) => {
                let what = "open";
                return Err(LockError::Io { what, path, source });
            }
        };
        let give_up = Instant::now() + PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if Instant::now() < give_up => std::thread::sleep(PAUSE),
                Err(Errno::WOULDBLOCK) => {
                    return Err(LockError::Held {
                        dir: dir.to_owned(),
                        holder: holder::read(&mut file),
                    });
                }
                Err(errno) => {
                    let source = errno.into();
                    let what = "lock";
                    return Err(LockError::Io { what, path, source });
                }
            }
        }
        // The lock is what counts. On a full disk it holds without saying who
        // has it, and whether a full disk is fit is not decided here.
        let _ = write(&mut file, info);
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would leave it to a child that has not yet exec'd.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Emptied first, so that nobody reads who held it before.
fn write(file: &mut File, info: &LockInfo) -> io::Result<()> {
    file.set_len(0)?;
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut line = serde_json::to_vec(&Holder {
        pid: std::process::id(),
        command: info.command.clone(),
        port: info.port,
        started_unix: since_1970.as_secs(),
        host: holder::host(),
    })?;
    line.push(b'\n');
    // One call: a reader sees all of it, or tries again.
    file.write_all(&line)
}

pub(crate) fn lock_path(dir: &Path) -> PathBuf {
    dir.join(".monolite").join("lock")
}

fn or_unknown(holder: &Option<Holder>) -> Holder {
    holder.clone().unwrap_or_else(Holder::unknown)
}

fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; mount the volume, or create the directory first",
        io::ErrorKind::PermissionDenied => "; give it to this user with chown, or run as its owner",
        io::ErrorKind::ReadOnlyFilesystem => "; mount the volume read-write",
        io::ErrorKind::StorageFull => "; free some space, or grow the volume",
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            "; move away what is there instead of it"
        }
        _ if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            "; it is a link: remove it"
        }
        _ => "; put the databases on a local disk",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::holder;

    fn info() -> LockInfo {
        LockInfo {
            command: "monolite run".into(),
            port: Some(8080),
        }
    }

    #[test]
    fn held_once_and_free_after_drop() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(dir.path(), &info()).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&lock_path(dir.path())), 0o600);
        assert_eq!(mode(&dir.path().join(".monolite")), 0o700);

        let seen = holder(dir.path()).unwrap().unwrap();
        assert_eq!((seen.pid, seen.port), (std::process::id(), Some(8080)));
        assert!(seen.started_unix > 1_700_000_000);

        let error = Lock::acquire(dir.path(), &info()).unwrap_err();
        assert!(matches!(&error, LockError::Held { holder: Some(h), .. } if *h == seen));
        let text = error.to_string();
        assert!(text.contains("in use by `monolite run` (pid "), "{text}");
        assert!(
            text.contains("port 8080") && text.contains("kill "),
            "{text}"
        );

        drop(lock);
        assert_eq!(holder(dir.path()).unwrap(), None);
        assert!(lock_path(dir.path()).exists());
        Lock::acquire(dir.path(), &info()).unwrap();
    }

    #[test]
    fn a_shorter_description_replaces_a_longer_one() {
        let dir = tempfile::tempdir().unwrap();
        let long = LockInfo {
            command: "x".repeat(1000),
            port: None,
        };
        drop(Lock::acquire(dir.path(), &long).unwrap());
        let _lock = Lock::acquire(dir.path(), &info()).unwrap();
        let seen = holder(dir.path()).unwrap().unwrap();
        assert_eq!(seen.command, "monolite run");
    }

    #[test]
    fn a_holder_that_does_not_say_who_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = Lock::acquire(dir.path(), &info()).unwrap();
        std::fs::write(lock_path(dir.path()), b"").unwrap();
        assert_eq!(holder(dir.path()).unwrap().unwrap().pid, 0);
        let error = Lock::acquire(dir.path(), &info()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("in use by another process: find"),
            "{error}"
        );
    }

    #[test]
    fn asking_does_not_keep_others_from_locking() {
        let dir = tempfile::tempdir().unwrap();
        drop(Lock::acquire(dir.path(), &info()).unwrap());
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    holder(dir.path()).unwrap();
                }
            });
            for _ in 0..200 {
                Lock::acquire(dir.path(), &info()).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn refusals_name_the_path_and_the_mend() {
        let dir = tempfile::tempdir().unwrap();
        let error = Lock::acquire(&dir.path().join("no"), &info()).unwrap_err();
        assert!(error.to_string().contains("no/.monolite: "), "{error}");
        assert!(error.to_string().contains("mount the volume"), "{error}");

        std::fs::write(dir.path().join(".monolite"), b"").unwrap();
        let error = Lock::acquire(dir.path(), &info()).unwrap_err();
        assert!(error.to_string().contains("move away"), "{error}");
        assert!(holder(dir.path()).is_err());
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        std::fs::write(&precious, b"data").unwrap();
        std::fs::create_dir(dir.path().join(".monolite")).unwrap();
        std::os::unix::fs::symlink(&precious, lock_path(dir.path())).unwrap();
        let error = Lock::acquire(dir.path(), &info()).unwrap_err();
        assert!(
            matches!(error, LockError::Io { what: "open", .. }),
            "{error}"
        );
        assert_eq!(std::fs::read(&precious).unwrap(), b"data");
    }
}
