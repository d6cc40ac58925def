//! Files under temporary names, and what is left of them by processes that died.
//!
//! # Temporary names
//! Every temporary name is `.monolite-KIND-` and 16 hexadecimal digits
//! ([`is_temporary`]), in the directory of the final name, since a rename works
//! within one filesystem only. It is short whatever the final name is, and a walk
//! over a directory knows it from the app's files. `KIND` is one word that
//! says what was going on, for people who find it: `restoring`, `copying`.
//!
//! # Leftovers
//! A temporary file is locked (`flock`) as long as its process lives. Whoever
//! creates one in the same directory removes those of its kind that nobody has
//! locked. Two threads of one process are two holders in this, too.

use std::ffi::OsStr;
use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;

use super::{IfExists, give, give_to_owner_of, rename_file, sync_directory};
use crate::path::{directory, with_suffix};

const PREFIX: &str = ".monolite-";
const DIGITS: usize = 16;

/// How a kind of temporary file is made. A constant of the crate that uses it:
///
/// ```
/// use monolite_platform::durable::Options;
///
/// const COPY: Options = Options::new("copying").companions(&["-wal", "-shm", "-journal"]);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Options {
    kind: &'static str,
    mode: u32,
    like: Option<Like>,
    owner_of_directory: bool,
    companions: &'static [&'static str],
    keep_leftovers: bool,
}

#[derive(Debug, Clone, Copy)]
struct Like {
    mode: u32,
    owner: (u32, u32),
}

impl Options {
    /// Files called `.monolite-KIND-…`, for this user alone (0600). The kind is a
    /// word of small letters.
    pub const fn new(kind: &'static str) -> Self {
        Self {
            kind,
            mode: 0o600,
            like: None,
            owner_of_directory: false,
            companions: &[],
            keep_leftovers: false,
        }
    }

    /// With these permissions, less the umask. Default 0600.
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// With the permissions of `old`, whatever the umask, and its owner where
    /// this process may give files away. Until that is set nobody else may open
    /// it.
    pub fn like(mut self, old: &Metadata) -> Self {
        self.like = Some(Like {
            mode: old.permissions().mode() & 0o7777,
            owner: (old.uid(), old.gid()),
        });
        self
    }

    /// If root makes it, it belongs to whom the directory belongs: the app has
    /// to be able to use it.
    pub const fn owner_of_directory(mut self) -> Self {
        self.owner_of_directory = true;
        self
    }

    /// A program may put files next to it whose names are its own and one of
    /// these suffixes; they are removed with it. [`Temporary::persist`] does not
    /// rename them.
    pub const fn companions(mut self, suffixes: &'static [&'static str]) -> Self {
        self.companions = suffixes;
        self
    }

    /// To create one does not remove leftovers: the caller does with [`sweep`]
    /// or [`sweep_older`] at a time of its choice.
    pub const fn keep_leftovers(mut self) -> Self {
        self.keep_leftovers = true;
        self
    }

    fn fresh_name(&self) -> String {
        format!("{PREFIX}{}-{:016x}", self.kind, fastrand::u64(..))
    }

    fn is_mine(&self, name: &OsStr) -> bool {
        let of_kind = |name: &str| {
            let digits = name
                .strip_prefix(PREFIX)?
                .strip_prefix(self.kind)?
                .strip_prefix('-')?;
            Some(is_digits(digits))
        };
        name.to_str().and_then(of_kind).unwrap_or(false)
    }
}

