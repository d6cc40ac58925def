//! Creates the next migration file.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use monolite_platform::durable::{self, IfExists, Temporary};

use super::error::{Error, Result};
use super::file::begun;
use super::migrations::Migrations;

/// Creates the next file in `dir`, and `dir` if it does not exist, and returns its
/// path. `words` become its name: `Add posts` makes `0001_add_posts.sql`.
///
/// The file appears whole; an existing one is never replaced.
///
/// # Errors
/// The words have no letter, the existing files cannot be read or have a gap, or the
/// file cannot be written.
pub fn new(dir: &Path, words: &str) -> Result<PathBuf> {
    create(dir, words, begun)
}

/// The same, with these statements in the file.
///
/// # Errors
/// As [`new`].
pub fn new_with(dir: &Path, words: &str, statements: &str) -> Result<PathBuf> {
    create(dir, words, |_| format!("{}\n", statements.trim_end()))
}

fn create(dir: &Path, words: &str, text: impl FnOnce(&str) -> String) -> Result<PathBuf> {
    let name = name_of(words)?;
    let at = |source| Error::Write {
        path: dir.into(),
        source,
    };
    std::fs::create_dir_all(dir).map_err(at)?;
    let directory = File::open(dir).map_err(at)?;
    // Serializes processes; the lock ends with its process. Where the filesystem has
    // none, two files of the same number are an error of the next command.
    let _ = directory.lock();
    let number = Migrations::read(dir)?.newest().saturating_add(1);
    let stem = format!("{number:04}_{name}");
    let path = dir.join(format!("{stem}.sql"));
    let written = write(&path, &text(&stem));
    match written {
        Ok(()) => Ok(path),
        Err(source) => Err(Error::Write { path, source }),
    }
}

/// Letters and digits, in lower case, with underscores between them.
fn name_of(words: &str) -> Result<String> {
    let words = words.trim();
    let words = words.strip_suffix(".sql").unwrap_or(words);
    let parts = words.split(|c: char| !c.is_alphanumeric());
    let parts: Vec<String> = parts
        .filter(|part| !part.is_empty())
        .map(str::to_lowercase)
        .collect();
    let name = parts.join("_");
    if name.chars().any(char::is_alphabetic) && name.len() <= 120 {
        return Ok(name);
    }
    Err(Error::Words {
        words: words.into(),
    })
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    const NEW_FILE: durable::Options = durable::Options::new("migration").mode(0o666);
    let temporary = Temporary::create(path, &NEW_FILE)?;
    temporary.file().write_all(text.as_bytes())?;
    temporary.persist(IfExists::Fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_name() {
        assert_eq!(name_of("Add posts").unwrap(), "add_posts");
        assert_eq!(name_of(" add-posts.sql ").unwrap(), "add_posts");
        assert_eq!(name_of("Ändere Übersicht 2").unwrap(), "ändere_übersicht_2");
        assert_eq!(name_of("../../etc/x").unwrap(), "etc_x");
        for wrong in ["", "  ", "--", "17", "../..", &"x".repeat(200)] {
            assert!(name_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_has_the_next_number_though_all_begin_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("db/migrations");
        std::thread::scope(|scope| {
            for words in ["one", "two", "one", "two", "three", "one"] {
                scope.spawn(|| new(&dir, words).unwrap());
            }
        });
        let all = Migrations::read(&dir);
        assert_eq!(all.unwrap().newest(), 6);
        assert_eq!(
            std::fs::read_dir(&dir).unwrap().count(),
            6,
            "nothing left over"
        );
    }
}
