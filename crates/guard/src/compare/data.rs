//! The tables and their rows.

use rusqlite::Connection;

use super::super::error::{Error, Result};
use super::super::report::{About, Kind, Loss, Report};
use super::super::tree::Touched;
use super::bookkeeping;
use super::rows::{self, Compared};
use super::tables::Matches;
use super::virtuals::Virtuals;
use super::{Trouble, unreadable};
use monolite_migrate::schema::{Schema, Table, TableKind};
use monolite_migrate::sql::name_key;

/// New tables that a lost one is compared with, to see whether it was renamed.
const RENAMES_TRIED: usize = 8;

pub(super) struct Look<'l> {
    pub(super) conn: &'l Connection,
    pub(super) before: &'l Schema,
    pub(super) after: &'l Schema,
    pub(super) touched: &'l Touched,
}

impl Look<'_> {
    /// Compares all tables, and says which is which.
    pub(super) fn compare(&self, report: &mut Report) -> Result<Matches> {
        let mut matches = Matches::default();
        let mut gone = Vec::new();
        for was in in_name_order(self.before) {
            match self.after.table(&was.name) {
                Some(now) => matches.table(was, now),
                None => gone.push(was),
            }
        }
        for (was, now) in matches.pairs(self.before, self.after) {
            let compared = match self.pair(was, now) {
                Ok(compared) => compared,
                Err(error) => self.in_trouble(was, now, error, report)?,
            };
            matches.rename_columns(was, &compared.renamed);
            tell_of(was, &compared, report);
        }
        // Those whose tree is still there first: that leaves less to try.
        gone.sort_by_key(|was| self.successor(was).is_none());
        for was in gone {
            if let Err(error) = self.gone(was, &mut matches, report) {
                let loss = match Trouble::of(&error) {
                    Trouble::Other => return Err(self.at()(error)),
                    Trouble::Damage => unreadable(&was.name, &error),
                    Trouble::Statement => {
                        let rows = rows::count(self.conn, "before", was).map_err(self.at())?;
                        Loss::new(Kind::Table, Some(&was.name), None).counted(rows, rows)
                    }
                };
                report.losses.push(loss);
            }
        }
        Ok(matches)
    }

    fn at(&self) -> impl Fn(rusqlite::Error) -> Error {
        |error| Error::sqlite("compare the rows of", self.conn, error)
    }

    /// What is told of a table that cannot be compared. The others are compared
    /// all the same.
    fn in_trouble(
        &self,
        was: &Table,
        now: &Table,
        error: rusqlite::Error,
        report: &mut Report,
    ) -> Result<Compared> {
        match Trouble::of(&error) {
            Trouble::Other => return Err(self.at()(error)),
            Trouble::Damage => {
                report.losses.push(unreadable(&was.name, &error));
                return Ok(Compared::default());
            }
            // A function of the app's, say, in a column that is computed now.
            Trouble::Statement => {}
        }
        let text = format!(
            "{}: only the number of its rows could be compared: {error}",
            was.name
        );
        report.note(About::Unseen, text);
        let count = |schema, table| rows::count(self.conn, schema, table).map_err(self.at());
        let (before, after) = (count("before", was)?, count("main", now)?);
        Ok(Compared {
            before,
            after,
            lost: before.saturating_sub(after),
            ..Compared::default()
        })
    }

    fn pair(&self, was: &Table, now: &Table) -> rusqlite::Result<Compared> {
        if self.is_same_tree(was, now)
            && let Some(compared) = rows::unchanged(was, now)
        {
            return Ok(compared);
        }
        match (was.kind, now.kind) {
            (TableKind::Ordinary, TableKind::Ordinary) => {
                rows::compare(self.conn, was, now, self.proof(was, now))
            }
            // Its own content is arranged anew whenever it likes.
            (TableKind::Shadow, _) => Ok(Compared::default()),
            (TableKind::Virtual, TableKind::Virtual) => self.virtuals().compare(was, now),
            _ => {
                let before = rows::count(self.conn, "before", was)?;
                let after = rows::count(self.conn, "main", now)?;
                Ok(Compared {
                    before,
                    after,
                    lost: before.saturating_sub(after),
                    ..Compared::default()
                })
            }
        }
    }

    fn virtuals(&self) -> Virtuals<'_> {
        Virtuals {
            conn: self.conn,
            before: self.before,
            after: self.after,
            touched: self.touched,
        }
    }

    fn is_same_tree(&self, was: &Table, now: &Table) -> bool {
        was.root_page != 0
            && was.root_page == now.root_page
            && was.without_rowid == now.without_rowid
            && !self.touched.has(was.root_page)
    }

    /// A new table with the very tree that this one had.
    fn successor(&self, was: &Table) -> Option<&Table> {
        let mut new = self.after.tables.iter();
        new.find(|now| self.before.table(&now.name).is_none() && self.is_same_tree(was, now))
    }

    fn gone(
        &self,
        was: &Table,
        matches: &mut Matches,
        report: &mut Report,
    ) -> rusqlite::Result<()> {
        // Its virtual table speaks for it.
        if was.kind == TableKind::Shadow {
            return Ok(());
        }
        if let Some((now, compared)) = self.renamed(was, matches)? {
            matches.table(was, now);
            matches.rename_columns(was, &compared.renamed);
            report.note(
                About::Name,
                format!("{}: renamed to {}", was.name, now.name),
            );
            tell_of(was, &compared, report);
            return Ok(());
        }
        let rows = match was.kind {
            TableKind::Virtual => self.virtuals().documents("before", was)?,
            _ => rows::count(self.conn, "before", was)?,
        };
        match rows {
            0 if was.kind == TableKind::Ordinary => {
                let text = format!("{}: the table is gone, it was empty", was.name);
                report.note(About::Name, text);
            }
            _ => {
                let loss = Loss::new(Kind::Table, Some(&was.name), None);
                report.losses.push(loss.counted(rows, rows));
            }
        }
        Ok(())
    }

    fn renamed(
        &self,
        was: &Table,
        matches: &Matches,
    ) -> rusqlite::Result<Option<(&Table, Compared)>> {
        if let Some(now) = self
            .successor(was)
            .filter(|now| !matches.is_taken(&now.name))
            && let Some(compared) = rows::unchanged(was, now)
        {
            return Ok(Some((now, compared)));
        }
        if was.kind != TableKind::Ordinary {
            return Ok(None);
        }
        let new = self.after.tables.iter().filter(|now| {
            now.kind == TableKind::Ordinary
                && self.before.table(&now.name).is_none()
                && !matches.is_taken(&now.name)
        });
        let alike = |now: &Table| {
            was.columns
                .iter()
                .filter(|c| now.column(&c.name).is_some())
                .count()
        };
        let mut candidates: Vec<&Table> = new.filter(|now| alike(now) > 0).collect();
        candidates.sort_by_key(|now| std::cmp::Reverse(alike(now)));
        let rows = rows::count(self.conn, "before", was)?;
        for now in candidates.into_iter().take(RENAMES_TRIED) {
            // An empty table is like any other one; nothing of it is lost.
            if rows == 0 || rows::count(self.conn, "main", now)? < rows {
                continue;
            }
            let proof = self.proof(was, now);
            let compared = rows::compare(self.conn, was, now, proof)?;
            // Another table may well have the same numbers for keys; one that was never dropped is
            // that one, with what was done to it.
            let is_same = compared.is_whole() && compared.changed == 0;
            if is_same || (proof.is_same_table() && compared.has_all_rows()) {
                return Ok(Some((now, compared)));
            }
        }
        Ok(None)
    }
}

