//! Every database of a directory whose loss would hurt, whatever it is called.
//!
//! What [`databases`](crate::databases()) finds by name is not opened here
//! either: this process may have it open in SQLite, and closing another
//! descriptor of it would drop SQLite's locks. Any other file this process has
//! no reason to have open, and its first bytes tell what it is.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::databases::{is_companion, is_database};

/// Directories in directories: deeper than anybody puts a database on purpose.
const MAX_DEPTH: usize = 32;
/// Directory entries looked at, altogether: half a minute.
const MAX_ENTRIES: usize = 5_000_000;
const HEADER: &[u8; 16] = b"SQLite format 3\0";
/// A database is made of pages; none is smaller, and each a multiple of it.
const SMALLEST_PAGE: u64 = 512;

/// Why not every database can be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unguardable {
    /// The directory cannot be listed.
    #[error("cannot list {}: {source}", .dir.display())]
    List {
        /// Which.
        dir: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// There is too much in the directory.
    #[error(
        "{} has more than {MAX_ENTRIES} entries, or directories more than {MAX_DEPTH} deep, and a database may be among them; keep files that are none in a directory of their own, outside of it",
        .dir.display()
    )]
    TooMuch {
        /// Which.
        dir: PathBuf,
    },
    /// The database that is named is none, or encrypted.
    #[error(
        "{} is not a SQLite database that can be read, so a migration of it cannot be guarded; name the database with --database, or migrate without monolite",
        .named.display()
    )]
    NotADatabase {
        /// As it is named.
        named: PathBuf,
    },
    /// The database that is named lies elsewhere.
    #[error(
        "{} lies outside of the data directory {}, and would not be guarded; name its own directory with --data",
        shown(.named, .real), .dir.display()
    )]
    Elsewhere {
        /// As it is named.
        named: PathBuf,
        /// Where it is.
        real: PathBuf,
        /// The data directory.
        dir: PathBuf,
    },
}

/// A link, and where it leads.
fn shown(named: &Path, real: &Path) -> String {
    match named == real {
        true => named.display().to_string(),
        false => format!("{} ({})", named.display(), real.display()),
    }
}

