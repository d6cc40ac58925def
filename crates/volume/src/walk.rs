//! The one walk over a volume.
//!
//! # What it opens
//! Directories, and no file, except that [`Walk::contents`] reads the first 16
//! bytes of some. A process that closes *any* descriptor of a file loses all
//! POSIX locks it has on it; if that is a database which SQLite has open in the
//! same process, another process may then write in the middle of its transaction,
//! and commits are lost. So there are files that are never opened here:
//! - one that is called like a database ([`Kind::Database`] by its name), one of
//!   SQLite's own next to a database (`-wal`, `-journal`, `-shm`), and what is not
//!   a regular file;
//! - one that this process has open as SQLite opens files (for reading, or for
//!   both), as `/proc` shows: it is taken for a database unseen.
//!
//! Between that look and the closing pass some milliseconds, in which another
//! thread must not open the file with SQLite. So a process that opens databases by
//! itself calls [`Walk::contents`] before it does, or opens only files that are
//! called like one. Where there is no `/proc` that is the only safeguard.
//!
//! # What it leaves out
//! Every directory called `.monolite`, temporary files of ours
//! ([`durable::is_temporary`]), and databases that a restore replaced
//! ([`layout::replaced`]). Symbolic links are not followed: a database behind
//! one in the volume is found by itself, and one elsewhere is not of the volume.
//! A directory on which something else is mounted is entered.
//!
//! # Where it ends
//! [`LEVELS_MAX`] levels of directories, and [`ENTRIES_MAX`] entries unless the caller
//! chooses fewer. The upper levels come first, and a directory with
//! more than half of the entries that are left comes last, so that many files in
//! one hide no database above or next to it. Whatever was not looked at for these
//! bounds, or could not be read, is in the answer ([`LeftOut`]).

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, FileType};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use monolite_platform::durable;
use monolite_platform::process::{self, Access, Inode, OpenFile};
use monolite_sqlite_format::{Header, PAGE_SIZE_MIN};
use rustix::fs::OFlags;

use crate::layout::{self, database_of, is_companion};

/// Levels of directories that are listed: the one asked for is the first. Deeper
/// than anybody puts a database on purpose.
pub const LEVELS_MAX: usize = 32;
/// Entries of directories that are looked at: a second for each million by their
/// names alone, half a minute if the content of all is looked at.
pub const ENTRIES_MAX: usize = 5_000_000;

/// How old the knowledge of what this process has open may be.
const OPEN_HERE_AGE_MAX: Duration = Duration::from_millis(10);
const EXTENSIONS: [&str; 4] = ["sqlite3", "sqlite", "db", "db3"];

/// A walk over a directory and what is below it.
///
/// ```
/// use monolite_volume::walk::{Kind, Walk};
///
/// # let dir = tempfile::tempdir()?;
/// # std::fs::write(dir.path().join("app.sqlite3"), b"")?;
/// let mut databases = Vec::new();
/// let left_out = Walk::new(dir.path()).each(|entry| {
///     if entry.kind == Kind::Database {
///         databases.push(entry.path);
///     }
/// })?;
/// assert_eq!(databases, [dir.path().join("app.sqlite3")]);
/// assert!(left_out.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Walk<'a> {
    root: &'a Path,
    entries_max: usize,
    contents: bool,
    /// Plain files are left out: of a million uploads nothing is remembered.
    without_files: bool,
}

/// What was met. Files of [`Walk`]'s exceptions are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path, which begins with that of the walk.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// What an entry of a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory; it is listed later, if that is within the bounds.
    Directory,
    /// A regular file that is a database by its name: it has the extension
    /// `sqlite3`, `sqlite`, `db` or `db3` in small or capital letters, or a `-wal`
    /// file next to it. With [`Walk::contents`] also one that is by its content.
    Database,
    /// Any other regular file.
    File,
    /// A symbolic link, to whatever.
    Link,
    /// A pipe, a socket, a device.
    Special,
}