fn is_digits(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a file of this name is a temporary one of ours, of any kind, or a
/// companion of one. A walk over a directory leaves such files out.
#[must_use]
pub fn is_temporary(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    let Some(rest) = bytes.strip_prefix(PREFIX.as_bytes()) else {
        return false;
    };
    let Some(dash) = rest.iter().position(|byte| *byte == b'-') else {
        return false;
    };
    let (kind, rest) = (&rest[..dash], &rest[dash + 1..]);
    let Some((digits, suffix)) = rest.split_at_checked(DIGITS) else {
        return false;
    };
    kind.iter().all(u8::is_ascii_lowercase)
        && digits.iter().all(u8::is_ascii_hexdigit)
        && (suffix.is_empty() || suffix.starts_with(b"-"))
}
/// A file under a temporary name without a final one; removed when dropped.
#[derive(Debug)]
pub struct Scratch {
    file: File,
    path: PathBuf,
    companions: &'static [&'static str],
    /// It has another name now.
    is_renamed: bool,
}

impl Scratch {
    /// An empty file in `dir`, open for reading and writing. Leftovers of its kind
    /// are removed first.
    ///
    /// # Errors
    /// The directory is not there or cannot be written.
    pub fn create(dir: &Path, options: &Options) -> io::Result<Self> {
        if !options.keep_leftovers {
            // What cannot be listed may still be written.
            let _ = sweep(dir, options);
        }
        loop {
            let path = dir.join(options.fresh_name());
            let mode = match options.like {
                Some(_) => 0o600,
                None => options.mode,
            };
            let made = (OpenOptions::new().read(true).write(true))
                .create_new(true)
                .mode(mode)
                .open(&path);
            let file = match made {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            let is_swept = match file.try_lock() {
                Err(TryLockError::WouldBlock) => true,
                // Not every filesystem has locks; nothing is swept there.
                Ok(()) | Err(TryLockError::Error(_)) => file.metadata()?.nlink() == 0,
            };
            if is_swept {
                // Taken for a leftover before it was locked.
                continue;
            }
            let scratch = Self {
                file,
                path,
                companions: options.companions,
                is_renamed: false,
            };
            scratch.set_owner(options)?;
            return Ok(scratch);
        }
    }

    /// The open file without any name: the system frees it with its last
    /// descriptor.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn into_unnamed(self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its temporary path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn set_owner(&self, options: &Options) -> io::Result<()> {
        if let Some(like) = options.like {
            give(&self.file, like.owner)?;
            // After the owner: giving a file away clears some of them.
            let permissions = std::fs::Permissions::from_mode(like.mode);
            return self.file.set_permissions(permissions);
        }
        match options.owner_of_directory {
            true => give_to_owner_of(&self.file, directory(&self.path)),
            false => Ok(()),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.is_renamed {
            // What cannot be removed now is swept by the next one.
            let _ = remove_with(&self.path, self.companions);
        }
    }
}

/// A file under a temporary name next to its final one; removed when dropped,
/// unless it was persisted.
///
/// ```
/// use std::io::Write;
/// use monolite_platform::durable::{IfExists, Options, Temporary};
///
/// # let dir = tempfile::tempdir()?;
/// let target = dir.path().join("report");
/// let temporary = Temporary::create(&target, &Options::new("writing"))?;
/// temporary.file().write_all(b"whole")?;
/// assert!(!target.exists());
/// temporary.persist(IfExists::Fail)?;
/// assert_eq!(std::fs::read(&target)?, b"whole");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Temporary {
    scratch: Scratch,
    target: PathBuf,
}

impl Temporary {
    /// An empty file in the directory of `target`, open for reading and writing.
    /// Leftovers of its kind are removed first.
    ///
    /// # Errors
    /// The directory is not there or cannot be written.
    pub fn create(target: &Path, options: &Options) -> io::Result<Self> {
        Ok(Self {
            scratch: Scratch::create(directory(target), options)?,
            target: target.to_owned(),
        })
    }