/// The databases in `dir` and anywhere below it, sorted: what is called like
/// one, as [`databases`](crate::databases()) has it, every other file with
/// SQLite's header, and each of `named`, by its real path, if it is there. Links
/// are not followed but for those; `.monolite` is skipped, and directories that
/// cannot be read are passed over.
///
/// # Errors
/// `dir` is there and cannot be listed; it has more than five million entries;
/// one of `named` lies outside of it, or is a link to what does.
pub fn guardable(dir: &Path, named: &[PathBuf]) -> Result<Vec<PathBuf>, Unguardable> {
    let mut found = match dir.try_exists() {
        Ok(false) => Vec::new(),
        _ => below(dir)?,
    };
    for named in named {
        found.extend(real(dir, named)?);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn below(root: &Path) -> Result<Vec<PathBuf>, Unguardable> {
    let too_much = || Unguardable::TooMuch { dir: root.into() };
    let list = |source| Unguardable::List {
        dir: root.into(),
        source,
    };
    let mut found = Vec::new();
    let mut entries_left = MAX_ENTRIES;
    let mut stack = vec![(root.to_owned(), 1)];
    while let Some((dir, depth)) = stack.pop() {
        let listing = match std::fs::read_dir(&dir) {
            Err(error) if depth == 1 => return Err(list(error)),
            Err(_) => continue,
            Ok(listing) => listing,
        };
        let mut files = HashSet::new();
        for entry in listing {
            entries_left = entries_left.checked_sub(1).ok_or_else(too_much)?;
            let entry = match entry {
                Err(error) if depth == 1 => return Err(list(error)),
                Err(_) => break,
                Ok(entry) => entry,
            };
            match entry.file_type() {
                Ok(kind) if kind.is_file() => {
                    files.insert(entry.file_name());
                }
                Ok(kind) if kind.is_dir() && entry.file_name() != ".monolite" => {
                    if depth == MAX_DEPTH {
                        return Err(too_much());
                    }
                    stack.push((entry.path(), depth + 1));
                }
                _ => {}
            }
        }
        let is_one = |name: &&OsString| {
            is_database(name, &files) || !is_companion(name) && has_header(&dir.join(name))
        };
        found.extend(files.iter().filter(is_one).map(|name| dir.join(name)));
    }
    Ok(found)
}

/// `named` by its path in `dir`, if it is a file.
fn real(dir: &Path, named: &Path) -> Result<Option<PathBuf>, Unguardable> {
    let real = match named.canonicalize() {
        Ok(real) if real.is_file() => real,
        _ => return Ok(None),
    };
    let root = dir.canonicalize().unwrap_or_else(|_| dir.into());
    match real.strip_prefix(&root) {
        Ok(inside) => Ok(Some(dir.join(inside))),
        Err(_) => Err(Unguardable::Elsewhere {
            named: named.into(),
            real,
            dir: dir.into(),
        }),
    }
}

/// Looks at the first bytes of a file that is named as a database, if it is
/// there. For before this process opens it.
///
/// # Errors
/// It is no database.
pub fn is_guardable(named: &Path) -> Result<(), Unguardable> {
    let is_filled = std::fs::metadata(named).is_ok_and(|of| of.is_file() && of.len() > 0);
    match is_filled && !begins_as_one(named, OFlags::empty()) {
        true => Err(Unguardable::NotADatabase {
            named: named.into(),
        }),
        false => Ok(()),
    }
}

/// Whether the file begins as SQLite's do. One that cannot be read cannot be
/// copied aside either.
fn has_header(path: &Path) -> bool {
    let is_of_pages = |len: u64| len > 0 && len.is_multiple_of(SMALLEST_PAGE);
    if !std::fs::symlink_metadata(path).is_ok_and(|of| of.is_file() && is_of_pages(of.len())) {
        return false;
    }
    begins_as_one(path, OFlags::NOFOLLOW)
}

fn begins_as_one(path: &Path, flags: OFlags) -> bool {
    // A pipe in its place would be waited for.
    let flags = flags | OFlags::NONBLOCK;
    let mut header = [0; HEADER.len()];
    let read = File::options()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or_default())
        .open(path)
        .and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && header == *HEADER
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
        let mut bytes = HEADER.to_vec();
        bytes.resize(1024, 0);
        bytes
    }

    fn found(dir: &Path, named: &str) -> Vec<String> {
        let all = guardable(dir, &[dir.join(named)]).unwrap();
        all.iter()
            .map(|path| path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn by_the_header_wherever_and_however_called() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in [
            "production",
            "x.data",
            "app.sqlite3.bak",
            "a/b/c/d/e/deep",
            "z/other.sqlite3",
        ] {
            write(root, name, &database());
        }
        for n in 0..11_000 {
            write(root, &format!("blobs/{n}"), b"no database");
        }
        write(root, ".monolite/kept", &database());
        write(root, "text", &[b'x'; 1024]);
        write(root, "short", &database()[..100]);
        write(root, "production-journal", &database());
        write(root, "named-without-header", b"");
        assert_eq!(
            found(root, "named-without-header"),
            [
                "a/b/c/d/e/deep",
                "app.sqlite3.bak",
                "named-without-header",
                "production",
                "x.data",
                "z/other.sqlite3"
            ]
        );
    }

    #[test]
    fn the_named_one_is_found_by_its_real_path_or_refused() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = dir.path();
        write(root, "current/v1", b"");
        std::os::unix::fs::symlink("current/v1", root.join("app.sqlite3")).unwrap();
        assert_eq!(found(root, "app.sqlite3"), ["current/v1"]);
        assert_eq!(found(root, "other"), [] as [&str; 0]);
        write(outside.path(), "there", &database());
        std::os::unix::fs::symlink(outside.path().join("there"), root.join("away")).unwrap();
        let error = guardable(root, &[root.join("away")]).unwrap_err();
        assert!(matches!(error, Unguardable::Elsewhere { .. }), "{error}");
        assert_eq!(
            guardable(&root.join("no"), &[root.join("no/x")])
                .unwrap()
                .len(),
            0
        );
    }

    #[test]
    fn a_named_file_that_is_no_database_is_said() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "text", b"encrypted, or no database at all");
        write(dir.path(), "empty", b"");
        write(dir.path(), "one", &database());
        for (name, is_well) in [
            ("text", false),
            ("empty", true),
            ("one", true),
            ("no", true),
        ] {
            assert_eq!(
                is_guardable(&dir.path().join(name)).is_ok(),
                is_well,
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_too_deep_to_look_at_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d/".repeat(MAX_DEPTH));
        std::fs::create_dir_all(deep).unwrap();
        let error = guardable(dir.path(), &[]).unwrap_err();
        assert!(matches!(error, Unguardable::TooMuch { .. }), "{error}");
    }
}
