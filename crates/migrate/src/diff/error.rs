//! Errors of a comparison of schemas.

use thiserror::Error as ThisError;

use crate::allowance::{LossKind, Lost};
use crate::{rebuild, sql};

/// Why there is no migration.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The wanted schema cannot be read.
    #[error("cannot read the wanted schema: {0}")]
    Text(#[from] sql::Error),
    /// The wanted schema makes nothing: all views, triggers and indexes would go.
    #[error(
        "the wanted schema is empty, and the database is not: every view, trigger and index would be \
         dropped; print the present schema with sqlite3 and .schema to begin with"
    )]
    Empty,
    /// Both the former and the new name of a column exist.
    #[error(
        "{table}.{column} is to be what was {was}, and the database has both: say --allow-loss \
         {drop} if the values of {column} shall go and those of {was} take their place; or, if they \
         are two columns, remove the comment `was: {was}`", drop = shell_words(&[format!("{table}.{column}")])
    )]
    BothThere {
        /// The table.
        table: String,
        /// The new name.
        column: String,
        /// The former one.
        was: String,
    },
    /// A statement in the wanted schema that is not `CREATE`.
    #[error(
        "line {line} of the wanted schema: {statement} does not belong there; only CREATE statements do"
    )]
    Statement {
        /// From 1.
        line: usize,
        /// Its first words.
        statement: String,
    },
    /// SQLite does not take a statement of the wanted schema.
    #[error("line {line} of the wanted schema: {source}")]
    Wanted {
        /// From 1.
        line: usize,
        /// SQLite's message.
        source: rusqlite::Error,
    },
    /// The live schema cannot be read, or not be copied.
    #[error("cannot {doing}: {source}{advice}")]
    Sqlite {
        /// What was being done.
        doing: String,
        /// What to do, beginning with `; `; or empty.
        advice: &'static str,
        /// SQLite's message.
        source: rusqlite::Error,
    },
    /// A table of the wanted schema that a query makes.
    #[error(
        "line {line} of the wanted schema: {table} is made by AS SELECT, which gives neither its \
         constraints nor its later rows; write its columns instead: {sql}"
    )]
    AsSelect {
        /// From 1.
        line: usize,
        /// The table.
        table: String,
        /// What SQLite made of it.
        sql: String,
    },
    /// A new virtual table, of a module that is not there.
    #[error(
        "line {line} of the wanted schema: {table} is new and cannot be tried here: {message}; write \
         its statement into a migration by hand, to be run by the app"
    )]
    Module {
        /// From 1.
        line: usize,
        /// The virtual table.
        table: String,
        /// SQLite's message.
        message: String,
    },
    /// A kept view or trigger would not work any more.
    #[error(
        "{what} would not work after the migration: {message}; change it in the wanted schema too, or \
         drop it first"
    )]
    Breaks {
        /// `the view v`, or the triggers of a table.
        what: String,
        /// SQLite's message.
        message: String,
    },
    /// Columns would be dropped, which is not allowed.
    #[error(
        "{} would be dropped with all values: not in the wanted schema; say --allow-loss {}, or write \
         `-- monolite: allow {}: the reason` in it; or, if one has another name now, `-- was: {}` on its line",
        .columns.join(", "), shell_words(.columns), in_comment(.columns),
        .columns.first().and_then(|one| one.rsplit('.').next()).unwrap_or_default()
    )]
    WouldDrop {
        /// `table.column`.
        columns: Vec<String>,
    },
    /// A new column that may not be NULL.
    #[error(
        "{table}.{column} is new and NOT NULL: give it a DEFAULT, or write `-- set: expression` \
         on its line for the existing rows, or `-- was: name` if it had another name"
    )]
    NoValue {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A virtual table that is another one now.
    #[error(
        "{table} is a virtual table and its arguments differ: it cannot be changed, only dropped and \
         created again; say --allow-loss table:{table} if its rows may be lost (an index over the rows of another \
         table is filled again by INSERT INTO {table} ({table}) VALUES ('rebuild'))"
    )]
    Virtual {
        /// The table.
        table: String,
    },
    /// Something has the name already, and is something else.
    #[error(
        "{name} is {what} in the database and something else in the wanted schema: drop it first"
    )]
    OtherKind {
        /// Its name.
        name: String,
        /// `a view`, `a table`.
        what: &'static str,
    },
    /// What a comment asks for is not there.
    #[error("the wanted schema has `{annotation}`, and the database has no {missing}")]
    Annotation {
        /// The comment.
        annotation: String,
        /// What is missing.
        missing: String,
    },
    /// A table cannot be rebuilt.
    #[error(transparent)]
    Rebuild(Box<rebuild::Error>),
    /// Tried on a copy, the migration leads elsewhere.
    #[error("no migration was found: after the one that was tried, {0}")]
    Differs(String),
}

/// The result of a comparison.
pub type Result<T> = std::result::Result<T, Error>;

/// As allowances of columns, quoted for a shell.
fn shell_words(names: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
    let word = |name: String| match name.chars().all(plain) {
        true => name,
        false => format!("'{}'", name.replace('\'', "'\\''")),
    };
    let words: Vec<String> = allowances(names).map(word).collect();
    words.join(" --allow-loss ")
}

/// As allowances of columns, for a comment.
fn in_comment(names: &[String]) -> String {
    allowances(names).collect::<Vec<_>>().join(", ")
}

fn allowances(names: &[String]) -> impl Iterator<Item = String> {
    names.iter().map(|name| {
        let (table, column) = name.split_once('.').unwrap_or((name, ""));
        let lost = Lost {
            kind: LossKind::Column,
            table: Some(table),
            name: Some(column),
            exactly: "",
        };
        lost.allowance(None)
    })
}

impl From<rebuild::Error> for Error {
    fn from(error: rebuild::Error) -> Self {
        Self::Rebuild(Box::new(error))
    }
}

impl Error {
    pub(super) fn doing(doing: impl Into<String>) -> impl FnOnce(rusqlite::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Sqlite {
            doing,
            advice: "",
            source,
        }
    }
}
