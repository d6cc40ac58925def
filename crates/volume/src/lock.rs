//! One `monolite` at a time on a volume: `.monolite/lock`
//! ([`layout::lock`]), a [`monolite_platform::lock`].

use std::io;
use std::path::{Path, PathBuf};

use monolite_platform::lock::{self, Holder, Purpose};
use monolite_platform::{durable, path};
use rustix::io::Errno;

use crate::layout;
use crate::text::quote;

/// Holds a volume for this process: dropped, or at any death of the process, it
/// is free again. Children do not inherit it over exec.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, and never looked at")] lock::Lock);

/// Why a volume could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process, or this one, holds it.
    #[error("{} is in use by {holder}: {}", .volume.display(), remedy(.holder, .volume))]
    Held {
        /// The volume.
        volume: PathBuf,
        /// Who holds it; [`Holder::unknown`] if that could not be read.
        holder: Box<Holder>,
    },
    /// The operating system refused something.
    #[error("cannot {what} {}: {source}{}", .path.display(), remedy_of(.source))]
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
    /// Locks `volume`, a directory that exists; `.monolite` in it is created (0700).
    ///
    /// A file left by a process that died is simply locked again. Takes 0.1 s to
    /// give up when the volume is held.
    ///
    /// # Errors
    /// [`LockError::Held`] with the holder; [`LockError::Io`] when the lock cannot
    /// be created, opened or locked.
    pub fn acquire(volume: &Path, purpose: &Purpose) -> Result<Self, LockError> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| LockError::Io { what, path, source }
        };
        // It is not created: what is not mounted is not there.
        volume.metadata().map_err(failed("look at", volume))?;
        let path = layout::lock(volume);
        let own = path::directory(&path);
        durable::make_directories(own, 0o700).map_err(failed("create", own))?;
        match lock::Lock::try_acquire(&path, purpose) {
            Ok(lock) => Ok(Self(lock)),
            Err(lock::LockError::Held { holder, .. }) => Err(LockError::Held {
                volume: volume.to_owned(),
                holder,
            }),
            Err(lock::LockError::Io { what, path, source }) => Err(failed(what, &path)(source)),
            Err(other) => Err(failed("lock", &path)(io::Error::other(other))),
        }
    }
}

/// Who holds `volume` now; `None` if nobody does, or if it was never locked. As
/// [`monolite_platform::lock::holder`] answers: nothing is created.
///
/// # Errors
/// [`LockError::Io`] when the lock cannot be read, as by another user.
pub fn holder(volume: &Path) -> Result<Option<Holder>, LockError> {
    let path = layout::lock(volume);
    lock::holder(&path).map_err(|source| LockError::Io {
        what: "read",
        path,
        source,
    })
}

/// How to have the holder release `volume`.
pub(crate) fn remedy(holder: &Holder, volume: &Path) -> String {
    if holder.pid == 0 {
        let path = quote(&layout::lock(volume));
        format!("find the process with: fuser -v {path}; and stop it")
    } else if holder.is_elsewhere() {
        let host = holder.host.escape_debug();
        format!("stop it on {host} first, or name another directory")
    } else {
        let pid = holder.pid;
        format!("stop it first (kill {pid}), or name another directory")
    }
}

fn remedy_of(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; mount the volume, or create the directory first",
        io::ErrorKind::PermissionDenied => "; give it to this user with chown, or run as its owner",
        io::ErrorKind::ReadOnlyFilesystem => "; mount the volume read-write",
        io::ErrorKind::StorageFull => "; free some space, or grow the volume",
        io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::AlreadyExists => "; move away what has its name",
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

    fn run() -> Purpose {
        Purpose::new("monolite run").port(Some(8080))
    }

    #[test]
    fn held_once_and_free_after_drop() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::acquire(dir.path(), &run()).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&layout::lock(dir.path())), 0o600);
        assert_eq!(mode(&layout::state(dir.path())), 0o700);
        let seen = holder(dir.path()).unwrap().unwrap();
        assert_eq!((seen.pid, seen.port), (std::process::id(), Some(8080)));

        let error = Lock::acquire(dir.path(), &run()).unwrap_err();
        assert!(matches!(&error, LockError::Held { holder, .. } if **holder == seen));
        let text = error.to_string();
        assert!(text.contains("in use by `monolite run` (pid "), "{text}");
        assert!(
            text.contains("port 8080") && text.contains("kill "),
            "{text}"
        );

        drop(lock);
        assert_eq!(holder(dir.path()).unwrap(), None);
        Lock::acquire(dir.path(), &run()).unwrap();
    }

    #[test]
    fn the_remedy_depends_on_where_the_holder_is() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = Lock::acquire(dir.path(), &run()).unwrap();
        let remedy_with = |description: &str| {
            std::fs::write(layout::lock(dir.path()), description).unwrap();
            Lock::acquire(dir.path(), &run()).unwrap_err().to_string()
        };
        let unknown = remedy_with("");
        assert!(
            unknown.contains("in use by another process: find"),
            "{unknown}"
        );
        assert!(unknown.contains(".monolite/lock'"), "{unknown}");
        let elsewhere = remedy_with(r#"{"pid":7,"command":"monolite run","host":"4f3a\u001b"}"#);
        let wanted = r"(pid 7, on 4f3a\u{1b}): stop it on 4f3a\u{1b} first";
        assert!(elsewhere.contains(wanted), "{elsewhere}");
        assert!(!elsewhere.contains("kill"));
    }

    #[test]
    fn asking_keeps_nobody_from_locking() {
        let dir = tempfile::tempdir().unwrap();
        drop(Lock::acquire(dir.path(), &run()).unwrap());
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    holder(dir.path()).unwrap();
                }
            });
            for _ in 0..200 {
                Lock::acquire(dir.path(), &run()).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn refusals_name_the_path_and_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let error = Lock::acquire(&dir.path().join("no"), &run()).unwrap_err();
        assert!(error.to_string().contains("/no: "), "{error}");
        assert!(error.to_string().contains("mount the volume"), "{error}");
        assert!(!dir.path().join("no").exists());

        std::fs::write(layout::state(dir.path()), b"").unwrap();
        let error = Lock::acquire(dir.path(), &run()).unwrap_err();
        assert!(error.to_string().contains("move away"), "{error}");
        assert!(holder(dir.path()).is_err());
    }

    #[test]
    fn a_link_with_its_name_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        std::fs::write(&precious, b"data").unwrap();
        std::fs::create_dir(layout::state(dir.path())).unwrap();
        std::os::unix::fs::symlink(&precious, layout::lock(dir.path())).unwrap();
        let error = Lock::acquire(dir.path(), &run()).unwrap_err();
        assert!(error.to_string().contains("it is a link"), "{error}");
        assert_eq!(std::fs::read(&precious).unwrap(), b"data");
    }
}
