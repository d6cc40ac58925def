use rusqlite::Connection;

use crate::sql::{self, TokenType as T, quote_name, same_name, tokens, unquote_name};

/// A table's text without its own name before columns, as in `CHECK (posts.price
/// > 0)`: there only the table itself can be meant. `None` if it has none.
///
/// Such a text would not fit any more once the table is moved out of the way.
pub(super) fn unqualified(text: &str, table: &str) -> sql::Result<Option<String>> {
    let all = tokens(text)?;
    let mut kept = String::with_capacity(text.len());
    let mut from = 0;
    for pair in all.windows(2) {
        let [name, dot] = pair else { continue };
        let own = dot.kind == T::TK_DOT && same_name(&unquote_name(name.text(text)), table);
        // Before it: the keyword, or a schema.
        if own && name.start >= from {
            kept.push_str(text.get(from..name.start).unwrap_or_default());
            from = dot.end;
        }
    }
    kept.push_str(text.get(from..).unwrap_or_default());
    Ok((from > 0).then_some(kept))
}

/// Puts that text in the place of the present one. Only for a table that is
/// dropped in the same transaction.
pub(super) fn replace(conn: &Connection, table: &str, text: &str) -> rusqlite::Result<()> {
    let was: bool = conn.pragma_query_value(None, "writable_schema", |row| row.get(0))?;
    conn.execute_batch("PRAGMA writable_schema = ON")?;
    let replaced = conn.execute(
        "UPDATE main.sqlite_schema SET sql = ?1 WHERE type = 'table' AND name = ?2 COLLATE NOCASE",
        [text, table],
    );
    if !was {
        conn.execute_batch("PRAGMA writable_schema = OFF")?;
    }
    replaced.map(drop)
}

/// A name that nothing in the database has.
pub(super) fn free_name(conn: &Connection, table: &str) -> rusqlite::Result<String> {
    let sql = "SELECT count(*) FROM main.sqlite_schema WHERE name = ?1 COLLATE NOCASE";
    let mut name = format!("_monolite_rebuild_{table}");
    loop {
        let taken: i64 = conn.query_row(sql, [&name], |row| row.get(0))?;
        if taken == 0 {
            return Ok(name);
        }
        name.push('_');
    }
}

pub(super) fn main_name(name: &str) -> String {
    format!("main.{}", quote_name(name))
}