    /// The open file.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.scratch.file
    }

    /// Its path until it is persisted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.scratch.path
    }

    /// The path it is to have.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Gives it its final name: the content first, then the name, both on the
    /// disk when this returns. Its [`Options::companions`] must be gone by then.
    ///
    /// # Errors
    /// With [`IfExists::Fail`] the name is taken; or the disk or the directory
    /// refuses. The file is removed then, unless only the last step failed, after
    /// it got its name.
    pub fn persist(mut self, if_exists: IfExists) -> io::Result<()> {
        self.scratch.file.sync_all()?;
        rename_file(&self.scratch.path, &self.target, if_exists)?;
        self.scratch.is_renamed = true;
        sync_directory(directory(&self.target))
    }

    /// Says that the caller has renamed [`Temporary::path`] itself, so that there
    /// is nothing to remove.
    pub fn has_been_renamed(mut self) {
        self.scratch.is_renamed = true;
    }
}

/// Removes from `dir` what processes that died have left of this kind; says how
/// many. On a filesystem without locks nothing is removed. What cannot be removed
/// stays.
///
/// # Errors
/// `dir` cannot be listed.
pub fn sweep(dir: &Path, options: &Options) -> io::Result<usize> {
    sweep_if(dir, options, |_, lock| lock == Holder::Dead)
}

/// As [`sweep`], of what has not changed for `min_age` at the time `now`. That
/// counts by the file's `ctime`, which no program can set; on a filesystem without
/// locks it alone decides, so it has to be longer than any writer is silent.
///
/// # Errors
/// `dir` cannot be listed.
pub fn sweep_older(
    dir: &Path,
    options: &Options,
    min_age: Duration,
    now: SystemTime,
) -> io::Result<usize> {
    sweep_if(dir, options, |metadata, holder| {
        let changed = u64::try_from(metadata.ctime()).unwrap_or(0);
        let changed = UNIX_EPOCH + Duration::from_secs(changed);
        let is_old = now.duration_since(changed).is_ok_and(|age| age > min_age);
        is_old && holder != Holder::Alive
    })
}

/// Whether the process that made a temporary file is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Alive,
    Dead,
    /// The filesystem has no locks.
    Unknown,
}

fn sweep_if(
    dir: &Path,
    options: &Options,
    wanted: impl Fn(&Metadata, Holder) -> bool,
) -> io::Result<usize> {
    let mut swept = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if !options.is_mine(&name) {
            continue;
        }
        let path = entry.path();
        // Neither a link nor a pipe of that name is ours.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&path);
        // Gone meanwhile, or another user's.
        let Ok(file) = opened else { continue };
        let Ok(metadata) = file.metadata() else {
            continue;
        };
        if !metadata.is_file() {
            continue;
        }
        let holder = match file.try_lock() {
            Ok(()) => Holder::Dead,
            Err(TryLockError::WouldBlock) => Holder::Alive,
            Err(TryLockError::Error(_)) => Holder::Unknown,
        };
        if !wanted(&metadata, holder) {
            continue;
        }
        swept += usize::from(remove_with(&path, options.companions).is_ok());
    }
    Ok(swept)
}

