//! An exclusive lock on a file, with its holder written in it.
//!
//! Invariant: the lock is the kernel's (`flock`), and is released however its
//! process ends; what is written in the file only says who that is. The file
//! stays: to delete it would let two processes lock two files of one name.
//!
//! A child does not inherit it over exec. It is advisory, and on network
//! filesystems it may not reach other machines.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::cancel::{Cancel, Cancelled};
use crate::{durable, path, process};

/// How long a lock that seems held is tried again by [`Lock::try_acquire`]:
/// [`holder`] holds it for a moment, and so does a child of its holder between
/// fork and exec.
const GRACE: Duration = Duration::from_millis(100);
/// Between two tries within [`GRACE`], and after that. The kernel would wake a
/// waiter, but then nothing else could.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(20)];
/// More bytes than a description has; a longer file is not ours.
const DESCRIPTION_MAX: u64 = 4096;
/// How often a description that is not whole is read again, and the pause before:
/// who has just locked has not written it yet.
const READ_ATTEMPTS: u32 = 10;
const READ_PAUSE: Duration = Duration::from_millis(2);

/// What a lock is taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    command: String,
    port: Option<u16>,
    mode: u32,
}

impl Purpose {
    /// What the holder is, in a few words: `monolite run`. Not a whole command
    /// line, which may hold secrets. A description longer than 3 KiB in all is not
    /// read by others.
    pub fn new(command: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            port: None,
            mode: 0o600,
        }
    }

    /// The port the holder listens on, if any.
    #[must_use]
    pub fn port(mut self, port: Option<u16>) -> Self {
        self.port = port;
        self
    }

    /// The permissions with which the lock's file is created, before the umask
    /// takes its share; 0600 if not set. Whoever is to lock it needs to read and
    /// write it: 0666 leaves that to the umask.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }
}

/// The process that holds a lock, as it described itself: one line of JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holder {
    /// Its process id, in its own container; 0 if it could not be learned.
    pub pid: u32,
    /// What it is, for example `monolite run`.
    pub command: String,
    /// The port it listens on, if any.
    #[serde(default)]
    pub port: Option<u16>,
    /// When it took the lock, in seconds since 1970; 0 if not known.
    #[serde(default)]
    pub started_unix: u64,
    /// The name of its machine or container; empty if not known.
    #[serde(default)]
    pub host: String,
    /// The start of the machine in which it runs ([`process::boot_id`]); empty if
    /// not known. With [`Holder::start_ticks`] it tells this process from a later
    /// one of the same id.
    #[serde(default)]
    pub boot_id: String,
    /// When it started, in clock ticks since then ([`process::Process::start_ticks`]);
    /// 0 if not known.
    #[serde(default)]
    pub start_ticks: u64,
}

impl Holder {
    /// One that has not said who it is.
    #[must_use]
    pub fn unknown() -> Self {
        Self::default()
    }

    /// This process.
    fn this(purpose: &Purpose) -> Self {
        let own = process::Process::of(rustix::process::getpid());
        Self {
            pid: std::process::id(),
            command: purpose.command.clone(),
            port: purpose.port,
            started_unix: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs(),
            host: host(),
            boot_id: process::boot_id().unwrap_or_default(),
            start_ticks: own.map_or(0, |own| own.start_ticks),
        }
    }

    /// Whether its process id means nothing here: it runs in another container or
    /// on another machine.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        !self.host.is_empty() && self.host != host()
    }
}

/// `` `monolite run` (pid 123, port 8080) ``, or `another process`.
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

/// The name of this machine, or of this container.
#[must_use]
pub fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Why a file could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process holds it, or another lock of this one.
    #[error("{} is locked by {holder}", .path.display())]
    Held {
        /// The file.
        path: PathBuf,
        /// Who holds it; [`Holder::unknown`] if that could not be read.
        holder: Box<Holder>,
    },
    /// The wait was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The operating system refused something.
    #[error("cannot {what} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

