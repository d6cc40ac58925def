//! SQL text, cut where it may be cut, with nothing lost: every piece keeps its
//! exact bytes and its comments.
//!
//! Tokens are those of SQLite (by the tokenizer of `sqlite3-parser`); where a
//! statement, a column or a constraint ends follows SQLite's own grammar.

mod column;
mod comment;
mod constraint;
mod error;
mod item;
mod name;
mod split;
mod table;
mod tail;
mod token;

pub use column::ColumnText;
pub use comment::Comment;
pub(crate) use comment::{beside, comments};
pub(crate) use constraint::constraints_of;
pub use constraint::{Constraint, ConstraintKind};
pub use error::{Error, Result};
pub use item::Item;
pub use name::{quote_name, same_name, unquote_name};
pub use split::{Kind, Statement, split};
pub use table::TableText;
pub(crate) use token::Cursor;
pub use token::{Token, TokenType, tokens};
