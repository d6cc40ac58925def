//! Everything that can go wrong with migration files, one clear line each.

use std::path::PathBuf;

use crate::schema::Orphans;

/// What this module returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, to what, and what mends it. After any of them the
/// database is as it was before the file that is named.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no directory of migrations.
    #[error("there is no directory {}; name it with --dir, or begin a migration with `monolite migrate new NAME`", .dir.display())]
    NoDirectory {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The directory or a file in it cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A new file cannot be written.
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The words for a new file hold no letter.
    #[error(
        "a migration cannot be called {words:?}: say in a few words what it does, as add_posts"
    )]
    Words {
        /// What was given.
        words: String,
    },
    /// A file's name is not of the form.
    #[error(
        "{file}: the name of a migration is its number, an underscore, words and .sql, as 0001_add_posts.sql; rename it"
    )]
    Misnamed {
        /// Its name.
        file: String,
    },
    /// A file is not text.
    #[error("{file}, line {line}: this is not UTF-8 text; save the file as UTF-8")]
    NotUtf8 {
        /// Its name.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// What is called as a file of migrations is something else.
    #[error("{} is not a file; a migration is one, so rename it", .path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// SQLite would read no further.
    #[error(
        "{file}, line {line}: there is a NUL character, where SQLite would stop reading; remove it"
    )]
    Nul {
        /// Its name.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// Two files have one number.
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
    /// A number is left out.
    #[error(
        "there is no migration {missing:04}, but there is {file}: numbers follow one another from 0001; bring the missing file back, or rename the later ones"
    )]
    Gap {
        /// The number that is missing.
        missing: u32,
        /// The file after it.
        file: String,
    },
    /// A file would do nothing, and could not be filled afterwards.
    #[error("{file} holds no statement; write it, or remove the file")]
    Empty {
        /// Its name.
        file: String,
    },
    /// A text that cannot be cut into statements.
    #[error("{file}, {source}")]
    Text {
        /// Its name.
        file: String,
        /// Where, and why not.
        source: crate::sql::Error,
    },
    /// A statement that is not SQL.
    #[error("{file}, line {line}: {message}")]
    Parse {
        /// Its name.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A statement that no migration may hold.
    #[error("{file}, line {line}: {statement} cannot be part of a migration: {why}")]
    Refused {
        /// Its name.
        file: String,
        /// Counted from 1.
        line: usize,
        /// Its first words.
        statement: String,
        /// Why, and what to do instead.
        why: &'static str,
    },
    /// A file is not what was applied.
    #[error(
        "{file} was changed after it was applied; put it back as it was, and make the change in a new migration (`monolite migrate redo` is for one that only you have applied)"
    )]
    Edited {
        /// Its name.
        file: String,
    },
    /// A file that was applied is not there.
    #[error("{name}.sql was applied to this database, but the file is gone; bring it back")]
    Gone {
        /// Its number.
        version: u32,
        /// Its name without `.sql`.
        name: String,
    },
    /// The database is further than the files.
    #[error(
        "the database is at {name}, but {}: this is an older version of the app; run the newer one, or accept it (--accept-newer) where the newer schema serves the older code", newest_of(*.newest)
    )]
    Newer {
        /// The newest that was applied.
        name: String,
        /// The newest that is here; 0 where there is none.
        newest: u32,
    },
    /// A file was passed over.
    #[error(
        "{file} is not applied, but {newest} is: migrations are applied in order; give it the next free number"
    )]
    OutOfOrder {
        /// Its name.
        file: String,
        /// The newest that was applied.
        newest: String,
    },
    /// A file was added to the directory and not to the program.
    #[error("{} is not in this program, which was built before the file was made; build it again (touch the source file with `migrations!`, or have build.rs print cargo::rerun-if-changed for the directory)", .path.display())]
    Stale {
        /// The file.
        path: PathBuf,
    },
    /// The connection is in a transaction.
    #[error("migrations need a connection without an open transaction; commit first")]
    InTransaction,
    /// Somebody else kept the write lock.
    #[error(
        "the database was locked by another process for {waited_ms} ms, and {file} waits for it; try again, or find the process with the long transaction"
    )]
    Busy {
        /// The file that was to run.
        file: String,
        /// How long was waited.
        waited_ms: u128,
    },
    /// SQLite refused a statement.
    #[error("{file}, line {line}: {source}; nothing of this file was applied")]
    Statement {
        /// Its name.
        file: String,
        /// Counted from 1.
        line: usize,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// A rebuild was refused.
    #[error("{file}, line {line}: {source}; nothing of this file was applied")]
    Rebuild {
        /// Its name.
        file: String,
        /// Counted from 1.
        line: usize,
        /// Why.
        source: Box<crate::rebuild::Error>,
    },
    /// A statement ended the transaction.
    #[error(
        "{file}, line {line}: the statement rolled the transaction back; nothing of this file was applied"
    )]
    Ended {
        /// Its name.
        file: String,
        /// Counted from 1.
        line: usize,
    },
    /// Rows would be left whose parent is missing.
    #[error("{file} would leave {orphans}{}; nothing of it was applied", foreign_keys(*.enforced))]
    Orphans {
        /// Its name.
        file: String,
        /// The rows.
        orphans: Orphans,
        /// Whether foreign keys were enforced in this file.
        enforced: bool,
    },
    /// A temporary table, view or trigger would outlive its file.
    #[error(
        "{file} leaves the temporary {name} behind, which the files after it would meet; drop it at the end of the file. Nothing of it was applied"
    )]
    Temporary {
        /// Its name.
        file: String,
        /// What it is, and its name.
        name: String,
    },
    /// There are records already.
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
        /// What was named.
        version: u32,
        /// The newest.
        newest: u32,
    },
    /// The database is not what the files make.
    #[error("the database is not what the migrations up to {file} make: {}; write what is missing, or call them applied all the same (--force)", .differences.join("; "))]
    Differs {
        /// The last file of the baseline.
        file: String,
        /// What differs.
        differences: Vec<String>,
    },
    /// The copy does not belong to this database as it is.
    #[error("{}: {why}; the database was left as it is", .copy.display())]
    NotTheCopy {
        /// The copy's path.
        copy: PathBuf,
        /// Why.
        why: String,
    },
    /// The user may only read the database.
    #[error(
        "cannot {what}: this user may only read the database, or the directory it is in; run it as the user that the app runs as"
    )]
    ReadOnly {
        /// What was being done.
        what: &'static str,
    },
    /// Any other answer of SQLite.
    #[error("cannot {what}: {source}")]
    Sqlite {
        /// What was being done.
        what: &'static str,
        /// SQLite's words.
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
