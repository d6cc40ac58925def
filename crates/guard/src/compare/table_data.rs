//! The tables with their rows: which are gone, which are there under another name.

use super::bookkeeping;
use super::matches::{Matches, in_name_order};
use super::recreation::Look;
use super::rows::{self, Compared};
use super::sides;
use super::trouble::{Trouble, unreadable};
use super::virtuals::Virtuals;
use crate::error::{Error, Result};
use crate::report::{About, Kind, Loss, Report};
use monolite_migrate::schema::{Table, TableKind};

/// New tables that a missing one is compared with, to see whether it was renamed.
const RENAMES_TRIED_MAX: usize = 8;

/// Compares all tables, and answers with which is which.
pub(super) fn compare(look: &Look<'_>, report: &mut Report) -> Result<Matches> {
    Tables { look }.compare(report)
}

struct Tables<'t> {
    look: &'t Look<'t>,
}

impl<'t> Tables<'t> {
    fn compare(&self, report: &mut Report) -> Result<Matches> {
        let mut matches = Matches::default();
        let mut gone = Vec::new();
        for was in in_name_order(self.look.before) {
            match self.look.after.table(&was.name) {
                Some(now) => matches.table(was, now),
                None => gone.push(was),
            }
        }
        for (was, now) in matches.pairs(self.look.before, self.look.after) {
            let compared = match self.pair(was, now) {
                Ok(compared) => compared,
                Err(error) => self.in_trouble(was, now, error, report)?,
            };
            matches.rename_columns(was, &compared.renamed);
            report_table(was, &compared, report);
        }
        // Those whose tree is still there first: that leaves less to try.
        gone.sort_by_key(|was| self.successor(was).is_none());
        for was in gone {
            if let Err(error) = self.gone(was, &mut matches, report) {
                let loss = match Trouble::of(&error) {
                    Trouble::Other => return Err(self.at()(error)),
                    Trouble::Damage => unreadable(&was.name, &error),
                    Trouble::Statement => {
                        let rows =
                            sides::count(self.look.conn, "before", was).map_err(self.at())?;
                        Loss::new(Kind::Table, Some(&was.name), None).counted(rows, rows)
                    }
                };
                report.losses.push(loss);
            }
        }
        Ok(matches)
    }

    fn at(&self) -> impl Fn(rusqlite::Error) -> Error {
        |error| Error::sqlite("compare the rows of", self.look.conn, error)
    }

    /// What is reported of a table that cannot be compared. Other tables are compared all the
    /// same.
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
        let count = |schema, table| sides::count(self.look.conn, schema, table).map_err(self.at());
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
                rows::compare(self.look.conn, was, now, self.look.proof(was, now))
            }
            // Its module arranges its content as it likes.
            (TableKind::Shadow, _) => Ok(Compared::default()),
            (TableKind::Virtual, TableKind::Virtual) => self.virtuals().compare(was, now),
            _ => {
                let before = sides::count(self.look.conn, "before", was)?;
                let after = sides::count(self.look.conn, "main", now)?;
                Ok(Compared {
                    before,
                    after,
                    lost: before.saturating_sub(after),
                    ..Compared::default()
                })
            }
        }
    }

    fn virtuals(&self) -> Virtuals<'t> {
        Virtuals {
            conn: self.look.conn,
            before: self.look.before,
            after: self.look.after,
            touched: self.look.touched,
        }
    }

    fn is_same_tree(&self, was: &Table, now: &Table) -> bool {
        was.root_page != 0
            && was.root_page == now.root_page
            && was.without_rowid == now.without_rowid
            && !self.look.touched.has(was.root_page)
    }

    /// A new table with the very tree that this one had.
    fn successor(&self, was: &Table) -> Option<&'t Table> {
        let mut new = self.look.after.tables.iter();
        new.find(|now| self.look.before.table(&now.name).is_none() && self.is_same_tree(was, now))
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
            report_table(was, &compared, report);
            return Ok(());
        }
        let rows = match was.kind {
            TableKind::Virtual => self.virtuals().documents("before", was)?,
            _ => sides::count(self.look.conn, "before", was)?,
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
    ) -> rusqlite::Result<Option<(&'t Table, Compared)>> {
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
        let new = self.look.after.tables.iter().filter(|now| {
            now.kind == TableKind::Ordinary
                && self.look.before.table(&now.name).is_none()
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
        let rows = sides::count(self.look.conn, "before", was)?;
        for now in candidates.into_iter().take(RENAMES_TRIED_MAX) {
            // An empty table is like any other one; nothing of it is lost.
            if rows == 0 || sides::count(self.look.conn, "main", now)? < rows {
                continue;
            }
            let proof = self.look.proof(was, now);
            let compared = rows::compare(self.look.conn, was, now, proof)?;
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

/// Puts what became of one table into the report.
fn report_table(was: &Table, compared: &Compared, report: &mut Report) {
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