/// What a walk did not look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// Directories that cannot be listed, as another user's `lost+found`.
    pub unreadable: Omitted,
    /// Directories below [`LEVELS_MAX`].
    pub too_deep: Omitted,
    /// Directories not listed to their end, or not at all, since there are more
    /// entries than were to be looked at.
    pub too_many: Omitted,
}

/// Directories of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Omitted {
    /// How many are known of.
    pub count: usize,
    /// The first of them.
    pub first: Option<PathBuf>,
}

impl Omitted {
    fn add(&mut self, directory: &Path) {
        self.count += 1;
        self.first.get_or_insert_with(|| directory.to_owned());
    }
}

impl LeftOut {
    /// Everything was looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unreadable.count == 0 && !self.is_cut()
    }

    /// A bound was met.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.too_deep.count + self.too_many.count > 0
    }
}

/// `2 directories that cannot be read (first: /data/a), 1 directory with …`
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (&self.unreadable, "that cannot be read".to_owned()),
            (&self.too_deep, format!("more than {LEVELS_MAX} deep")),
            (
                &self.too_many,
                "with too much in them or before them".into(),
            ),
        ];
        let mut comma = "";
        for (omitted, why) in parts {
            let Some(first) = &omitted.first else {
                continue;
            };
            let (noun, first) = match omitted.count {
                1 => ("directory", first.display()),
                _ => ("directories", first.display()),
            };
            write!(f, "{comma}{} {noun} {why} (first: {first})", omitted.count)?;
            comma = ", ";
        }
        Ok(())
    }
}

impl<'a> Walk<'a> {
    /// One by names alone.
    pub fn new(root: &'a Path) -> Self {
        Self {
            root,
            entries_max: ENTRIES_MAX,
            contents: false,
            without_files: false,
        }
    }

    /// Meets no [`Kind::File`], for less memory.
    pub fn without_files(mut self) -> Self {
        self.without_files = true;
        self
    }

    /// Looks at so many entries.
    pub fn entries_max(mut self, entries: usize) -> Self {
        self.entries_max = entries;
        self
    }

    /// Reads the first bytes of regular files that are not called like a database
    /// and are as long as one may be. Read what this module says of that first.
    pub fn contents(mut self) -> Self {
        self.contents = true;
        self
    }

