//! Errors of a rebuild.

use thiserror::Error as ThisError;

use crate::sql::{self, quote_name};

/// Why a table was not rebuilt. The database is as it was.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// The statement, or a definition, cannot be read.
    #[error("cannot read the rebuild of {table}: {source}")]
    Text {
        /// The table, as far as it is known.
        table: String,
        /// What is wrong.
        source: sql::Error,
    },
    /// The clauses contradict each other or the definition.
    #[error("cannot rebuild {table}: {what}")]
    Clause {
        /// The table.
        table: String,
        /// What does not fit, and what to write.
        what: String,
    },
    /// Inside a transaction that enforces foreign keys.
    #[error(
        "cannot rebuild {table} in this transaction: with foreign keys on, dropping the old table \
         would delete the rows of ON DELETE CASCADE children; run PRAGMA foreign_keys = OFF before \
         BEGIN, or rebuild outside of a transaction"
    )]
    ForeignKeysOn {
        /// The table.
        table: String,
    },
    /// There is no such table.
    #[error("cannot rebuild {table}: there is no such table")]
    NoSuchTable {
        /// What was asked for.
        table: String,
    },
    /// It is not an ordinary table.
    #[error("cannot rebuild {table}: it is {what}")]
    NotATable {
        /// What was asked for.
        table: String,
        /// What it is, and what to do instead.
        what: String,
    },
    /// A statement of the procedure failed.
    #[error("cannot rebuild {table}: {doing} failed: {source}{advice}")]
    Sqlite {
        /// The table.
        table: String,
        /// What was being done.
        doing: String,
        /// SQLite's message.
        source: Box<rusqlite::Error>,
        /// What to do, beginning with `; `; or empty.
        advice: String,
    },
    /// The new type would change values.
    #[error(
        "cannot rebuild {table}: {count} values of {column} would change by its new type, for \
         instance {example}; say SET {column} = CAST({column} AS {type_}) if that is meant"
    )]
    ValuesChange {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// How many rows.
        count: u64,
        /// One value, before and after.
        example: String,
        /// The new type.
        type_: String,
    },
    /// Fewer rows were copied than there are.
    #[error("cannot rebuild {table}: of {before} rows {after} were copied")]
    RowsLost {
        /// The table.
        table: String,
        /// Rows of the old table.
        before: u64,
        /// Rows of the new one.
        after: u64,
    },
    /// A view, a trigger or a full-text index worked before and does not now.
    #[error(
        "cannot rebuild {table}: {what} would not work any more: {message}; drop it before, and \
         create it again after{}", filled(.what)
    )]
    Breaks {
        /// The table.
        table: String,
        /// `view v`, or the triggers of a table.
        what: String,
        /// SQLite's message.
        message: String,
    },
    /// The new table has other rowids than the old one.
    #[error("cannot rebuild {table}: its rowids would be {after} and not {before}")]
    RowidsChange {
        /// The table.
        table: String,
        /// The least and the greatest of the old table.
        before: String,
        /// Of the new one.
        after: String,
    },
    /// The new table has values that its definition does not allow.
    #[error("cannot rebuild {table}: SQLite finds in the new table: {message}")]
    Unsound {
        /// The table.
        table: String,
        /// What SQLite finds.
        message: String,
    },
    /// Rows would refer to rows that do not exist, and did not before.
    #[error(
        "cannot rebuild {table}: {count} rows of {child} would refer to rows that {parent} does not \
         have, for instance to {example}; correct or delete them first"
    )]
    Orphans {
        /// The table.
        table: String,
        /// The table with these rows.
        child: String,
        /// The table they refer to.
        parent: String,
        /// How many.
        count: u64,
        /// What one of them refers to.
        example: String,
    },
    /// A foreign key names columns that are not unique any more.
    #[error("cannot rebuild {table}: {message}; foreign keys need a primary key or UNIQUE there")]
    Mismatch {
        /// The table.
        table: String,
        /// SQLite's message.
        message: String,
    },
}

fn filled(what: &str) -> String {
    let Some(name) = what.strip_prefix("the full-text index ") else {
        return String::new();
    };
    let name = quote_name(name);
    format!("; INSERT INTO {name} ({name}) VALUES ('rebuild') then fills it")
}

/// The result of a rebuild.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err`: what was being done to which table.
    pub(crate) fn doing(
        table: &str,
        doing: impl Into<String>,
    ) -> impl FnOnce(rusqlite::Error) -> Self {
        let (table, doing) = (table.to_owned(), doing.into());
        move |source| Self::Sqlite {
            table,
            doing,
            source: Box::new(source),
            advice: String::new(),
        }
    }

    pub(crate) fn clause(table: &str, what: impl Into<String>) -> Self {
        Self::Clause {
            table: table.to_owned(),
            what: what.into(),
        }
    }
}
