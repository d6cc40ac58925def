//! Full-text indexes over the rows of another table.

use rusqlite::Connection;

use super::move_aside::main_name;
use crate::schema::{Schema, TableKind, View};
use crate::sql::{TokenType as T, quote_name, same_name, tokens, unquote_name};

/// An FTS5 or FTS4 table with `content=…`. It looks the content table, its columns and
/// rows up by name and rowid at each query, so that SQLite reports no error when it no
/// longer fits.
pub(super) struct FullText {
    pub(super) name: String,
    is_fts5: bool,
}

impl FullText {
    /// Those over this table, or over a view that reads it; `None`: all.
    pub(super) fn over<'s>(
        schema: &'s Schema,
        table: Option<&'s str>,
    ) -> impl Iterator<Item = Self> + 's {
        schema.tables.iter().filter_map(move |one| {
            let virtual_sql = (one.kind == TableKind::Virtual).then_some(one.sql.as_str())?;
            let (module, content) = content(virtual_sql)?;
            let over = |table| same_name(&content, table) || shows(schema, &content, table);
            table.is_none_or(over).then(|| Self {
                name: one.name.clone(),
                is_fts5: same_name(&module, "fts5"),
            })
        })
    }

    /// SQLite's error if rows cannot be read through it.
    pub(super) fn unreadable(&self, conn: &Connection) -> Option<String> {
        let sql = format!("SELECT * FROM {}", main_name(&self.name));
        let read = || -> rusqlite::Result<()> {
            let mut all = conn.prepare(&sql)?;
            let mut rows = all.query([])?;
            rows.next().map(drop)
        };
        read().err().map(|error| error.to_string())
    }

    /// SQLite's error if it is not an index of exactly the content table's rows.
    pub(super) fn differs(&self, conn: &Connection) -> Option<String> {
        let (table, name) = (main_name(&self.name), quote_name(&self.name));
        let sql = match self.is_fts5 {
            true => format!("INSERT INTO {table} ({name}, rank) VALUES ('integrity-check', 1)"),
            false => format!("INSERT INTO {table} ({name}) VALUES ('integrity-check')"),
        };
        let checked = conn.execute_batch(&sql);
        checked.err().map(|error| error.to_string())
    }
}

/// Whether this view names the table, or a view that does.
fn shows(schema: &Schema, view: &str, table: &str) -> bool {
    let mut views: Vec<&View> = schema.view(view).into_iter().collect();
    let mut at = 0;
    while let Some(&view) = views.get(at) {
        at += 1;
        let Ok(all) = tokens(&view.sql) else {
            return true;
        };
        for token in all {
            let name = unquote_name(token.text(&view.sql));
            if same_name(&name, table) {
                return true;
            }
            if let Some(named) = schema.view(&name).filter(|one| !views.contains(one)) {
                views.push(named);
            }
        }
    }
    false
}

/// The module of a full-text table, and the table its `content=` names.
fn content(sql: &str) -> Option<(String, String)> {
    let all = tokens(sql).ok()?;
    let using = all.iter().position(|token| token.kind == T::TK_USING)?;
    let text = |at: usize| all.get(at).map(|token| token.text(sql));
    let module = unquote_name(text(using + 1)?);
    let is_known = ["fts5", "fts4"].iter().any(|one| same_name(one, &module));
    let begins = |at: usize| {
        all.get(at)
            .is_some_and(|token| matches!(token.kind, T::TK_LP | T::TK_COMMA))
    };
    let at = (using + 2..all.len()).find(|&at| {
        begins(at)
            && text(at + 1).is_some_and(|word| same_name(word, "content"))
            && text(at + 2) == Some("=")
    })?;
    let value = unquote_name(text(at + 3)?);
    (is_known && !value.is_empty()).then_some((module, value))
}
