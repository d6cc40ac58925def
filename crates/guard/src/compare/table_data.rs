//! The tables with their rows: which are gone, which are there under another name.

use std::collections::BTreeSet;

use super::bookkeeping;
use super::links::Links;
use super::matches::{Matches, in_name_order};
use super::moved::{Moved, Rows};
use super::recreation::Look;
use super::rows::{self, Compared, Renumbered};
use super::sides;
use super::trouble::{Trouble, unreadable};
use super::virtuals::Virtuals;
use crate::error::{Error, Result};
use crate::report::{About, Kind, Loss, Report};
use monolite_migrate::schema::{Table, TableKind};
use monolite_migrate::sql::{name_key, same_name};

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
        let mut all = Vec::new();
        for (was, now) in matches.pairs(self.look.before, self.look.after) {
            let compared = match self.pair(was, now) {
                Ok(compared) => compared,
                Err(error) => self.in_trouble(was, now, error, report)?,
            };
            matches.rename_columns(was, &compared.renamed);
            all.push((was, now, compared));
        }
        let grown = all.iter().filter(|(_, _, compared)| compared.came > 0);
        let grown: BTreeSet<String> = grown.map(|(_, now, _)| name_key(&now.name)).collect();
        // Those whose tree is still there first: that leaves less to try.
        gone.sort_by_key(|was| self.successor(was).is_none());
        let mut dropped = Vec::new();
        for was in gone {
            // Its virtual table speaks for it.
            if was.kind == TableKind::Shadow {
                continue;
            }
            match self.renamed(was, &matches) {
                Ok(Some((now, compared))) => {
                    matches.table(was, now);
                    matches.rename_columns(was, &compared.renamed);
                    let text = format!("{}: renamed to {}", was.name, now.name);
                    report.note(About::Name, text);
                    all.push((was, now, compared));
                }
                Ok(None) => dropped.push(was),
                Err(error) => dropped.push(self.not_compared(was, error, report)?),
            }
        }
        all.sort_by_key(|(was, _, _)| name_key(&was.name));
        follow(&mut all);
        let told = Told {
            look: self.look,
            moved: Moved {
                conn: self.look.conn,
                before: self.look.before,
                after: self.look.after,
                grown: &grown,
            },
            matches: &matches,
        };
        for (was, now, compared) in &all {
            told.table(was, now, compared, report).map_err(self.at())?;
        }
        for was in dropped {
            self.dropped(was, &told.moved, report)?;
        }
        Ok(matches)
    }

    /// A table that is gone, and cannot be looked for.
    fn not_compared<'w>(
        &self,
        was: &'w Table,
        error: rusqlite::Error,
        report: &mut Report,
    ) -> Result<&'w Table> {
        match Trouble::of(&error) {
            Trouble::Other => Err(self.at()(error)),
            Trouble::Damage => {
                report.losses.push(unreadable(&was.name, &error));
                Ok(was)
            }
            Trouble::Statement => Ok(was),
        }
    }

    /// A table that is there under no name.
    fn dropped(&self, was: &Table, moved: &Moved<'_>, report: &mut Report) -> Result<()> {
        let rows = match was.kind {
            TableKind::Virtual => self.virtuals().documents("before", was),
            _ => sides::count(self.look.conn, "before", was),
        };
        let rows = match rows {
            Ok(rows) => rows,
            // Reported already.
            Err(error) if matches!(Trouble::of(&error), Trouble::Damage) => return Ok(()),
            Err(error) => return Err(self.at()(error)),
        };
        if rows == 0 && was.kind == TableKind::Ordinary {
            let text = format!("{}: the table is gone, it was empty", was.name);
            report.note(About::Name, text);
            return Ok(());
        }
        if was.kind == TableKind::Ordinary
            && let Ok(Some(moved)) = moved.rows(was, None)
        {
            let text = format!("{}: the table is gone, with {rows} rows: {moved}", was.name);
            report.note(About::Data, text);
            return Ok(());
        }
        let loss = Loss::new(Kind::Table, Some(&was.name), None);
        report.losses.push(loss.counted(rows, rows));
        Ok(())
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
        // That the app's functions are missing says nothing about the data; that there are too many
        // columns for SQLite does not, either, but nobody could have looked.
        if error.to_string().contains("too many columns") {
            report.losses.push(unreadable(&was.name, &error));
            return Ok(Compared::default());
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
            let is_same = compared.is_unchanged() && compared.renamed.is_empty();
            if is_same || (proof.is_same_table() && compared.has_all_rows()) {
                return Ok(Some((now, compared)));
            }
        }
        Ok(None)
    }
}

/// Puts what became of tables into the report.
struct Told<'t> {
    look: &'t Look<'t>,
    moved: Moved<'t>,
    matches: &'t Matches,
}