    /// Calls `visit` with each entry: upper levels first but for crowded directories,
    /// those of a directory in the order in which the system lists them.
    ///
    /// # Errors
    /// The directory itself cannot be listed.
    pub fn each(&self, mut visit: impl FnMut(Entry)) -> io::Result<LeftOut> {
        let mut left_out = LeftOut::default();
        let mut entries_left = self.entries_max;
        let mut open_here = OpenHere::default();
        let mut queue = VecDeque::from([(self.root.to_owned(), 1)]);
        // Directories that would take more than half of the entries left.
        let mut crowded = VecDeque::new();
        while let Some((dir, level, is_last)) = (queue.pop_front())
            .map(|(dir, level)| (dir, level, level == 1))
            .or_else(|| crowded.pop_front())
        {
            let most = match is_last {
                true => entries_left,
                false => entries_left / 2,
            };
            let keep = |name: &OsStr, kind: FileType| {
                !self.without_files
                    || self.contents
                    || !kind.is_file()
                    || has_extension(name)
                    || has_log(name).is_some()
            };
            let (mut entries, count, ended) = match list(&dir, most, keep) {
                Ok((_, _, Ended::Bound)) if !is_last => {
                    crowded.push_back((dir, level, true));
                    continue;
                }
                Ok(listed) => listed,
                Err(error) if level == 1 => return Err(error),
                // Removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(_) => {
                    left_out.unreadable.add(&dir);
                    continue;
                }
            };
            entries_left -= count;
            match ended {
                Ended::Whole => {}
                Ended::Error(error) if level == 1 => return Err(error),
                Ended::Error(_) => left_out.unreadable.add(&dir),
                Ended::Bound => left_out.too_many.add(&dir),
            }
            let logs = entries.iter().map(|(name, _)| &**name);
            let logged: HashSet<OsString> = logs.filter_map(has_log).map(OsStr::to_owned).collect();
            if self.without_files {
                let mut named = logged.clone();
                for (name, _) in &entries {
                    named.remove(name);
                }
                entries.extend(named.into_iter().filter_map(|name| {
                    let kind = dir.join(&name).symlink_metadata().ok()?.file_type();
                    Some((name, kind))
                }));
            }
            for (name, kind) in entries {
                if name == layout::STATE
                    || durable::is_temporary(&name)
                    || layout::is_replaced(&name)
                {
                    continue;
                }
                let path = dir.join(&name);
                let kind = self.kind(&path, &name, kind, &logged, &mut open_here);
                if kind == Kind::Directory {
                    match level < LEVELS_MAX {
                        true => queue.push_back((path.clone(), level + 1)),
                        false => left_out.too_deep.add(&path),
                    }
                }
                if kind != Kind::File || !self.without_files {
                    visit(Entry { path, kind });
                }
            }
        }
        Ok(left_out)
    }

    fn kind(
        &self,
        path: &Path,
        name: &OsStr,
        kind: FileType,
        logged: &HashSet<OsString>,
        open_here: &mut OpenHere,
    ) -> Kind {
        if kind.is_dir() {
            return Kind::Directory;
        }
        if kind.is_symlink() {
            return Kind::Link;
        }
        if !kind.is_file() {
            return Kind::Special;
        }
        let is_database = !is_companion(name)
            && (has_extension(name)
                || logged.contains(name)
                || self.contents
                    && has_length(path)
                    && begins_as_database(path, OFlags::NOFOLLOW, open_here));
        match is_database {
            true => Kind::Database,
            false => Kind::File,
        }
    }
}

/// How the listing of a directory ended.
enum Ended {
    Whole,
    Bound,
    Error(io::Error),
}

/// The entries to keep, how many there are, and how the listing ended.
type Listed = (Vec<(OsString, FileType)>, usize, Ended);

