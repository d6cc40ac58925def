//! Whether a table is provably the one it was, and was not dropped and made
//! again.
//!
//! The last table of a schema that is made again gets its number in the schema
//! back, and its root page with it: both say nothing by themselves. SQLite
//! gives a new object the number after the largest one, and counts whatever
//! statement changes the schema.

use super::data::Look;
use monolite_migrate::schema::{Entry, EntryKind, Schema, Table, TableKind};
use monolite_migrate::sql::name_key;
use monolite_migrate::sql::quote_name;

/// What is known for sure of a table that has the place of one from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing: it may be another one.
    Nothing,
    /// It was never dropped. Its columns may have been.
    Table,
    /// Neither was one of its columns dropped and added again.
    Columns,
}

impl Proof {
    /// Whether it is the very table.
    pub(super) fn is_same_table(self) -> bool {
        matches!(self, Self::Table | Self::Columns)
    }
}

impl Look<'_> {
    pub(super) fn proof(&self, was: &Table, now: &Table) -> Proof {
        let same_place = was.root_page != 0
            && was.root_page == now.root_page
            && was.schema_rowid == now.schema_rowid;
        if !same_place {
            Proof::Nothing
        } else if self.changes_besides(now).is_some_and(|changes| changes < 2) {
            // It takes two to drop something and make it again.
            Proof::Columns
        } else if self.is_untouched(now) || self.stands_before_another(was) {
            Proof::Table
        } else {
            Proof::Nothing
        }
    }

    /// Whether that is this very table, with nothing done to its definition but
    /// that columns were added. What hung on it and does not any more was
    /// dropped by its name, and did not go as it was made anew.
    pub(super) fn stayed_in_place(&self, was: &Table, now: &Table) -> bool {
        only_gained_columns(was, now) && self.proof(was, now).is_same_table()
    }

    /// Statements that changed the schema, at most, without those that must have
    /// made or renamed something else. `None` if it was counted anew.
    fn changes_besides(&self, now: &Table) -> Option<u64> {
        let all = self.after.version.checked_sub(self.before.version)?;
        let all = u64::try_from(all).ok()?;
        let had = |entry: &Entry| {
            let mut entries = self.before.entries.iter();
            entries.any(|was| was.is_named_as(entry))
        };
        // What belongs to a virtual table comes, and gets its name, without a
        // statement of its own; and not every module is known here.
        let virtuals = |facts: &Schema| -> Vec<String> {
            let all = facts.tables.iter();
            let all = all.filter(|table| table.kind == TableKind::Virtual);
            let mut names: Vec<_> = all.map(|table| name_key(&table.name)).collect();
            names.sort_unstable();
            names
        };
        if virtuals(self.before) != virtuals(self.after) {
            return Some(all);
        }
        let is_others = |entry: &&Entry| {
            let table = self.after.table(&entry.table);
            entry.has_sql
                && table.is_some_and(|of| {
                    of.kind == TableKind::Ordinary
                        && (entry.kind == EntryKind::Index
                            || (entry.kind == EntryKind::Table
                                && name_key(&of.name) != name_key(&now.name)))
                })
        };
        let others = self.after.entries.iter().filter(is_others);
        let others = others.filter(|entry| !had(entry)).count();
        Some(all.saturating_sub(others as u64))
    }

    /// Whether it has rows, on the very pages that they were on. Without any,
    /// one page is like another.
    fn is_untouched(&self, now: &Table) -> bool {
        let sql = format!("SELECT 1 FROM main.{} LIMIT 1", quote_name(&now.name));
        let has_rows = || self.conn.prepare(&sql).and_then(|mut rows| rows.exists([]));
        !self.touched.has(now.root_page) && has_rows().unwrap_or(false)
    }

    /// Whether a table that was made after it is still there: made again, this
    /// one would have got a larger number, and VACUUM, which numbers all anew,
    /// keeps the order of tables. One that may itself have been made again tells
    /// nothing.
    fn stands_before_another(&self, was: &Table) -> bool {
        let is_there = |entry: &Entry| {
            let mut entries = self.after.entries.iter();
            entries.any(|now| {
                now.is_named_as(entry)
                    && now.rowid == entry.rowid
                    && now.root_page == entry.root_page
            })
        };
        let mut later = self.before.entries.iter().filter(|entry| {
            entry.kind == EntryKind::Table
                && entry.rowid > was.schema_rowid
                && entry.root_page != 0
                && !self.touched.has(entry.root_page)
                // SQLite's own it makes when it likes.
                && !name_key(&entry.name).starts_with("sqlite_")
        });
        later.any(is_there)
    }
}

/// Whether the later definition of a table is the same but for columns that were added.
pub(super) fn only_gained_columns(was: &Table, now: &Table) -> bool {
    let (was, now) = (was.sql.as_bytes(), now.sql.as_bytes());
    // Columns are added in one place of the text.
    let begin = was.iter().zip(now).take_while(|(a, b)| a == b).count();
    let end = was.iter().rev().zip(now.iter().rev());
    let end = end.take_while(|(a, b)| a == b).count();
    match now.len().checked_sub(was.len()) {
        Some(0) => begin == was.len(),
        Some(longer) if begin + end >= was.len() => {
            let text = now.get(begin..begin + longer).unwrap_or_default();
            let text = text.trim_ascii();
            text.starts_with(b",") || text.ends_with(b",")
        }
        _ => false,
    }
}
