//! Names of tables and columns, and how SQL writes them.

use super::token::{TokenType, tokens};

/// A name as SQL text: always quoted, so that any name is one.
#[must_use]
pub fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name that a token of SQL means: without its quotes.
#[must_use]
pub fn unquote_name(text: &str) -> String {
    let inner = |open: char, close: char| text.strip_prefix(open)?.strip_suffix(close);
    if let Some(inside) = inner('[', ']') {
        return inside.to_owned();
    }
    for quote in ['"', '\'', '`'] {
        if text.len() >= 2
            && let Some(inside) = inner(quote, quote)
        {
            return inside.replace(&format!("{quote}{quote}"), &quote.to_string());
        }
    }
    text.to_owned()
}

/// A table of an attached database as SQL text, both names quoted.
#[must_use]
pub fn qualified_name(database: &str, table: &str) -> String {
    format!("{}.{}", quote_name(database), quote_name(table))
}

/// Whether SQLite takes both for the same name: it ignores the case of ASCII
/// letters only.
#[must_use]
pub fn same_name(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// A name as a key of a map: equal for names that are [`same_name`].
#[must_use]
pub fn name_key(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// A name as SQL text, quoted only where it must be.
#[must_use]
pub fn plain_name(name: &str) -> String {
    let bare = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name
            .bytes()
            .next()
            .is_some_and(|byte| !byte.is_ascii_digit());
    let is_id = tokens(name)
        .is_ok_and(|all| matches!(all.as_slice(), [one] if one.kind == TokenType::TK_ID));
    if bare && is_id {
        name.to_owned()
    } else {
        quote_name(name)
    }
}
