use rusqlite::Connection;

use super::names::Names;
use super::{Error, Rebuild, Result};
use crate::schema::{Schema, Table, TableKind};
use crate::sql::{TableText, Token, TokenType, quote_name, same_name, tokens, unquote_name};

impl Rebuild {
    /// The table, if it is one that can be rebuilt.
    pub(super) fn present<'s>(&self, conn: &Connection, schema: &'s Schema) -> Result<&'s Table> {
        let not = |what: &str| Error::NotATable {
            table: self.table.clone(),
            what: what.to_owned(),
        };
        if self.table.to_ascii_lowercase().starts_with("sqlite_") {
            return Err(not("SQLite's own"));
        }
        if schema.view(&self.table).is_some() {
            return Err(not("a view: drop it and create it anew"));
        }
        let Some(table) = schema.table(&self.table) else {
            return Err(Error::NoSuchTable {
                table: self.table.clone(),
            });
        };
        match table.kind {
            TableKind::Virtual => {
                return Err(not(
                    "a virtual table: create one under another name, fill it, drop this one and \
                     rename",
                ));
            }
            TableKind::Shadow => return Err(not("where a virtual table keeps what it knows")),
            TableKind::Ordinary => {}
        }
        let temporary: i64 = conn
            .query_row(
                "SELECT count(*) FROM temp.sqlite_schema WHERE tbl_name = ?1 COLLATE NOCASE",
                [&self.table],
                |row| row.get(0),
            )
            .map_err(Error::doing(&self.table, "reading the schema"))?;
        if temporary > 0 {
            return Err(not(
                "hidden by a temporary table of this connection, or has temporary triggers that would \
                 be lost: drop them first",
            ));
        }
        Ok(table)
    }

    /// An index on a column that goes. SQLite would take a quoted name for text.
    pub(super) fn check_indexes(
        &self,
        schema: &Schema,
        names: &Names,
        wanted: &TableText,
    ) -> Result<()> {
        let gone = |name: &str| {
            let now = names.by_now(name);
            let dropped = |was: &str| self.drops.iter().any(|drop| same_name(drop, was));
            now.is_some_and(|one| dropped(&one.was))
                && !wanted.columns().any(|one| same_name(one, name))
        };
        for index in schema.indexes_of(&self.table) {
            let Some(sql) = &index.sql else { continue };
            let Ok(all) = tokens(sql) else { continue };
            // Neither the table before a column, nor text: that is a column only
            // where it is all that is indexed there.
            let is_name = |at: usize, token: &Token| {
                let next = all.get(at + 1).map(|next| next.kind);
                token.kind != TokenType::TK_STRING && next != Some(TokenType::TK_DOT)
            };
            let named = all
                .iter()
                .enumerate()
                .skip_while(|(_, token)| token.kind != TokenType::TK_LP)
                .any(|(at, token)| is_name(at, token) && gone(&unquote_name(token.text(sql))));
            let mut indexed = index.columns.iter().filter_map(|one| one.name.as_deref());
            if named || indexed.any(gone) {
                let name = &index.name;
                return Err(Error::clause(
                    &self.table,
                    format!(
                        "the index {name} is on a column that is dropped: DROP INDEX {} first, and \
                         create what you want instead after it",
                        quote_name(name)
                    ),
                ));
            }
        }
        Ok(())
    }
}
