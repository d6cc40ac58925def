//! The tables and their rows.

use rusqlite::Connection;

use super::super::error::{Error, Result};
use super::super::facts::{Facts, Table, TableKind};
use super::super::report::{Kind, Loss, Report};
use super::super::tree::Touched;
use super::rows::{self, Compared};
use super::tables::Matches;

/// New tables that a lost one is compared with, to see whether it was renamed.
const RENAMES_TRIED: usize = 8;

/// Where tools keep which migrations were applied. Their rows come and go with
/// the migrations themselves, so that only the loss of all of them is one.
const BOOKKEEPING: &[&str] = &[
    "schema_migrations",
    "ar_internal_metadata",
    "django_migrations",
    "migrations",
    "alembic_version",
    "knex_migrations",
    "knex_migrations_lock",
    "sequelizemeta",
    "_prisma_migrations",
    "__drizzle_migrations",
    "mikro_orm_migrations",
    "typeorm_migrations",
    "migrations_lock",
    "phinxlog",
    "doctrine_migration_versions",
    "flyway_schema_history",
    "goose_db_version",
    "gorp_migrations",
    "_sqlx_migrations",
    "refinery_schema_history",
    "__diesel_schema_migrations",
    "seaql_migrations",
    "__efmigrationshistory",
    "_monolite_migration",
];

pub(super) struct Look<'l> {
    pub(super) conn: &'l Connection,
    pub(super) before: &'l Facts,
    pub(super) after: &'l Facts,
    pub(super) touched: &'l Touched,
}

impl Look<'_> {
    /// Compares all tables, and says which is which.
    pub(super) fn compare(&self, report: &mut Report) -> Result<Matches> {
        let mut matches = Matches::default();
        let mut gone = Vec::new();
        for was in self.before.tables.values() {
            match self.after.table(&was.name) {
                Some(now) => matches.table(was, now),
                None => gone.push(was),
            }
        }
        for (was, now) in matches.pairs(self.before, self.after) {
            let compared = self.pair(was, now)?;
            matches.rename_columns(was, &compared.renamed);
            tell_of(was, &compared, report);
        }
        // Those whose tree is still there first: that leaves less to try.
        gone.sort_by_key(|was| self.successor(was).is_none());
        for was in gone {
            self.gone(was, &mut matches, report)?;
        }
        Ok(matches)
    }

    fn at(&self) -> impl Fn(rusqlite::Error) -> Error {
        |error| Error::sqlite("compare the rows of", self.conn, error)
    }

    fn pair(&self, was: &Table, now: &Table) -> Result<Compared> {
        if self.is_same_tree(was, now)
            && let Some(compared) = rows::unchanged(was, now)
        {
            return Ok(compared);
        }
        match (was.kind, now.kind) {
            (TableKind::Ordinary, TableKind::Ordinary) => {
                rows::compare(self.conn, was, now).map_err(self.at())
            }
            // Its own content is arranged anew whenever it likes.
            (TableKind::Shadow, _) => Ok(Compared::default()),
            _ => {
                let before = rows::count(self.conn, "before", was).map_err(self.at())?;
                let after = rows::count(self.conn, "main", now).map_err(self.at())?;
                Ok(Compared {
                    before,
                    after,
                    lost: before.saturating_sub(after),
                    ..Compared::default()
                })
            }
        }
    }

    fn is_same_tree(&self, was: &Table, now: &Table) -> bool {
        was.root != 0
            && was.root == now.root
            && was.without_rowid == now.without_rowid
            && !self.touched.has(was.root)
    }

    /// A new table with the very tree that this one had.
    fn successor(&self, was: &Table) -> Option<&Table> {
        let mut new = self.after.tables.values();
        new.find(|now| self.before.table(&now.name).is_none() && self.is_same_tree(was, now))
    }

    fn gone(&self, was: &Table, matches: &mut Matches, report: &mut Report) -> Result<()> {
        // Its virtual table speaks for it.
        if was.kind == TableKind::Shadow {
            return Ok(());
        }
        if let Some((now, compared)) = self.renamed(was, matches)? {
            matches.table(was, now);
            matches.rename_columns(was, &compared.renamed);
            report
                .notes
                .push(format!("{}: renamed to {}", was.name, now.name));
            tell_of(was, &compared, report);
            return Ok(());
        }
        let rows = rows::count(self.conn, "before", was).map_err(self.at())?;
        match rows {
            0 if was.kind == TableKind::Ordinary => {
                report
                    .notes
                    .push(format!("{}: the table is gone, it was empty", was.name));
            }
            _ => {
                let loss = Loss::new(Kind::Table, Some(&was.name), None);
                report.losses.push(loss.counted(rows, rows));
            }
        }
        Ok(())
    }

    fn renamed(&self, was: &Table, matches: &Matches) -> Result<Option<(&Table, Compared)>> {
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
        let new = self.after.tables.values().filter(|now| {
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
        let rows = rows::count(self.conn, "before", was).map_err(self.at())?;
        for now in candidates.into_iter().take(RENAMES_TRIED) {
            // An empty table is like any other one; nothing of it is lost.
            if rows == 0 || rows::count(self.conn, "main", now).map_err(self.at())? < rows {
                continue;
            }
            let compared = rows::compare(self.conn, was, now).map_err(self.at())?;
            // Another table may well have the same numbers for keys; one in the
            // very place of the lost one is that one, with what was done to it.
            let is_same = compared.is_whole() && compared.changed == 0;
            let in_place = now.root == was.root && compared.has_all_rows();
            if is_same || in_place {
                return Ok(Some((now, compared)));
            }
        }
        Ok(None)
    }
}

/// Puts what became of one table into the report.
fn tell_of(was: &Table, compared: &Compared, report: &mut Report) {
    let name = Some(was.name.as_str());
    for (from, to) in &compared.renamed {
        report
            .notes
            .push(format!("{}.{from}: renamed to {to}", was.name));
    }
    let bookkeeping = BOOKKEEPING.contains(&was.name.to_ascii_lowercase().as_str());
    if compared.lost > 0 {
        match bookkeeping && compared.after > 0 {
            true => report.notes.push(format!(
                "{}: {} of {} rows are gone; it is where applied migrations are kept",
                was.name, compared.lost, compared.before
            )),
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
            0 => report.notes.push(format!(
                "{}.{column}: the column is gone, it held nothing but its default",
                was.name
            )),
            _ => {
                let loss = Loss::new(Kind::Column, name, Some(column));
                report.losses.push(loss.counted(*values, compared.before));
            }
        }
    }
    for (column, nulls, of) in &compared.nulls {
        let loss = Loss::new(Kind::Values, name, Some(column));
        report.losses.push(loss.counted(*nulls, *of));
    }
    if compared.changed > 0 {
        report.notes.push(format!(
            "{}: {} of {} rows have other values now",
            was.name, compared.changed, compared.before
        ));
    }
}
