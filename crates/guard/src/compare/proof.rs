//! Whether a table is provably the one it was, and was not dropped and made
//! again.
//!
//! The last table of a schema that is made again gets its number in the schema
//! back, and its root page with it: both say nothing by themselves. SQLite
//! gives a new object the number after the largest one, and counts whatever
//! statement changes the schema.

use super::super::facts::{Entry, Facts, Table, TableKind, key};
use super::data::Look;
use monolite_migrate::sql::quote_name;

/// What is known for sure of a table that has the place of one from before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing: it has not even the place.
    None,
    /// That it has the place. It may be another one.
    Place,
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
        let same_place = was.root != 0 && was.root == now.root && was.number == now.number;
        if !same_place {
            Proof::None
        } else if self.changes_besides(now).is_some_and(|changes| changes < 2) {
            // It takes two to drop something and make it again.
            Proof::Columns
        } else if self.is_untouched(now) || self.stands_before_another(was) {
            Proof::Table
        } else {
            Proof::Place
        }
    }

    /// Whether that is this very table, with nothing done to its definition but
    /// that columns were added. What hung on it and does not any more was
    /// dropped by its name, and did not go as it was made anew.
    pub(super) fn stayed_in_place(&self, was: &Table, now: &Table) -> bool {
        was.only_gained_columns(now) && self.proof(was, now).is_same_table()
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
        let virtuals = |facts: &Facts| -> Vec<String> {
            let all = facts.tables.iter();
            let all = all.filter(|(_, table)| table.kind == TableKind::Virtual);
            all.map(|(name, _)| name.clone()).collect()
        };
        if virtuals(self.before) != virtuals(self.after) {
            return Some(all);
        }
        let is_others = |entry: &&Entry| {
            let table = self.after.table(&entry.table);
            entry.is_made
                && table.is_some_and(|of| {
                    of.kind == TableKind::Ordinary
                        && (entry.kind == "index"
                            || (entry.kind == "table" && key(&of.name) != key(&now.name)))
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
        !self.touched.has(now.root) && has_rows().unwrap_or(false)
    }

    /// Whether a table that was made after it is still there: made again, this
    /// one would have got a larger number, and VACUUM, which numbers all anew,
    /// keeps the order of tables. One that may itself have been made again tells
    /// nothing.
    fn stands_before_another(&self, was: &Table) -> bool {
        let is_there = |entry: &Entry| {
            let mut entries = self.after.entries.iter();
            entries.any(|now| {
                now.is_named_as(entry) && now.number == entry.number && now.root == entry.root
            })
        };
        let mut later = self.before.entries.iter().filter(|entry| {
            entry.kind == "table"
                && entry.number > was.number
                && entry.root != 0
                && !self.touched.has(entry.root)
                // SQLite's own it makes when it likes.
                && !key(&entry.name).starts_with("sqlite_")
        });
        later.any(is_there)
    }
}
