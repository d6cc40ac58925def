//! Full-text tables and other virtual ones, as far as they can be compared.

use rusqlite::{Connection, Result};

use super::key::Key;
use super::recreation::Proof;
use super::rows::Compared;
use super::scan::{Layout, Scan};
use super::sides::{self, Sides};
use super::values;
use crate::tree::Touched;
use monolite_migrate::schema::{Schema, Table, TableKind};
use monolite_migrate::sql::name_key;

pub(super) struct Virtuals<'v> {
    pub(super) conn: &'v Connection,
    pub(super) before: &'v Schema,
    pub(super) after: &'v Schema,
    pub(super) touched: &'v Touched,
}

impl<'v> Virtuals<'v> {
    pub(super) fn compare(&self, was: &Table, now: &Table) -> Result<Compared> {
        if self.is_untouched(was, now) {
            return Ok(Compared::default());
        }
        let mut compared = Compared {
            before: self.documents("before", was)?,
            after: self.documents("main", now)?,
            ..Compared::default()
        };
        compared.lost = compared.before.saturating_sub(compared.after);
        // What a full-text table shows may be another table's.
        let content =
            |facts: &'v Schema, table: &Table| facts.table(&format!("{}_content", table.name));
        let (own, own_now) = (content(self.before, was), content(self.after, now));
        let sizes = sizes(self.before, was).zip(sizes(self.after, now));
        // Created again, its own rows may have other rowids.
        let numbers_stay = own.map(|own| own.root_page) == own_now.map(|own| own.root_page);
        if let Some((had, has)) = sizes.filter(|_| numbers_stay)
            && let Some(key) = Key::of(had, has, &[], &[])
        {
            let sides = Sides {
                conn: self.conn,
                before: had,
                after: has,
                proof: Proof::Nothing,
            };
            let scan = Scan::run(sides, &key, &Layout::default())?;
            (compared.lost, compared.came) = (scan.lost, scan.came);
        }
        let is_own = sizes.is_none() || own.is_some();
        for column in &was.columns {
            if now.column(&column.name).is_none() {
                let values = match is_own {
                    true => values::of(self.conn, "before", was, &column.name)?,
                    false => 0,
                };
                compared.dropped.push((column.name.clone(), values));
            }
        }
        Ok(compared)
    }

    /// Nothing of what it keeps its content in changed.
    fn is_untouched(&self, was: &Table, now: &Table) -> bool {
        let shadows = shadows(self.before, was);
        let mut same = shadows.iter().filter_map(|had| {
            let has = self.after.table(&had.name)?;
            (has.root_page == had.root_page && !self.touched.has(had.root_page)).then_some(())
        });
        was.sql == now.sql && !shadows.is_empty() && same.by_ref().count() == shadows.len()
    }

    /// How many rows it has. A full-text table that indexes another one shows
    /// the rows of that, so its own count of them is asked.
    pub(super) fn documents(&self, schema: &str, table: &Table) -> Result<u64> {
        let facts = match schema {
            "main" => self.after,
            _ => self.before,
        };
        match sizes(facts, table) {
            Some(sizes) => sides::count(self.conn, schema, sizes),
            None => sides::count(self.conn, schema, table),
        }
    }
}

fn shadows<'f>(facts: &'f Schema, table: &Table) -> Vec<&'f Table> {
    let of = format!("{}_", name_key(&table.name));
    let is_of = |one: &&Table| name_key(&one.name).starts_with(&of);
    let all = facts.tables.iter();
    all.filter(|one| one.kind == TableKind::Shadow)
        .filter(is_of)
        .collect()
}

/// Where a full-text table keeps how long each row's text is.
fn sizes<'f>(facts: &'f Schema, table: &Table) -> Option<&'f Table> {
    let sizes = facts.table(&format!("{}_docsize", table.name))?;
    (sizes.kind == TableKind::Shadow).then_some(sizes)
}
