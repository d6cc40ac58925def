//! Names of tables and columns, and how SQL writes them.

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
