//! Moving the old table aside, under another name.

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::sql::{self, TokenType as T, quote_name, same_name, tokens, unquote_name};

/// A table's text without its own name before columns, as in `CHECK (posts.price > 0)`
/// or `CHECK (main.posts.price > 0)`. `None` if it has none.
///
/// Such a text would be invalid once the table has another name.
pub(super) fn unqualified(text: &str, table: &str) -> sql::Result<Option<String>> {
    let all = tokens(text)?;
    let is = |at: usize, name: &str| {
        all.get(at)
            .is_some_and(|token| same_name(&unquote_name(token.text(text)), name))
    };
    let is_dot = |at: usize| all.get(at).is_some_and(|token| token.kind == T::TK_DOT);
    let mut kept = String::with_capacity(text.len());
    let (mut from, mut at) = (0, 0);
    while let Some(token) = all.get(at) {
        // A table may be called `main` too.
        let is_table = |at: usize| is(at, table) && is_dot(at + 1);
        let schema = usize::from(is(at, "main") && is_dot(at + 1) && is_table(at + 2)) * 2;
        if is_table(at + schema) {
            kept.push_str(text.get(from..token.start).unwrap_or_default());
            from = all.get(at + schema + 1).map_or(from, |dot| dot.end);
            // After the dot is a column, whatever its name.
            at += schema + 2;
        }
        at += 1;
    }
    kept.push_str(text.get(from..).unwrap_or_default());
    Ok((from > 0).then_some(kept))
}

/// Replaces the text of a table in the schema. Only for a table that is dropped in the
/// same transaction.
pub(super) fn replace(conn: &Connection, table: &str, text: &str) -> rusqlite::Result<()> {
    writable(conn, || {
        conn.execute(
            "UPDATE main.sqlite_schema SET sql = ?1 WHERE type = 'table' AND name = ?2 COLLATE NOCASE",
            [text, table],
        )
    })
    .map(drop)
}

/// Runs `job` with `writable_schema`, which a defensive connection forbids otherwise.
pub(super) fn writable<T>(
    conn: &Connection,
    job: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let defensive = conn.db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    let job = || {
        let was: bool = conn.pragma_query_value(None, "writable_schema", |row| row.get(0))?;
        conn.execute_batch("PRAGMA writable_schema = ON")?;
        let done = job();
        if !was {
            conn.execute_batch("PRAGMA writable_schema = OFF")?;
        }
        done
    };
    let done = job();
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, defensive)?;
    done
}

/// A name that no object of the database has.
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

/// A table of `main` as SQL text, quoted.
pub(super) fn main_name(name: &str) -> String {
    format!("main.{}", quote_name(name))
}