/// Removes a file; first its companions, since without the file nothing would
/// say whose they are.
fn remove_with(path: &Path, companions: &[&str]) -> io::Result<()> {
    for suffix in companions {
        match std::fs::remove_file(with_suffix(path, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::remove_file(path)
}
#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const KIND: Options = Options::new("testing").companions(&["-wal", "-shm"]);

    fn names(dir: &Path) -> Vec<String> {
        let names = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_file_has_its_name_only_once_it_is_persisted() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.db");
        for (content, if_exists) in [("one", IfExists::Fail), ("two", IfExists::Replace)] {
            let temporary = Temporary::create(&target, &KIND).unwrap();
            temporary.file().write_all(content.as_bytes()).unwrap();
            assert!(std::fs::read_to_string(&target).unwrap_or_default() != content);
            assert!(is_temporary(temporary.path().file_name().unwrap()));
            temporary.persist(if_exists).unwrap();
            assert_eq!(std::fs::read_to_string(&target).unwrap(), content);
        }
        let refused = Temporary::create(&target, &KIND).unwrap();
        let error = refused.persist(IfExists::Fail).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "two");
        assert_eq!(names(dir.path()), ["a.db"]);
    }

    #[test]
    fn dropped_it_is_removed_with_its_companions() {
        let dir = tempfile::tempdir().unwrap();
        let temporary = Temporary::create(&dir.path().join("a.db"), &KIND).unwrap();
        std::fs::write(with_suffix(temporary.path(), "-wal"), "").unwrap();
        drop(temporary);
        let scratch = Scratch::create(dir.path(), &KIND).unwrap();
        let mut unnamed = scratch.into_unnamed().unwrap();
        unnamed.write_all(b"still open").unwrap();
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn one_that_was_renamed_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.db");
        let temporary = Temporary::create(&target, &KIND).unwrap();
        std::fs::rename(temporary.path(), temporary.target()).unwrap();
        temporary.has_been_renamed();
        assert_eq!(names(dir.path()), ["a.db"]);
    }

    #[test]
    fn what_the_dead_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let left = [
            ".monolite-testing-0123456789abcdef",
            ".monolite-testing-0123456789abcdef-wal",
        ];
        let kept = [
            ".monolite-testing-0123",
            ".monolite-testing-0123456789abcdeg",
            ".monolite-other-0123456789abcdef",
            "a.db",
        ];
        for name in left.iter().chain(&kept) {
            std::fs::write(path(name), "").unwrap();
        }
        std::fs::create_dir(path(".monolite-testing-fedcba9876543210")).unwrap();
        std::os::unix::fs::symlink(path("a.db"), path(".monolite-testing-00000000000000ff"))
            .unwrap();
        let alive = Temporary::create(&path("a.db"), &KIND).unwrap();
        let other = Scratch::create(dir.path(), &KIND).unwrap();
        assert_eq!(sweep(dir.path(), &KIND).unwrap(), 0);
        for name in left {
            assert!(!path(name).exists(), "{name}");
        }
        assert!(kept.iter().all(|name| path(name).exists()));
        assert!(alive.path().exists() && other.path().exists());
        drop((alive, other));
        assert_eq!(
            names(dir.path()).len(),
            kept.len() + 2,
            "and link and directory"
        );
    }

    #[test]
    fn old_ones_alone_are_swept_by_age() {
        let dir = tempfile::tempdir().unwrap();
        let lazy = KIND.keep_leftovers();
        let left = dir.path().join(".monolite-testing-0123456789abcdef");
        std::fs::write(&left, "").unwrap();
        let alive = Scratch::create(dir.path(), &lazy).unwrap();
        assert!(left.exists(), "creating does not sweep");
        let hour = Duration::from_secs(3600);
        let sweep = |now| sweep_older(dir.path(), &lazy, hour, now).unwrap();
        assert_eq!(sweep(SystemTime::now()), 0);
        assert_eq!(sweep(SystemTime::now() + hour + hour), 1);
        assert!(alive.path().exists() && !left.exists());
    }

    #[test]
    fn permissions_are_those_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.db");
        let made = |options: &Options| mode(Scratch::create(dir.path(), options).unwrap().path());
        assert_eq!(made(&KIND), 0o600);
        assert_eq!(made(&KIND.mode(0o400)), 0o400);
        std::fs::write(&target, "").unwrap();
        for old in [0o666, 0o640] {
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(old)).unwrap();
            assert_eq!(made(&KIND.like(&target.metadata().unwrap())), old);
        }
    }

    #[test]
    fn temporary_names_are_known_and_others_are_not() {
        for (name, is) in [
            (".monolite-copying-0123456789abcdef", true),
            (".monolite-copying-0123456789abcdef-wal", true),
            (".monolite-copying-0123456789abcde", false),
            (".monolite-copying-0123456789abcdef0", false),
            (".monolite-Copying-0123456789abcdef", false),
            (".monolite-0123456789abcdef", false),
            (".monolite", false),
            ("app.sqlite3", false),
        ] {
            assert_eq!(is_temporary(OsStr::new(name)), is, "{name}");
        }
    }
}
