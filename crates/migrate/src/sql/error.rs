//! Errors of reading SQL text.

use thiserror::Error as ThisError;

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that are not a token of SQL.
    #[error("line {line}, column {column}: {what}")]
    Token {
        /// From 1.
        line: usize,
        /// In bytes, from 1.
        column: usize,
        /// What it looks like.
        what: String,
    },
    /// The text ends inside a trigger.
    #[error("line {line}: this trigger has no END")]
    UnfinishedTrigger {
        /// The first line of its statement.
        line: usize,
    },
    /// Parentheses are nested more deeply than SQLite's parser allows.
    #[error(
        "line {line}, column {column}: more than {max} parentheses are open here; SQLite cannot read that"
    )]
    Nesting {
        /// From 1.
        line: usize,
        /// In bytes, from 1.
        column: usize,
        /// The most that may be open.
        max: usize,
    },
    /// Something else is where the grammar wants this.
    #[error("line {line}: {wanted} is expected {position}")]
    Expected {
        /// From 1.
        line: usize,
        /// What should be there.
        wanted: String,
        /// Before which token, or at the end.
        position: String,
    },
}

/// The result of reading a text.
pub type Result<T> = std::result::Result<T, Error>;