fn list(dir: &Path, most: usize, keep: impl Fn(&OsStr, FileType) -> bool) -> io::Result<Listed> {
    let (mut entries, mut count) = (Vec::new(), 0);
    for entry in std::fs::read_dir(dir)? {
        if count == most {
            return Ok((entries, count, Ended::Bound));
        }
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return Ok((entries, count, Ended::Error(error))),
        };
        match entry.file_type() {
            Ok(kind) => {
                count += 1;
                let name = entry.file_name();
                if keep(&name, kind) {
                    entries.push((name, kind));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Ok((entries, count, Ended::Error(error))),
        }
    }
    Ok((entries, count, Ended::Whole))
}

/// The name of the database whose log has this name.
fn has_log(name: &OsStr) -> Option<&OsStr> {
    name.as_encoded_bytes()
        .ends_with(b"-wal")
        .then(|| database_of(name))
}

pub(crate) fn has_extension(name: &OsStr) -> bool {
    let is_known = |extension: &OsStr| {
        let mut known = EXTENSIONS.iter();
        known.any(|known| extension.eq_ignore_ascii_case(known))
    };
    Path::new(name).extension().is_some_and(is_known)
}

fn has_length(path: &Path) -> bool {
    // It is made of pages, of which each is a multiple of the smallest.
    let is_of_pages = |len: u64| len > 0 && len.is_multiple_of(u64::from(PAGE_SIZE_MIN));
    std::fs::symlink_metadata(path).is_ok_and(|of| of.is_file() && is_of_pages(of.len()))
}

/// Whether the file begins as SQLite's do; links are followed. One that cannot be
/// read does not. It is opened only if this process does not have it open as SQLite
/// does, in which case the answer is yes unseen; what this module says of that
/// holds here too.
#[must_use]
pub fn is_database(path: &Path) -> bool {
    begins_as_database(path, OFlags::empty(), &mut OpenHere::default())
}

fn begins_as_database(path: &Path, flags: OFlags, open_here: &mut OpenHere) -> bool {
    let Some(inode) = Inode::of(path) else {
        return false;
    };
    if open_here.as_sqlite_does(inode) {
        return true;
    }
    // A pipe that came in its place would be waited for.
    let flags = flags | OFlags::NONBLOCK;
    let mut magic = [0; Header::MAGIC.len()];
    let read = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *Header::MAGIC
}

/// The files that this process has open; none where there is no `/proc`.
#[derive(Default)]
struct OpenHere {
    looked: Option<Instant>,
    files: HashMap<Inode, Vec<OpenFile>>,
}

impl OpenHere {
    /// Whether it has this one open for reading, or for both. What is only written
    /// is a log that its output is redirected to.
    fn as_sqlite_does(&mut self, inode: Inode) -> bool {
        let is_new = |looked: Instant| looked.elapsed() < OPEN_HERE_AGE_MAX;
        if !self.looked.is_some_and(is_new) {
            self.files.clear();
            let own = process::open_files(rustix::process::getpid());
            for file in own.unwrap_or_default() {
                if let Some(inode) = file.inode() {
                    self.files.entry(inode).or_default().push(file);
                }
            }
            self.looked = Some(Instant::now());
        }
        let files = self.files.get(&inode);
        files.is_some_and(|files| files.iter().any(|file| file.access() != Access::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, name: &str, bytes: &[u8]) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn database() -> Vec<u8> {
        let mut bytes = Header::MAGIC.to_vec();
        bytes.resize(1024, 0);
        bytes
    }

    /// The names that a walk meets as this kind, sorted.
    fn met(walk: &Walk<'_>, kind: Kind) -> Vec<String> {
        let mut names = Vec::new();
        let visit = |entry: Entry| {
            if entry.kind == kind {
                let name = entry.path.strip_prefix(walk.root).unwrap();
                names.push(name.to_str().unwrap().to_owned());
            }
        };
        walk.each(visit).unwrap();
        names.sort();
        names
    }

    #[test]
    fn databases_by_name_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "app.sqlite3",
            "app.sqlite3-wal",
            "app.sqlite3-shm",
            "b.DB",
            "c.db3",
            "d.sqlite",
            "noext",
            "noext-wal",
            "orphan-wal",
            "orphan-shm",
            "notes.txt",
            "e.db-journal",
            ".db",
            "sub/f.db",
            "sub/deep/too/deep/g.db",
            ".monolite/i.db",
            "sub/.monolite/j.db",
            ".monolite-restoring-0123456789abcdef",
            ".monolite-restoring-0123456789abcdef-wal",
        ] {
            write(dir.path(), name, b"");
        }
        std::fs::create_dir(dir.path().join("dir.db")).unwrap();
        let walk = Walk::new(dir.path());
        let wanted = [
            "app.sqlite3",
            "b.DB",
            "c.db3",
            "d.sqlite",
            "noext",
            "sub/deep/too/deep/g.db",
            "sub/f.db",
        ];
        assert_eq!(met(&walk, Kind::Database), wanted);
        let directories = met(&walk, Kind::Directory);
        assert_eq!(
            directories,
            [
                "dir.db",
                "sub",
                "sub/deep",
                "sub/deep/too",
                "sub/deep/too/deep"
            ]
        );
        let files = met(&walk, Kind::File);
        assert!(files.contains(&"notes.txt".into()) && files.contains(&"orphan-wal".into()));
        assert!(!files.iter().any(|name| name.contains(".monolite")));
    }

    #[test]
    fn links_are_met_and_not_followed() {
        use std::os::unix::fs::symlink;
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(outside.path(), "a.db", &database());
        symlink(outside.path(), dir.path().join("out")).unwrap();
        symlink(outside.path().join("a.db"), dir.path().join("b.db")).unwrap();
        symlink(dir.path(), dir.path().join("loop")).unwrap();
        let walk = Walk::new(dir.path()).contents();
        assert_eq!(met(&walk, Kind::Database), [""; 0]);
        assert_eq!(met(&walk, Kind::Link), ["b.db", "loop", "out"]);
        assert!(is_database(&dir.path().join("b.db")), "asked for by itself");
    }

    #[test]
    fn by_content_wherever_and_however_called() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["production", "app.sqlite3.bak", "a/b/c/d/e/deep"] {
            write(root, name, &database());
        }
        write(root, "text", &[b'x'; 1024]);
        write(root, "short", &database()[..100]);
        write(root, "production-journal", &database());
        write(root, "named.db", b"");
        let walk = Walk::new(root);
        assert_eq!(met(&walk, Kind::Database), ["named.db"]);
        let by_content = [
            "a/b/c/d/e/deep",
            "app.sqlite3.bak",
            "named.db",
            "production",
        ];
        assert_eq!(met(&walk.contents(), Kind::Database), by_content);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_this_process_has_open_is_not_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "odd", &[b'x'; 512]);
        let walk = Walk::new(dir.path()).contents();
        let path = dir.path().join("odd");
        assert_eq!(met(&walk, Kind::Database), [""; 0]);
        let as_a_log = File::options().append(true).open(&path).unwrap();
        assert_eq!(met(&walk, Kind::Database), [""; 0]);
        let as_sqlite = File::options().read(true).write(true).open(&path).unwrap();
        assert_eq!(met(&walk, Kind::Database), ["odd"]);
        drop((as_a_log, as_sqlite));
        assert_eq!(met(&walk, Kind::Database), [""; 0]);
    }

    #[test]
    fn many_files_below_do_not_hide_what_is_above_and_are_said() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..30 {
            write(dir.path(), &format!("crowd/{n}.txt"), b"");
        }
        write(dir.path(), "y/y.db", b"");
        write(dir.path(), "z.db", b"");
        let walk = Walk::new(dir.path()).entries_max(20);
        assert_eq!(met(&walk, Kind::Database), ["y/y.db", "z.db"]);
        assert_eq!(met(&walk, Kind::File).len(), 16);
        let left_out = walk.each(|_| ()).unwrap();
        assert_eq!(left_out.too_many.first, Some(dir.path().join("crowd")));
        assert!(left_out.is_cut() && !left_out.is_empty());
        let whole = Walk::new(dir.path()).entries_max(34).each(|_| ()).unwrap();
        assert!(whole.is_empty(), "{whole}");
    }

    #[test]
    fn without_files_the_same_databases_are_met() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "a.db",
            "odd",
            "odd-wal",
            "none-wal",
            "text",
            "sub/b.sqlite3",
        ] {
            write(dir.path(), name, b"");
        }
        let walk = Walk::new(dir.path()).without_files();
        assert_eq!(met(&walk, Kind::Database), ["a.db", "odd", "sub/b.sqlite3"]);
        assert_eq!(met(&walk, Kind::File), [""; 0]);
    }

    #[test]
    fn what_is_too_deep_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let levels = |n: usize| dir.path().join("d/".repeat(n));
        std::fs::create_dir_all(levels(LEVELS_MAX)).unwrap();
        let left_out = Walk::new(dir.path()).each(|_| ()).unwrap();
        assert_eq!(left_out.too_deep.first, Some(levels(LEVELS_MAX)));
        let shown = left_out.to_string();
        assert!(
            shown.starts_with("1 directory more than 32 deep (first: /"),
            "{shown}"
        );
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Walk::new(&dir.path().join("no")).each(|_| ()).is_err());
    }
}
