//! Which databases a volume has: by their names, for what is done again and
//! again, and by their content, where every one of them counts.

use std::io;
use std::path::{Path, PathBuf};

use crate::walk::{ENTRIES_MAX, Kind, LEVELS_MAX, LeftOut, Walk, has_extension, is_database};

/// The databases that were found, and what was not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Sorted.
    pub databases: Vec<PathBuf>,
    /// Links that are called like a database and lead out of the directory: what is there is not of
    /// the volume. Sorted.
    pub links: Vec<PathBuf>,
    /// There may be more in it.
    pub left_out: LeftOut,
}

/// The databases in `dir` and below that are called like one
/// ([`Kind::Database`]); none is opened. For use while this process has databases
/// open, and as often as files come.
///
/// # Errors
/// `dir` cannot be listed.
pub fn by_name(dir: &Path) -> io::Result<Found> {
    found(dir, Walk::new(dir).without_files())
}

/// As [`by_name`], and those of other names that begin like one, among the first
/// `entries_max` entries. It opens files: see [`walk`](crate::walk) for when that is safe.
///
/// # Errors
/// `dir` cannot be listed.
pub fn by_first_bytes(dir: &Path, entries_max: usize) -> io::Result<Found> {
    found(dir, Walk::new(dir).entries_max(entries_max).contents())
}

fn found(dir: &Path, walk: Walk<'_>) -> io::Result<Found> {
    let (mut databases, mut links) = (Vec::new(), Vec::new());
    let left_out = walk.each(|entry| match entry.kind {
        Kind::Database => databases.push(entry.path),
        Kind::Link if leads_out(dir, &entry.path) => links.push(entry.path),
        _ => {}
    })?;
    databases.sort_unstable();
    links.sort_unstable();
    Ok(Found {
        databases,
        links,
        left_out,
    })
}

/// Whether a link, or what it leads to, is called like a database, and that is not below `dir`.
fn leads_out(dir: &Path, link: &Path) -> bool {
    let (Ok(real), Ok(root)) = (link.canonicalize(), dir.canonicalize()) else {
        return false;
    };
    let is_called_so = has_extension(link.as_os_str()) || has_extension(real.as_os_str());
    real.is_file() && is_called_so && !real.starts_with(root)
}

