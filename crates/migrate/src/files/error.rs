//! Errors of migration files.

use std::path::PathBuf;

use crate::schema::Orphans;

/// The result of operations on migration files.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed, on what, and what to do. After any of them the database is as it was before
/// the named file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory of migrations does not exist.
    #[error("there is no directory {}; name it with --dir, or begin a migration with `monolite migrate new NAME`", .dir.display())]
    NoDirectory {
        /// The path.
        dir: PathBuf,
    },
    /// The directory or a file in it cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A new file cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The words for a new file have no letter.
    #[error(
        "a migration cannot be called {words:?}: give a few words that say what it does, such as add_posts"
    )]
    Words {
        /// What was given.
        words: String,
    },
    /// A file's name does not have the form `0001_add_posts.sql`.
    #[error(
        "{file}: the name of a migration is a number, an underscore, words and .sql, such as 0001_add_posts.sql; rename it"
    )]
    Misnamed {
        /// The file's name.
        file: String,
    },
    /// A file is not text.
    #[error("{file}, line {line}: this is not UTF-8 text; save the file as UTF-8")]
    NotUtf8 {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// A directory entry with the name of a migration is not a file.
    #[error("{} is not a file, but has the name of a migration; rename it", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A file has a NUL character, at which SQLite stops reading.
    #[error(
        "{file}, line {line}: there is a NUL character, at which SQLite stops reading; remove it"
    )]
    Nul {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// Two files have the same number.
    #[error(
        "{first} and {second} have the same number, {version}; give the newer one the next free number"
    )]
    Duplicate {
        /// The number.
        version: u32,
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// A number is missing.
    #[error(
        "there is no migration {missing:04}, but there is {file}: numbers follow one another from 0001; restore the missing file, or rename the later ones"
    )]
    Gap {
        /// The number that is missing.
        missing: u32,
        /// The file after it.
        file: String,
    },
    /// A file has no statement.
    #[error("{file} has no statement yet; write one, or remove the file")]
    Empty {
        /// The file's name.
        file: String,
    },
    /// A file cannot be split into statements.
    #[error("{file}, {source}")]
    Text {
        /// The file's name.
        file: String,
        /// Where, and why.
        source: crate::sql::Error,
    },
    /// A statement has a syntax error.
    #[error("{file}, line {line}: {message}")]
    Parse {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A statement is not allowed in a migration.
    #[error("{file}, line {line}: {statement} cannot be part of a migration: {why}")]
    Refused {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: usize,
        /// Its first words.
        statement: String,
        /// Why, and what to do instead.
        why: &'static str,
    },
    /// A file was edited after it was applied.
    #[error(
        "{file} was changed after it was applied; restore it, and make the change in a new migration (`monolite migrate up --redo` is for one that only you have applied)"
    )]
    Edited {
        /// The file's name.
        file: String,
    },
    /// A file that was applied is missing.
    #[error("{name}.sql was applied to this database, but the file is missing; restore it")]
    Gone {
        /// Its number.
        version: u32,
        /// Its name without `.sql`.
        name: String,
    },
    /// The database has newer migrations than there are files.
    #[error(
        "the database is at {name}, but {}: this is an older version of the app; run the newer one, or say `--to {newest}` if the older code works with the newer schema", newest_of(*.newest)
    )]
    Newer {
        /// The newest that was applied.
        name: String,
        /// The newest file's number; 0 without files.
        newest: u32,
    },
    /// A file is older than the newest that was applied, and was not applied.
    #[error(
        "{file} is not applied, but {newest} is: migrations are applied in order; give it the next free number"
    )]
    OutOfOrder {
        /// The file's name.
        file: String,
        /// The newest that was applied.
        newest: String,
    },
    /// A file in the directory is not in the program.
    #[error("{} is not in this program, which was built before the file was made; build it again (touch the source file with `migrations!`, or have build.rs print cargo::rerun-if-changed for the directory)", .path.display())]
    Stale {
        /// The file.
        path: PathBuf,
    },
    /// The connection is in a transaction.
    #[error("migrations need a connection without an open transaction; commit first")]
    InTransaction,
    /// Another process held the write lock, or read, for too long.
    #[error(
        "the database was locked by another process for {waited_ms} ms, and {file} waits for it; try again, or find the process with the long transaction"
    )]
    Busy {
        /// The file that was to be applied.
        file: String,
        /// How long it waited, in milliseconds.
        waited_ms: u128,
    },
    /// SQLite refused a statement.
    #[error("{file}, line {line}: {source}; nothing of this file was applied")]
    Statement {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: usize,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// A rebuild was refused.
    #[error("{file}, line {line}: {source}; nothing of this file was applied")]
    Rebuild {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: usize,
        /// Why.
        source: Box<crate::rebuild::Error>,
    },
    /// A statement rolled the transaction back.
    #[error(
        "{file}, line {line}: the statement rolled the transaction back; nothing of this file was applied"
    )]
    Ended {
        /// The file's name.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// Rows would be left without a parent.
    #[error("{file} would leave {orphans}{}; nothing of it was applied", foreign_keys(*.enforced))]
    Orphans {
        /// The file's name.
        file: String,
        /// The rows.
        orphans: Orphans,
        /// Whether the file ran with foreign keys enforced.
        enforced: bool,
    },
    /// A temporary table, view or trigger would be left after its file.
    #[error(
        "{file} leaves the temporary {name} behind, which later files would see; drop it at the end of the file. Nothing of it was applied"
    )]
    Temporary {
        /// The file's name.
        file: String,
        /// What it is, and its name.
        name: String,
    },
    /// The database has records already.
    #[error(
        "this database has applied {name} already; a baseline is for one that has no record of migrations"
    )]
    HasRecords {
        /// The newest.
        name: String,
    },
    /// There is no such file.
    #[error("there is no migration {version:04}; {}", match .newest { 0 => "there is none".to_owned(), newest => format!("the newest is {newest:04}") })]
    NoSuch {
        /// The number that was given.
        version: u32,
        /// The newest.
        newest: u32,
    },
    /// The database differs from what the files make.
    #[error("the database differs from what the migrations up to {file} make: {}; correct the files, or the database", .differences.join("; "))]
    Differs {
        /// The last file of the baseline.
        file: String,
        /// The differences.
        differences: Vec<String>,
    },
    /// The copy is not one of this database before its last migrations.
    #[error("{}: {why}; the database is unchanged", .copy.display())]
    NotTheCopy {
        /// The copy's path.
        copy: PathBuf,
        /// Why.
        why: String,
    },
    /// This user may not write to the database.
    #[error(
        "cannot {what}: this user may only read the database, or the directory it is in; run it as the user that the app runs as"
    )]
    ReadOnly {
        /// What was being done.
        what: &'static str,
    },
    /// Any other error of SQLite.
    #[error("cannot {what}: {source}")]
    Sqlite {
        /// What was being done.
        what: &'static str,
        /// SQLite's error.
        source: rusqlite::Error,
    },
}

impl Error {
    pub(super) fn sqlite(what: &'static str) -> impl Fn(rusqlite::Error) -> Self {
        move |source| match source.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ReadOnly) => Self::ReadOnly { what },
            _ => Self::Sqlite { what, source },
        }
    }
}

fn newest_of(newest: u32) -> String {
    match newest {
        0 => "there is no migration here".into(),
        newest => format!("the newest migration here is {newest:04}"),
    }
}

fn foreign_keys(enforced: bool) -> &'static str {
    match enforced {
        true => "",
        false => {
            " (foreign keys are off in a file that drops or rebuilds a table: delete these rows first, or do the rest in a file of its own)"
        }
    }
}