impl Told<'_> {
    fn table(
        &self,
        was: &Table,
        now: &Table,
        compared: &Compared,
        report: &mut Report,
    ) -> rusqlite::Result<()> {
        let name = Some(was.name.as_str());
        for (from, to) in &compared.renamed {
            let text = format!("{}.{from}: renamed to {to}", was.name);
            report.note(About::Name, text);
        }
        if bookkeeping::is(was) {
            if compared.lost > compared.came {
                let text = format!(
                    "{}: {} of {} rows are gone; it is where applied migrations are kept",
                    was.name, compared.lost, compared.before
                );
                report.note(About::Data, text);
            }
            return Ok(());
        }
        self.rows(was, now, compared, report)?;
        if let Some(renumbered) = &compared.renumbered {
            self.renumbered(was, now, renumbered, report)?;
        }
        if compared.came > 0 {
            let text = format!(
                "{}: {} came, there are {} now",
                was.name,
                counted(compared.came),
                compared.after
            );
            report.note(About::Data, text);
        }
        for (column, values) in &compared.dropped {
            let loss = Loss::new(Kind::Column, name, Some(column));
            match (values, self.values_elsewhere(was, now, compared, column)?) {
                (0, _) => {
                    let text = format!(
                        "{}.{column}: the column is gone, it held nothing but its default",
                        was.name
                    );
                    report.note(About::Name, text);
                }
                (_, Some(moved)) => {
                    let text = format!("{}.{column}: the column is gone: {moved}", was.name);
                    report.note(About::Data, text);
                }
                (values, None) => report.losses.push(loss.counted(*values, compared.before)),
            }
        }
        for (column, lost) in &compared.values {
            let elsewhere = match lost.may_be_elsewhere {
                true => self.values_elsewhere(was, now, compared, column)?,
                false => None,
            };
            match elsewhere {
                Some(moved) => {
                    let text = format!(
                        "{}.{column}: {} of {} values are other ones: {moved}",
                        was.name, lost.count, lost.of
                    );
                    report.note(About::Data, text);
                }
                None => {
                    let loss = Loss::new(Kind::Values, name, Some(column));
                    let loss = loss.counted(lost.count, lost.of);
                    report.losses.push(loss.saying(&lost.what));
                }
            }
        }
        for (column, told) in &compared.told {
            report.note(About::Data, format!("{}.{column}: {told}", was.name));
        }
        Ok(())
    }

    fn rows(
        &self,
        was: &Table,
        now: &Table,
        compared: &Compared,
        report: &mut Report,
    ) -> rusqlite::Result<()> {
        let loss = Loss::new(Kind::Rows, Some(&was.name), None);
        if compared.lost > 0 {
            let is_ordinary = was.kind == TableKind::Ordinary;
            let moved = match is_ordinary && compared.lost <= compared.before {
                true => self.moved.rows(was, Some(now))?,
                false => None,
            };
            match moved {
                Some(moved) => {
                    let lost = counted(compared.lost);
                    let text = format!(
                        "{}: {lost} of {} are gone: {moved}",
                        was.name, compared.before
                    );
                    report.note(About::Data, text);
                }
                None => report
                    .losses
                    .push(loss.counted(compared.lost, compared.before)),
            }
        } else if compared.replaced > 0 {
            let loss = loss.counted(compared.replaced, compared.before);
            report
                .losses
                .push(loss.saying("under their keys there is something else now"));
        }
        Ok(())
    }

    fn values_elsewhere(
        &self,
        was: &Table,
        now: &Table,
        compared: &Compared,
        column: &str,
    ) -> rusqlite::Result<Option<String>> {
        let (Some(join), Some(column)) = (&compared.join, was.column(column)) else {
            return Ok(None);
        };
        self.moved.values(Rows { was, now, join }, column)
    }

    /// Rows that are the same under other keys. Whether what refers to them follows decides.
    fn renumbered(
        &self,
        was: &Table,
        now: &Table,
        renumbered: &Renumbered,
        report: &mut Report,
    ) -> rusqlite::Result<()> {
        let example = renumbered.pairs.first();
        let example = example
            .map(|(old, new)| format!(", for example {} is {} now", old.shown(), new.shown()));
        let text = format!(
            "{}: {} have other keys now{}",
            was.name,
            counted(renumbered.rows),
            example.unwrap_or_default()
        );
        report.note(About::Data, text);
        let links = Links {
            look: self.look,
            matches: self.matches,
        };
        for (child, column, rows) in links.left_behind(was, now, renumbered)? {
            let loss = Loss::new(Kind::Links, Some(&child), Some(&column)).counted(rows, rows);
            let text = format!(
                "rows of {} have other keys now, and it refers to the old ones",
                was.name
            );
            report.losses.push(loss.saying(text));
        }
        Ok(())
    }
}

/// Rows whose key refers to a table of which the rows have other keys now, and which have these as
/// well, are the rows they were.
fn follow(all: &mut [(&Table, &Table, Compared)]) {
    // Each round has the followers of those that followed in the one before.
    for _ in 0..all.len() {
        let followers = all.iter().enumerate().filter(|(_, (was, _, compared))| {
            let Some(reassigned) = &compared.reassigned else {
                return false;
            };
            let [own] = was.primary_key()[..] else {
                return false;
            };
            was.foreign_keys.iter().any(|key| {
                let is_own =
                    key.columns.len() == 1 && key.from().all(|from| same_name(from, &own.name));
                let mut parents = all.iter();
                let parent = parents.find(|(parent, _, _)| same_name(&parent.name, &key.parent));
                is_own
                    && parent.is_some_and(|(parent, _, compared)| {
                        let primary = parent.primary_key();
                        let is_primary =
                            |to: &&str| primary.iter().any(|of| same_name(&of.name, to));
                        key.to().iter().all(is_primary)
                            && (compared.renumbered.as_ref())
                                .is_some_and(|parent| reassigned.follows(parent))
                    })
            })
        });
        let followers: Vec<usize> = followers.map(|(at, _)| at).collect();
        if followers.is_empty() {
            return;
        }
        for at in followers {
            all[at].2.has_followed();
        }
    }
}

/// `1 row`, `2 rows`.
fn counted(rows: u64) -> String {
    match rows {
        1 => "1 row".into(),
        rows => format!("{rows} rows"),
    }
}