/// Holds a file until dropped, or until the process dies in any way.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Locks the file at `path`, which is created if it is not there ([`Purpose::mode`];
    /// its directory is there). Takes 0.1 s to give up when it is held.
    ///
    /// # Errors
    /// [`LockError::Held`] with the holder; [`LockError::Io`] when the file cannot
    /// be created, opened or locked: a link is never followed.
    pub fn try_acquire(path: &Path, purpose: &Purpose) -> Result<Self, LockError> {
        Self::acquire(path, purpose, GRACE, &Cancel::default(), |_| ())
    }

    /// As [`Lock::try_acquire`], and waits up to `limit` for a holder to let it go.
    /// `waiting` is called once with the holder when the wait begins.
    ///
    /// # Errors
    /// As [`Lock::try_acquire`], and [`LockError::Cancelled`].
    pub fn acquire(
        path: &Path,
        purpose: &Purpose,
        limit: Duration,
        cancel: &Cancel,
        waiting: impl FnOnce(&Holder),
    ) -> Result<Self, LockError> {
        let at = |what| move |source| (what, source);
        let failed = |(what, source)| LockError::Io {
            what,
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(purpose.mode)
            // A link could make us overwrite anything.
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(path)
            .map_err(at("open"))
            .map_err(failed)?;
        // What root made is of use to the volume's owner, who may come next.
        durable::give_to_owner_of(&file, path::directory(path))
            .map_err(at("give away"))
            .map_err(failed)?;
        let since = Instant::now();
        let mut waiting = Some(waiting);
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(failed(("lock", source))),
                Err(TryLockError::WouldBlock) => {}
            }
            let waited = since.elapsed();
            if waited >= limit {
                return Err(LockError::Held {
                    path: path.to_owned(),
                    holder: Box::new(read(&mut file).unwrap_or_default()),
                });
            }
            let pause = match waited < GRACE {
                true => PAUSES[0],
                false => {
                    if let Some(waiting) = waiting.take() {
                        waiting(&read(&mut file).unwrap_or_default());
                    }
                    PAUSES[1]
                }
            };
            cancel.wait(pause.min(limit - waited))?;
        }
        let mut lock = Self { file };
        lock.describe(purpose);
        Ok(lock)
    }

    /// Says what it is held for from now on. The lock is what counts: on a full
    /// disk it holds without saying for what.
    pub fn describe(&mut self, purpose: &Purpose) {
        let _ = describe(&mut self.file, &Holder::this(purpose));
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would leave it to a child that has not yet exec'd.
        let _ = self.file.unlock();
    }
}

fn describe(file: &mut File, holder: &Holder) -> io::Result<()> {
    let mut line = serde_json::to_vec(holder)?;
    line.push(b'\n');
    // Emptied first, so that nobody reads who held it before.
    file.set_len(0)?;
    file.rewind()?;
    // One call: a reader sees all of it, or tries again.
    file.write_all(&line)
}

/// Who holds the lock at `path` now; `None` if nobody does, or if there is no
/// such file. Nothing is created or left behind.
///
/// When it is held and its holder has not said who it is within 20 ms, the answer
/// is [`Holder::unknown`]. Two calls at once do not mistake each other for a holder,
/// and [`Lock::try_acquire`] waits such a call out.
///
/// # Errors
/// The file cannot be opened, as by another user, or the filesystem has no locks.
pub fn holder(path: &Path) -> io::Result<Option<Holder>> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path);
    let mut file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(read(&mut file).unwrap_or_default())),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// What the holder wrote into the file.
