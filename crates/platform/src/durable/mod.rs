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
//! # Databases
//! The lock of [`Temporary`] is not one of SQLite's (`fcntl`), and they do not
//! meet. But closing *any* descriptor of a file drops all `fcntl` locks that this
//! process has on it, so of a database:
//! - nobody in this process may open the final name before
//!   [`Temporary::persist`] has returned, which closes the descriptor;
//! - no clone of [`Temporary::file`] may live on after that.

mod temporary;

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown,
};
use std::path::Path;

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

pub use self::temporary::{Options, Scratch, Temporary, is_temporary, sweep, sweep_older};
use crate::path::{directory, with_suffix};

/// What happens if the final name is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    /// What has the name is replaced in one step.
    Replace,
    /// Nothing happens, and the error is [`io::ErrorKind::AlreadyExists`].
    Fail,
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
}
