use thiserror::Error as ThisError;

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum Error {
    /// Not a token of SQL.
    #[error("line {line}, column {column}: {what}")]
    Token {
        /// From 1.
        line: usize,
        /// In bytes, from 1.
        column: usize,
        /// What it is instead.
        what: String,
    },
    /// The text ends inside a trigger.
    #[error("line {line}: this trigger has no END; at its end")]
    UnfinishedTrigger {
        /// Where its statement begins.
        line: usize,
    },
    /// Something else stands where the grammar wants this.
    #[error("line {line}: {wanted} is expected {place}")]
    Expected {
        /// From 1.
        line: usize,
        /// What should stand there.
        wanted: String,
        /// Before what, or at the end.
        place: String,
    },
}

/// The result of reading a text.
pub type Result<T> = std::result::Result<T, Error>;