fn read(file: &mut File) -> Option<Holder> {
    for attempt in 0..READ_ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(READ_PAUSE);
        }
        let mut bytes = Vec::new();
        let whole = file
            .rewind()
            .and_then(|()| file.take(DESCRIPTION_MAX).read_to_end(&mut bytes));
        if whole.is_ok()
            && let Ok(holder) = serde_json::from_slice(&bytes)
        {
            return Some(holder);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::mpsc::channel;

    use super::*;

    fn run() -> Purpose {
        Purpose::new("monolite run").port(Some(8080))
    }

    #[test]
    fn held_once_and_free_after_drop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(holder(&path).unwrap(), None);
        assert!(!path.exists(), "asking creates nothing");
        let lock = Lock::try_acquire(&path, &run()).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

        let seen = holder(&path).unwrap().unwrap();
        assert_eq!((seen.pid, seen.port), (std::process::id(), Some(8080)));
        assert!(seen.started_unix > 1_700_000_000 && !seen.is_elsewhere());
        let own = process::Process::of(rustix::process::getpid()).unwrap();
        assert_eq!(seen.start_ticks, own.start_ticks);
        assert_eq!(Some(&seen.boot_id), process::boot_id().as_ref());

        let error = Lock::try_acquire(&path, &run()).unwrap_err();
        let LockError::Held { holder: held, .. } = &error else {
            unreachable!("{error}");
        };
        assert_eq!(**held, seen);
        let wanted = format!("`monolite run` (pid {}, port 8080)", seen.pid);
        assert!(error.to_string().ends_with(&wanted), "{error}");

        drop(lock);
        assert_eq!(holder(&path).unwrap(), None);
        assert!(path.exists());
        Lock::try_acquire(&path, &run()).unwrap();
    }

    #[test]
    fn the_mode_is_left_to_the_umask_where_that_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _lock = Lock::try_acquire(&path, &run().mode(0o666)).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let plain = dir.path().join("plain");
        File::create(&plain).unwrap();
        assert_eq!(mode(&path), mode(&plain));
    }

    #[test]
    fn a_shorter_description_replaces_a_longer_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let mut lock = Lock::try_acquire(&path, &Purpose::new("x".repeat(1000))).unwrap();
        lock.describe(&Purpose::new("monolite restore"));
        let seen = holder(&path).unwrap().unwrap();
        assert_eq!((&*seen.command, seen.port), ("monolite restore", None));
    }

    #[test]
    fn who_waits_is_told_for_whom_and_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Lock::try_acquire(&path, &run()).unwrap();
        let (begins, begun) = channel();
        let waiter = std::thread::spawn({
            let path = path.clone();
            move || {
                let waiting = |holder: &Holder| begins.send(holder.clone()).unwrap();
                let limit = Duration::from_secs(600);
                Lock::acquire(&path, &run(), limit, &Cancel::default(), waiting)
            }
        });
        assert_eq!(begun.recv().unwrap().command, "monolite run");
        drop(lock);
        waiter.join().unwrap().unwrap();
    }

    #[test]
    fn a_wait_ends_with_its_limit_or_when_it_is_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _lock = Lock::try_acquire(&path, &run()).unwrap();
        let cancel = Cancel::default();
        let limit = Duration::from_millis(150);
        let error = Lock::acquire(&path, &run(), limit, &cancel, |_| ()).unwrap_err();
        assert!(matches!(error, LockError::Held { .. }), "{error}");
        let limit = Duration::from_secs(600);
        let waiting = |_: &Holder| cancel.cancel();
        let error = Lock::acquire(&path, &run(), limit, &cancel, waiting).unwrap_err();
        assert!(matches!(error, LockError::Cancelled(_)), "{error}");
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::os::unix::fs::symlink("precious", &path).unwrap();
        std::fs::write(dir.path().join("precious"), "text").unwrap();
        assert!(Lock::try_acquire(&path, &run()).is_err());
        assert!(holder(&path).is_err());
        let kept = std::fs::read_to_string(dir.path().join("precious"));
        assert_eq!(kept.unwrap(), "text");
    }

    #[test]
    fn what_is_not_a_description_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _lock = Lock::try_acquire(&path, &run()).unwrap();
        for text in ["", "{", "{}", "[1]", "null", "{\"pid\":-1}", "\0\0"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(holder(&path).unwrap(), Some(Holder::unknown()), "{text}");
        }
        std::fs::write(&path, r#"{"pid":7,"command":"older monolite"}"#).unwrap();
        let seen = holder(&path).unwrap().unwrap();
        assert_eq!(seen.to_string(), "`older monolite` (pid 7)");
    }

    #[test]
    fn a_holder_elsewhere_is_shown_with_its_machine() {
        let holder = Holder {
            pid: 123,
            command: "monolite run".into(),
            host: "4f3a\x1b[2J".into(),
            ..Holder::default()
        };
        let shown = r"`monolite run` (pid 123, on 4f3a\u{1b}[2J)";
        assert_eq!(holder.to_string(), shown);
        assert_eq!(Holder::unknown().to_string(), "another process");
    }
}
