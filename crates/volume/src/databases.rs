//! The databases in a directory, by name alone: none is ever opened.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

/// Directories entered: the one asked for, and two below it.
const MAX_DEPTH: usize = 3;
/// Directory entries looked at, altogether.
const MAX_ENTRIES: usize = 10_000;
const EXTENSIONS: [&str; 4] = ["sqlite3", "sqlite", "db", "db3"];
/// What SQLite puts beside a database.
const SUFFIXES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// The SQLite databases in `dir` and below, sorted.
///
/// A database is a regular file with the extension `sqlite3`, `sqlite`, `db` or
/// `db3`, or one that has a `-wal` file beside it; none is opened to make sure.
/// Links are not followed and `.monolite` is skipped. Limits: files three levels
/// deep (`dir/a/b/file`) and 10,000 directory entries, the upper levels first;
/// what lies beyond is not found. Directories below that cannot be read
/// (`lost+found`) are passed over.
///
/// # Errors
/// `dir` itself cannot be listed.
pub fn databases(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut entries_left = MAX_ENTRIES;
    let mut queue = VecDeque::from([(dir.to_owned(), 1)]);
    while let Some((dir, depth)) = queue.pop_front() {
        let listing = match std::fs::read_dir(&dir) {
            Err(error) if depth == 1 => return Err(error),
            Err(_) => continue,
            Ok(listing) => listing,
        };
        let mut files = HashSet::new();
        for entry in listing {
            if entries_left == 0 {
                break;
            }
            entries_left -= 1;
            let entry = match entry {
                Err(error) if depth == 1 => return Err(error),
                Err(_) => break,
                Ok(entry) => entry,
            };
            match entry.file_type() {
                Ok(kind) if kind.is_file() => {
                    files.insert(entry.file_name());
                }
                Ok(kind)
                    if kind.is_dir() && depth < MAX_DEPTH && entry.file_name() != ".monolite" =>
                {
                    queue.push_back((entry.path(), depth + 1));
                }
                // Something else, or gone meanwhile.
                _ => {}
            }
        }
        found.extend(
            files
                .iter()
                .filter(|name| is_database(name, &files))
                .map(|name| dir.join(name)),
        );
    }
    found.sort_unstable();
    Ok(found)
}

/// What is called as SQLite calls what it puts beside a database.
pub(crate) fn is_companion(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    let mut suffixes = SUFFIXES.iter();
    suffixes.any(|suffix| bytes.ends_with(suffix.as_bytes()))
}

pub(crate) fn is_database(name: &OsStr, beside: &HashSet<OsString>) -> bool {
    if is_companion(name) {
        return false;
    }
    let extension = Path::new(name).extension();
    extension.is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
        || beside.contains(&with_suffix(name, "-wal"))
}

/// The paths SQLite may use beside `database`, whether they exist or not.
pub(crate) fn companions(database: &Path) -> impl Iterator<Item = PathBuf> {
    SUFFIXES
        .map(|suffix| with_suffix(database.as_os_str(), suffix).into())
        .into_iter()
}

fn with_suffix(name: &OsStr, suffix: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(suffix);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, name: &str) {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }

    #[test]
    fn found_by_name() {
        let root = tempfile::tempdir().unwrap();
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
            "sub/deep/g.db",
            "sub/deep/too/h.db",
            ".monolite/i.db",
        ] {
            touch(root.path(), name);
        }
        std::fs::create_dir(root.path().join("dir.db")).unwrap();
        let found = databases(root.path()).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|path| path.strip_prefix(root.path()).unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "app.sqlite3",
                "b.DB",
                "c.db3",
                "d.sqlite",
                "noext",
                "sub/deep/g.db",
                "sub/f.db"
            ]
        );
    }

    #[test]
    fn links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        touch(outside.path(), "a.db");
        std::os::unix::fs::symlink(outside.path(), root.path().join("out")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("a.db"), root.path().join("b.db")).unwrap();
        std::os::unix::fs::symlink(root.path(), root.path().join("loop")).unwrap();
        assert!(databases(root.path()).unwrap().is_empty());
    }

    #[test]
    fn a_crowd_below_does_not_hide_what_is_above() {
        let root = tempfile::tempdir().unwrap();
        for n in 0..MAX_ENTRIES + 1 {
            touch(root.path(), &format!("crowd/{n}.txt"));
        }
        touch(root.path(), "z.db");
        assert_eq!(databases(root.path()).unwrap(), [root.path().join("z.db")]);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert!(databases(&root.path().join("no")).is_err());
    }

    #[test]
    fn companions_keep_the_whole_name() {
        let all: Vec<_> = companions(Path::new("/d/a.db")).collect();
        assert_eq!(
            all,
            ["/d/a.db-wal", "/d/a.db-shm", "/d/a.db-journal"].map(PathBuf::from)
        );
    }
}
