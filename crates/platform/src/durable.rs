//! Files that appear whole or not at all.
//!
//! Invariant: a file has its name only after its content is on the disk, and a
//! function that returned has the name on the disk, too. Whatever dies in
//! between leaves the old file, or none, and something under a temporary name
//! that the next run removes.
//!
//! | what is needed | what serves it |
//! |---|---|
//! | a small file of state, replaced as a whole (page maps, records, intents, proofs) | [`write()`] |
//! | a file that is written bit by bit and then gets its name (restore, backup, snapshot, object of a folder) | [`Temporary`] |
//! | … which must not replace one that is there (a backup, an object) | [`IfExists::Fail`] |
//! | … which may be read and written by whom its predecessor may (restore over a file) | [`Options::like`] |
//! | … which root writes into the directory of another user (restore) | [`Options::owner_of_directory`] |
//! | … which SQLite opens before it has its name, and leaves files of its own next to (snapshot, check) | [`Options::companions`] |
//! | … in a directory whose filesystem may have no locks, or which is large (folder of objects) | [`Options::keep_leftovers`], [`sweep_older`] |
//! | a file that never gets a name (merging, comparing) | [`Scratch`] |
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
//! locked. Two threads of one process are two holders in this, too. So are
//! leftovers under the temporary names of version 0.1, if the process whose id such
//! a name has is gone.
//!
//! # Databases
//! The lock of [`Temporary`] is not one of SQLite's (`fcntl`), and they do not
//! meet. But closing *any* descriptor of a file drops all `fcntl` locks that this
//! process has on it, so of a database:
//! - nobody in this process may open the final name before
//!   [`Temporary::persist`] has returned, which closes the descriptor;
//! - no clone of [`Temporary::file`] may live on after that.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

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
    has_new_name(name) || OldName::parse(name).is_some()
}

fn has_new_name(name: &OsStr) -> bool {
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

/// What SQLite leaves next to a database under an old temporary name.
const OLD_COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];
/// The largest process id of Linux.
const PID_MAX: i32 = 1 << 22;

/// A temporary name as version 0.1 made them. Its leftovers may be there still,
/// each as large as a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OldName {
    /// The kind that is swept where files of this name were made.
    kind: &'static str,
    /// Who made it, if the name says so.
    pid: Option<i32>,
    is_companion: bool,
}

impl OldName {
    /// `X.copying-HEX`, `X.restoring-PID`, `X.restoring-PID-N`, these with a suffix
    /// of SQLite's, `.monolite-HEX.tmp` and `monolite-merging-PID-N`.
    fn parse(name: &OsStr) -> Option<Self> {
        let name = name.to_string_lossy();
        let of_database = |base: &str| {
            let (kind, pid) = match base.rsplit_once(".copying-") {
                Some((database, digits)) if !database.is_empty() && is_digits(digits) => {
                    ("copying", None)
                }
                _ => {
                    let (database, pid) = base.rsplit_once(".restoring-")?;
                    let (pid, number) = pid.split_once('-').unwrap_or((pid, "0"));
                    if database.is_empty() || !is_number(number) {
                        return None;
                    }
                    ("restoring", Some(parse_pid(pid)?))
                }
            };
            Some((kind, pid))
        };
        let alone = |(kind, pid)| Self {
            kind,
            pid,
            is_companion: false,
        };
        if let Some(rest) = name.strip_prefix(PREFIX) {
            let digits = rest.strip_suffix(".tmp").filter(|digits| is_digits(digits));
            if digits.is_some() {
                return Some(alone(("storing", None)));
            }
        }
        if let Some(rest) = name.strip_prefix("monolite-merging-") {
            let (pid, number) = rest.split_once('-')?;
            let pid = parse_pid(pid).filter(|_| is_number(number))?;
            return Some(alone(("merging", Some(pid))));
        }
        if let Some(found) = of_database(&name) {
            return Some(alone(found));
        }
        let base = (OLD_COMPANIONS.iter()).find_map(|suffix| name.strip_suffix(suffix))?;
        of_database(base).map(|found| Self {
            is_companion: true,
            ..alone(found)
        })
    }

