//! SQL text, split with nothing lost: every piece keeps its exact bytes and its
//! comments.
//!
//! Tokens are SQLite's, read by the tokenizer of `sqlite3-parser`; where a
//! statement, a column or a constraint ends follows SQLite's grammar. It is not
//! built on `sqlparser`, nor on the syntax tree of `sqlite3-parser`: both drop
//! comments and spacing, and print a statement in their own way, while a rebuild
//! has to keep the author's text byte for byte. The syntax tree is used only where
//! the meaning of a statement counts and its text does not (lint, refusals).

mod column;
mod comment;
mod constraint;
mod error;
mod name;
mod split;
mod table;
mod token;
mod words;

pub use column::ColumnText;
pub use comment::Comment;
pub(crate) use comment::{comments, on_same_line};
pub(crate) use constraint::constraints_of;
pub use constraint::{Constraint, ConstraintKind};
pub use error::{Error, Result};
pub use name::{name_key, qualified_name, quote_name, same_name, unquote_name};
pub use split::{Kind, Statement, split};
pub use table::{Item, TableText};
pub(crate) use token::Cursor;
pub use token::{Token, TokenType, tokens};
pub use words::{check_words, index_words, literal_default, possible_columns, words};
