//! All the files there are.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::file::{File, text_of};
use super::script::Script;

/// Migration files in the order of their numbers: 1, 2, 3, without a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrations {
    files: Vec<File>,
}

impl Migrations {
    /// Of names and texts, in any order.
    ///
    /// # Errors
    /// A name that is not of the form, a number given twice or left out.
    pub fn new<'f>(files: impl IntoIterator<Item = (&'f str, &'f str)>) -> Result<Self> {
        let files = files.into_iter().map(|(name, text)| File::new(name, text));
        Self::ordered(files.collect::<Result<_>>()?)
    }

    /// The `.sql` files of a directory. Others in it are left alone, and so are
    /// those whose name begins with a dot.
    ///
    /// # Errors
    /// As [`Migrations::new`]; the directory or a file cannot be read.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for path in sql_files(dir)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let bytes = std::fs::read(&path).map_err(|source| Error::Read {
                path: path.clone(),
                source,
            })?;
            files.push(File::new(&name, &text_of(&name, bytes)?)?);
        }
        Self::ordered(files)
    }

    fn ordered(mut files: Vec<File>) -> Result<Self> {
        files.sort_by(|a, b| (a.version(), a.name()).cmp(&(b.version(), b.name())));
        for (at, file) in files.iter().enumerate() {
            let before = at.checked_sub(1).and_then(|before| files.get(before));
            let next = before.map_or(1, |before| before.version() + 1);
            match before {
                Some(before) if before.version() == file.version() => {
                    return Err(Error::Duplicate {
                        version: file.version(),
                        first: before.file_name(),
                        second: file.file_name(),
                    });
                }
                _ if file.version() != next => {
                    return Err(Error::Gap {
                        missing: next,
                        file: file.file_name(),
                    });
                }
                _ => {}
            }
        }
        Ok(Self { files })
    }

    /// The files, by number.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The file of a number.
    pub fn get(&self, version: u32) -> Option<&File> {
        let at = usize::try_from(version).ok()?.checked_sub(1)?;
        self.files.get(at)
    }

    /// The newest number; 0 where there is no file.
    pub fn newest(&self) -> u32 {
        self.files.last().map_or(0, File::version)
    }

    /// Looks at every statement without running one.
    ///
    /// # Errors
    /// The first statement that SQLite cannot read, or that no migration may
    /// hold; a file that holds none.
    pub fn check(&self) -> Result<()> {
        self.files
            .iter()
            .try_for_each(|file| Script::of(file).map(drop))
    }
}

/// The paths of the `.sql` files in `dir`, sorted.
fn sql_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let at = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => Error::NoDirectory { dir: dir.into() },
        _ => Error::Read {
            path: dir.into(),
            source,
        },
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(at)? {
        let path = entry.map_err(at)?.path();
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        // `.SQL` would be passed over in silence: its name is refused.
        let is_sql = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("sql"));
        if !is_sql || is_hidden {
            continue;
        }
        // A directory of that name would be passed over in silence, and a pipe
        // waited for.
        match path.metadata() {
            Ok(of) if !of.is_file() => return Err(Error::NotAFile { path }),
            _ => paths.push(path),
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Files that were put into a program when it was built, by
/// `monolite::migrations!`.
#[derive(Debug, Clone, Copy)]
pub struct Embedded {
    /// The directory they were in; nothing in a program built with optimisation.
    #[doc(hidden)]
    pub dir: &'static str,
    /// Names and texts.
    #[doc(hidden)]
    pub files: &'static [(&'static str, &'static str)],
}

impl Embedded {
    /// The files.
    ///
    /// A program built without optimisation also looks at the directory they
    /// came from, if it is still there: a file that was added since, which the
    /// compiler did not notice, would otherwise never be applied.
    ///
    /// # Errors
    /// As [`Migrations::new`]; [`Error::Stale`].
    pub fn migrations(&self) -> Result<Migrations> {
        let migrations = Migrations::new(self.files.iter().copied())?;
        self.check_fresh()?;
        Ok(migrations)
    }

    /// # Errors
    /// [`Error::Stale`].
    fn check_fresh(&self) -> Result<()> {
        let Ok(paths) = sql_files(Path::new(self.dir)) else {
            return Ok(());
        };
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !self.files.iter().any(|(embedded, _)| *embedded == name) {
                return Err(Error::Stale { path });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Result<Migrations> {
        Migrations::new(names.iter().map(|name| (*name, "SELECT 1")))
    }

    #[test]
    fn in_order_of_their_numbers_without_gap_or_twin() {
        let all = of(&["10_j.sql", "2_b.sql", "1_a.sql", "3_c.sql"]);
        assert!(matches!(all, Err(Error::Gap { missing: 4, .. })));
        let all = of(&["2_b.sql", "0001_a.sql", "03_c.sql"]).unwrap();
        let names: Vec<_> = all.files().iter().map(File::name).collect();
        assert_eq!(names, ["0001_a", "2_b", "03_c"]);
        assert_eq!((all.newest(), all.get(2).unwrap().name()), (3, "2_b"));
        assert!(all.get(0).is_none() && all.get(4).is_none());
        let Err(Error::Duplicate {
            version,
            first,
            second,
        }) = of(&["1_a.sql", "2_c.sql", "0002_b.sql"])
        else {
            unreachable!("two have number 2");
        };
        assert_eq!((version, &*first, &*second), (2, "0002_b.sql", "2_c.sql"));
        assert!(matches!(
            of(&["2_b.sql"]),
            Err(Error::Gap { missing: 1, .. })
        ));
        assert_eq!(of(&[]).unwrap().newest(), 0);
    }

    #[test]
    fn a_directory_has_its_sql_files_and_nothing_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(dir.path().join(name), "SELECT 1").unwrap();
        for name in ["0001_a.sql", "README.md", ".0001_a.sql.swp", ".hidden.sql"] {
            write(name);
        }
        assert_eq!(Migrations::read(dir.path()).unwrap().newest(), 1);
        std::fs::create_dir(dir.path().join("0002_old.sql")).unwrap();
        let error = Migrations::read(dir.path()).unwrap_err();
        assert!(matches!(error, Error::NotAFile { .. }), "{error}");
        std::fs::remove_dir(dir.path().join("0002_old.sql")).unwrap();
        write("0002_b.SQL");
        let error = Migrations::read(dir.path()).unwrap_err();
        assert!(matches!(error, Error::Misnamed { .. }), "{error}");
        std::fs::remove_file(dir.path().join("0002_b.SQL")).unwrap();
        std::fs::write(dir.path().join("0002_b.sql"), b"SELECT\n'\xff'").unwrap();
        let error = Migrations::read(dir.path()).unwrap_err();
        assert!(matches!(error, Error::NotUtf8 { line: 2, .. }), "{error}");
        let error = Migrations::read(&dir.path().join("no")).unwrap_err();
        assert!(matches!(error, Error::NoDirectory { .. }), "{error}");
    }

    #[test]
    fn a_file_added_after_the_build_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let dir: &'static str = dir.keep().to_str().unwrap().to_owned().leak();
        let embedded = Embedded {
            dir,
            files: &[("0001_a.sql", "SELECT 1")],
        };
        embedded.check_fresh().unwrap();
        std::fs::write(Path::new(dir).join("0002_b.sql"), "SELECT 2").unwrap();
        assert!(matches!(embedded.check_fresh(), Err(Error::Stale { .. })));
        std::fs::remove_dir_all(dir).unwrap();
        embedded.check_fresh().unwrap();
    }
}