    /// A companion goes with its file. This process makes none with such a name, so
    /// its own id was another's.
    fn may_be_swept_by(self, options: &Options) -> bool {
        let is_dead = |pid: i32| {
            let pid = rustix::process::Pid::from_raw(pid);
            pid.is_none_or(|pid| {
                pid == rustix::process::getpid()
                    || rustix::process::test_kill_process(pid) == Err(Errno::SRCH)
            })
        };
        self.kind == options.kind && !self.is_companion && self.pid.is_none_or(is_dead)
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_pid(text: &str) -> Option<i32> {
    let pid = text.parse().ok().filter(|_| is_number(text))?;
    (1..=PID_MAX).contains(&pid).then_some(pid)
}

/// What happens if the final name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    /// What has the name is replaced in one step.
    Replace,
    /// Nothing happens, and the error is [`io::ErrorKind::AlreadyExists`].
    Fail,
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
        let old = OldName::parse(&name).filter(|old| old.may_be_swept_by(options));
        if old.is_none() && !options.is_mine(&name) {
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
        let removed = match old {
            Some(_) => remove_with(&path, &OLD_COMPANIONS),
            None => remove_with(&path, options.companions),
        };
        swept += usize::from(removed.is_ok());
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

/// Writes a small file of state: replaces what has the name, as a whole, and
/// returns once the disk has it. It is for this user alone (0600), or, if root
/// writes it, for whom the directory belongs to.
///
/// It is written as `PATH.new` first, whose leftover the next call overwrites, so
/// that a directory with many such files is never searched for leftovers. Calls at
/// the same time, of whatever process, follow each other.
///
/// # Errors
/// The directory is not there, or the disk refuses. The old file is as it was.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = with_suffix(path, ".new");
    let mut file = loop {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // A link could have us overwrite anything, and a pipe wait for ever.
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(&temporary)?;
        if !file.metadata()?.is_file() {
            return Err(not_ours(&temporary, "it is not a regular file"));
        }
        // Where there are no locks, callers have to be one at a time.
        let _ = file.lock();
        // Whoever had the lock has renamed the file meanwhile, or removed it.
        if is_at(&file, &temporary)? {
            if file.metadata()?.nlink() != 1 {
                return Err(not_ours(&temporary, "it has another name, too"));
            }
            break file;
        }
    };
    let written = || {
        file.set_len(0)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        give_to_owner_of(&file, directory(path))?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    if let Err(error) = { written }() {
        // Of no use, and on a full disk in the way.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    sync_directory(directory(path))
}

fn not_ours(path: &Path, why: &str) -> io::Error {
    let text = format!("{} is not written: {why}", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Whether the open file is the one that has this name.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match path.symlink_metadata() {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a file if it is there; returns once the disk has that.
///
/// # Errors
/// The directory or the disk refuses.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(directory(path)),
    }
}

/// Renames a file or a directory within a filesystem; returns once the disk has
/// it. The content is not synced.
///
/// # Errors
/// With [`IfExists::Fail`] the name is taken; or the directory or the disk
/// refuses, as between two mounts.
pub fn rename(from: &Path, to: &Path, if_exists: IfExists) -> io::Result<()> {
    rename_file(from, to, if_exists)?;
    // First the new name: a power cut must not lose both.
    sync_directory(directory(to))?;
    match directory(from) == directory(to) {
        true => Ok(()),
        false => sync_directory(directory(from)),
    }
}

fn rename_file(from: &Path, to: &Path, if_exists: IfExists) -> io::Result<()> {
    if if_exists == IfExists::Replace {
        return std::fs::rename(from, to);
    }
    #[cfg(target_os = "linux")]
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every filesystem can; all that have hard links can do the next.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        renamed => return Ok(renamed?),
    }
    match std::fs::hard_link(from, to) {
        Ok(()) => return std::fs::remove_file(from),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => {}
    }
    // Neither: two processes that do this in the same instant are not kept apart.
    match to.symlink_metadata() {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => std::fs::rename(from, to),
    }
}

/// Has the disk keep the names in `dir`.
///
/// # Errors
/// The directory is not there, or the disk refuses.
pub fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes `dir` and what is missing above it, with `mode` less the umask; returns
/// once the disk has the names. What root makes belongs to whom the directory
/// above belongs to: on another user's volume that user may be the next to come.
///
/// # Errors
/// Something else has the name, or the directory above or the disk refuses.
pub fn make_directories(dir: &Path, mode: u32) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = directory(dir);
    if parent != dir {
        make_directories(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(dir) {
        Err(_) if dir.is_dir() => return Ok(()),
        made => made?,
    }
    if rustix::process::geteuid().is_root() {
        let above = parent.metadata()?;
        lchown_if_needed(dir, (above.uid(), above.gid()));
    }
    sync_directory(parent)
}

fn lchown_if_needed(path: &Path, owner: (u32, u32)) {
    let is_other = |of: Metadata| (of.uid(), of.gid()) != owner;
    if path.symlink_metadata().is_ok_and(is_other) {
        // Root without that capability, as in some containers.
        let _ = lchown(path, Some(owner.0), Some(owner.1));
    }
}

/// Gives a file to the owner of `dir`, if root made it.
pub(crate) fn give_to_owner_of(file: &File, dir: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let of = dir.metadata()?;
    give(file, (of.uid(), of.gid()))
}

/// Who may not give a file away keeps it.
fn give(file: &File, owner: (u32, u32)) -> io::Result<()> {
    let now = file.metadata()?;
    if (now.uid(), now.gid()) != owner {
        let _ = fchown(file, Some(owner.0), Some(owner.1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
    fn what_root_makes_belongs_to_the_owner_of_the_directory() {
        let is_root = rustix::process::geteuid().is_root();
        let dir = tempfile::tempdir().unwrap();
        if is_root {
            lchown(dir.path(), Some(1234), Some(1235)).unwrap();
        }
        let owner = |path: &Path| {
            let of = path.metadata().unwrap();
            (of.uid(), of.gid())
        };
        let wanted = owner(dir.path());
        assert!(!is_root || wanted == (1234, 1235));
        let below = dir.path().join("x/y");
        make_directories(&below, 0o700).unwrap();
        write(&below.join("state"), b"").unwrap();
        let theirs = Scratch::create(&below, &KIND.owner_of_directory()).unwrap();
        let ours = Scratch::create(&below, &KIND).unwrap();
        let paths = [&below, &below.join("state"), theirs.path()];
        assert!(paths.iter().all(|path| owner(path) == wanted));
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(owner(ours.path()).0, own, "unless it is asked for");
    }

    #[test]
    fn state_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        std::fs::write(with_suffix(&path, ".new"), "a leftover, longer than it").unwrap();
        for content in ["one", ""] {
            write(&path, content.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            assert_eq!(names(dir.path()), ["state"]);
            assert_eq!(mode(&path), 0o600);
        }
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(write(&dir.path().join("no/state"), b"").is_err());
        std::os::unix::fs::symlink("elsewhere", with_suffix(&path, ".new")).unwrap();
        assert!(write(&path, b"").is_err(), "a link is not followed");
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn state_is_not_written_into_a_pipe_or_through_a_hard_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let new = with_suffix(&path, ".new");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(CWD, &new, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(write(&path, b"x").is_err());
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(&new)
            .unwrap();
        assert!(write(&path, b"x").is_err());
        drop(reader);
        std::fs::remove_file(&new).unwrap();
        let theirs = dir.path().join("theirs");
        std::fs::write(&theirs, "theirs").unwrap();
        std::fs::hard_link(&theirs, &new).unwrap();
        assert!(write(&path, b"x").is_err());
        assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "theirs");
        assert!(!path.exists());
    }

    #[test]
    fn leftovers_under_old_names_are_swept_by_the_kind_that_replaces_them() {
        let dir = tempfile::tempdir().unwrap();
        // No process has the largest id: it is never given out.
        let dead = PID_MAX;
        let alive = rustix::process::getppid().unwrap().as_raw_nonzero();
        let copying = "a.db.copying-0123456789abcdef";
        let [restoring, restoring_2, merging] = [
            format!("a.db.restoring-{dead}"),
            format!("a.db.restoring-{dead}-2"),
            format!("monolite-merging-{dead}-1"),
        ];
        let theirs = format!("b.db.restoring-{alive}");
        let storing = ".monolite-0123456789abcdef.tmp";
        let wal = format!("{copying}-wal");
        let all = [
            copying,
            &wal,
            &restoring,
            &restoring_2,
            &merging,
            &theirs,
            storing,
            "a.db",
        ];
        for name in all {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let held = File::open(dir.path().join(&restoring_2)).unwrap();
        held.lock().unwrap();
        let swept = |kind| {
            let before = names(dir.path());
            sweep(dir.path(), &Options::new(kind)).unwrap();
            let after = names(dir.path());
            let mut swept = before;
            swept.retain(|name| !after.contains(name));
            swept
        };
        assert_eq!(swept("other"), [""; 0]);
        assert_eq!(swept("copying"), [copying, wal.as_str()]);
        assert_eq!(swept("restoring"), [restoring]);
        assert_eq!(swept("merging"), [merging]);
        assert_eq!(swept("storing"), [storing]);
        drop(held);
        assert_eq!(swept("restoring"), [restoring_2]);
        assert_eq!(names(dir.path()), ["a.db", theirs.as_str()]);
    }

    #[test]
    fn writers_at_the_same_time_follow_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let content = |n: usize| vec![b'a' + u8::try_from(n).unwrap(); 1 + n * 5_000];
        std::thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        write(path, &content(n)).unwrap();
                        let read = std::fs::read(path).unwrap();
                        let is_whole = (0..8).any(|n| read == content(n));
                        assert!(is_whole, "{} bytes", read.len());
                    }
                });
            }
        });
        assert_eq!(names(dir.path()), ["state"]);
    }

    #[test]
    fn directories_are_made_with_those_above() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b/c");
        for _ in 0..2 {
            make_directories(&below, 0o700).unwrap();
            assert_eq!((mode(&below), mode(&dir.path().join("a"))), (0o700, 0o700));
        }
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(make_directories(&dir.path().join("file/x"), 0o700).is_err());
        rename(&below, &dir.path().join("moved"), IfExists::Fail).unwrap();
        assert_eq!(names(dir.path()), ["a", "file", "moved"]);
        let taken = rename(&below, &dir.path().join("file"), IfExists::Fail);
        assert!(taken.is_err());
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
            (".monolite-0123456789abcdef.tmp", true),
            (".monolite-0123456789abcde.tmp", false),
            ("app.sqlite3.restoring-12", true),
            ("app.sqlite3.restoring-12-3-wal", true),
            ("app.sqlite3.restoring-20261130", false),
            ("app.sqlite3.restoring-", false),
            (".restoring-12", false),
            ("app.sqlite3.copying-0123456789abcdef", true),
            ("app.sqlite3.copying-0123456789abcdef-shm", true),
            ("app.sqlite3.copying-0123456789abcdef-other", false),
            ("app.sqlite3.copying-0123456789", false),
            ("monolite-merging-12-3", true),
            ("monolite-merging-12", false),
            (".monolite", false),
            ("app.sqlite3", false),
        ] {
            assert_eq!(is_temporary(OsStr::new(name)), is, "{name}");
        }
    }
}