/// The tables, as reports list them.
pub(super) fn in_name_order(schema: &Schema) -> Vec<&Table> {
    let mut tables: Vec<&Table> = schema.tables.iter().collect();
    tables.sort_by_key(|table| name_key(&table.name));
    tables
}

/// Puts what became of one table into the report.
fn tell_of(was: &Table, compared: &Compared, report: &mut Report) {
    let name = Some(was.name.as_str());
    for (from, to) in &compared.renamed {
        let text = format!("{}.{from}: renamed to {to}", was.name);
        report.note(About::Name, text);
    }
    if compared.lost > 0 {
        match bookkeeping::is(was) && compared.after > 0 {
            true => {
                let text = format!(
                    "{}: {} of {} rows are gone; it is where applied migrations are kept",
                    was.name, compared.lost, compared.before
                );
                report.note(About::Data, text);
            }
            false => {
                let loss = Loss::new(Kind::Rows, name, None);
                report
                    .losses
                    .push(loss.counted(compared.lost, compared.before));
            }
        }
    }
    for (column, values) in &compared.dropped {
        match values {
            0 => {
                let text = format!(
                    "{}.{column}: the column is gone, it held nothing but its default",
                    was.name
                );
                report.note(About::Name, text);
            }
            _ => {
                let loss = Loss::new(Kind::Column, name, Some(column));
                report.losses.push(loss.counted(*values, compared.before));
            }
        }
    }
    for emptied in &compared.emptied {
        let loss = Loss::new(Kind::Values, name, Some(&emptied.column));
        let loss = loss.counted(emptied.count, emptied.of);
        report.losses.push(loss.saying(&emptied.now));
    }
    if compared.changed > 0 {
        let text = format!(
            "{}: {} of {} rows have other values now",
            was.name, compared.changed, compared.before
        );
        report.note(About::Data, text);
    }
}