/// Why not every database can be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoverError {
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
        "{} has more than {ENTRIES_MAX} entries, or directories more than {LEVELS_MAX} deep, and a database may be among them ({left_out}); keep files that are none in a directory of their own, outside of it",
        .dir.display()
    )]
    TooMuch {
        /// Which.
        dir: PathBuf,
        /// What was not looked at.
        left_out: Box<LeftOut>,
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
    /// A variable of the environment names a database that lies elsewhere.
    #[error(
        "{variable} names {}, which lies outside of the data directory {}, and would not be guarded; set {variable} to a path in it, leave it out, or accept that with --replica-exclude '{}'",
        .path.display(), .dir.display(), .path.display()
    )]
    NamedElsewhere {
        /// The variable.
        variable: String,
        /// The database.
        path: PathBuf,
        /// The data directory.
        dir: PathBuf,
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

/// Every database in `dir` and below, whatever it is called, sorted: what
/// [`by_name`] finds, every other file that begins like one, and each of `named`,
/// by its real path, if it is there. A `dir` that is not there has none.
/// Directories that cannot be read are passed over.
///
/// It opens files: see [`walk`](crate::walk) for when that is safe.
///
/// # Errors
/// `dir` cannot be listed, or has more in it than is looked at
/// ([`ENTRIES_MAX`], [`LEVELS_MAX`]); one of `named` lies outside of it, or is
/// a link to what does.
pub fn by_content(dir: &Path, named: &[PathBuf]) -> Result<Vec<PathBuf>, DiscoverError> {
    let mut databases = match dir.try_exists() {
        Ok(false) => Vec::new(),
        _ => below(dir, ENTRIES_MAX)?,
    };
    for named in named {
        databases.extend(real(dir, named)?);
    }
    databases.sort_unstable();
    databases.dedup();
    Ok(databases)
}

fn below(dir: &Path, entries_max: usize) -> Result<Vec<PathBuf>, DiscoverError> {
    let walk = Walk::new(dir).entries_max(entries_max).contents();
    let found = found(dir, walk).map_err(|source| DiscoverError::List {
        dir: dir.into(),
        source,
    })?;
    match found.left_out.is_cut() {
        true => Err(DiscoverError::TooMuch {
            dir: dir.into(),
            left_out: Box::new(found.left_out),
        }),
        false => Ok(found.databases),
    }
}

/// `named` by its path in `dir`, if it is a file.
fn real(dir: &Path, named: &Path) -> Result<Option<PathBuf>, DiscoverError> {
    let real = match named.canonicalize() {
        Ok(real) if real.is_file() => real,
        _ => return Ok(None),
    };
    let root = dir.canonicalize().unwrap_or_else(|_| dir.into());
    match real.strip_prefix(&root) {
        Ok(inside) => Ok(Some(dir.join(inside))),
        Err(_) => Err(DiscoverError::Elsewhere {
            named: named.into(),
            real,
            dir: dir.into(),
        }),
    }
}

/// Looks at the first bytes of a file that is named as a database, if it is there
/// and not empty. For before this process opens it ([`is_database`]).
///
/// # Errors
/// It is no database.
pub fn check_named(named: &Path) -> Result<(), DiscoverError> {
    let is_filled = std::fs::metadata(named).is_ok_and(|of| of.is_file() && of.len() > 0);
    match is_filled && !is_database(named) {
        true => Err(DiscoverError::NotADatabase {
            named: named.into(),
        }),
        false => Ok(()),
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
        let mut bytes = monolite_sqlite_format::Header::MAGIC.to_vec();
        bytes.resize(1024, 0);
        bytes
    }

    fn found(dir: &Path, named: &str) -> Vec<String> {
        let all = by_content(dir, &[dir.join(named)]).unwrap();
        all.iter()
            .map(|path| path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn all_by_content_though_there_are_many_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in ["production", "a/b/c/d/e/deep", "z/other.sqlite3"] {
            write(root, name, &database());
        }
        for n in 0..11_000 {
            write(root, &format!("blobs/{n}"), b"no database");
        }
        write(root, ".monolite/kept", &database());
        write(root, "named-without-header", b"");
        let all = [
            "a/b/c/d/e/deep",
            "named-without-header",
            "production",
            "z/other.sqlite3",
        ];
        assert_eq!(found(root, "named-without-header"), all);
        let by_name = by_name(root).unwrap();
        assert_eq!(by_name.databases, [root.join("z/other.sqlite3")]);
        assert!(by_name.left_out.is_empty(), "though there are many");
        let error = below(root, 100).unwrap_err();
        assert!(error.to_string().contains("blobs"), "{error}");
    }

    #[test]
    fn the_named_one_is_found_by_its_real_path_or_refused() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = dir.path();
        write(root, "current/v1", b"");
        std::os::unix::fs::symlink("current/v1", root.join("app.sqlite3")).unwrap();
        assert_eq!(found(root, "app.sqlite3"), ["current/v1"]);
        assert_eq!(found(root, "other"), [""; 0]);
        write(outside.path(), "there", &database());
        std::os::unix::fs::symlink(outside.path().join("there"), root.join("away")).unwrap();
        let error = by_content(root, &[root.join("away")]).unwrap_err();
        assert!(matches!(error, DiscoverError::Elsewhere { .. }), "{error}");
        let none = by_content(&root.join("no"), &[root.join("no/x")]).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn a_named_file_that_is_no_database_is_refused() {
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
            let checked = check_named(&dir.path().join(name));
            assert_eq!(checked.is_ok(), is_well, "{name}");
        }
    }

    #[test]
    fn a_directory_too_deep_to_look_at_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d/".repeat(LEVELS_MAX));
        std::fs::create_dir_all(deep).unwrap();
        let error = by_content(dir.path(), &[]).unwrap_err();
        assert!(matches!(error, DiscoverError::TooMuch { .. }), "{error}");
    }
}
