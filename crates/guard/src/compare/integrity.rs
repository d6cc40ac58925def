//! SQLite's own search for damage.

use rusqlite::Connection;

use super::trouble::{Trouble, unreadable};
use crate::error::{Error, Result};
use crate::progress::DatabaseProgress;
use crate::report::{About, Kind, Loss, Report};
use crate::tree::Touched;
use monolite_migrate::schema::{Schema, Table, TableKind};
use monolite_migrate::sql::quote_name;

/// Findings of one database that are reported.
const FINDINGS_MAX: usize = 10;

pub(super) struct Check<'c> {
    pub(super) conn: &'c Connection,
    pub(super) after: &'c Schema,
    pub(super) touched: &'c Touched,
    pub(super) report: &'c mut Report,
}

impl Check<'_> {
    /// Looks at the tables that changed.
    pub(super) fn changed(&mut self) -> Result<()> {
        match self.touched {
            // Everything at once is less to read than each on its own.
            Touched::Any => self.all("quick_check"),
            Touched::Roots(_) => self.each("quick_check"),
        }
    }

    /// Looks at everything.
    pub(super) fn whole(&mut self, progress: &DatabaseProgress<'_>) -> Result<()> {
        progress.step("checking", None);
        match self
            .after
            .indexes
            .iter()
            .any(|index| index.has_app_collation)
        {
            // Their order is not known here, and would be taken for damage.
            true => self.each("integrity_check"),
            false => self.all("integrity_check"),
        }
    }

    fn all(&mut self, check: &str) -> Result<()> {
        let Err(error) = self.look(check, None) else {
            return Ok(());
        };
        let is_damage = match trouble(&error) {
            Trouble::Statement => false,
            Trouble::Damage => true,
            Trouble::Other => return Err(error),
        };
        self.each(check)?;
        let mut losses = self.report.losses.iter();
        match !is_damage || losses.any(|loss| loss.kind == Kind::Damage) {
            true => Ok(()),
            // It is in no table.
            false => Err(error),
        }
    }

    fn each(&mut self, check: &str) -> Result<()> {
        let after = self.after;
        for table in super::matches::in_name_order(after) {
            let concerned = check == "integrity_check" || self.touched.has(table.root_page);
            if concerned && table.kind != TableKind::Virtual && !self.is_unreadable(table) {
                self.one(check, table)?;
            }
        }
        Ok(())
    }

    fn is_unreadable(&self, table: &Table) -> bool {
        let losses = self.report.losses.iter();
        let mut unreadable = losses.filter(|loss| loss.kind == Kind::Damage);
        unreadable.any(|loss| loss.table.as_deref() == Some(&table.name))
    }

    fn one(&mut self, check: &str, table: &Table) -> Result<()> {
        let name = &table.name;
        let mut indexes = self.after.indexes_of(name);
        let check = match indexes.any(|index| index.has_app_collation) {
            true if check == "integrity_check" => {
                let text = "its indexes were not checked: one is sorted as only the app can";
                self.report.note(About::Unseen, format!("{name}: {text}"));
                "quick_check"
            }
            _ => check,
        };
        let Err(error) = self.look(check, Some(name)) else {
            return Ok(());
        };
        if !is_statement(&error) {
            return Err(error);
        }
        // Some CHECK calls what only the app has.
        let conn = self.conn;
        let checks = |ignored: bool| {
            let set = conn.pragma_update(None, "ignore_check_constraints", ignored);
            set.map_err(|error| Error::sqlite("check", conn, error))
        };
        checks(true)?;
        let looked = self.look(check, Some(name));
        checks(false)?;
        let text = match looked {
            Ok(()) => format!("{name}: its CHECKs were not tried: {}", said(&error)),
            Err(error) if is_statement(&error) => {
                format!("{name}: it was not searched for damage: {}", said(&error))
            }
            Err(error) => return Err(error),
        };
        self.report.note(About::Unseen, text);
        Ok(())
    }

    fn look(&mut self, check: &str, table: Option<&str>) -> Result<()> {
        let now = match findings(self.conn, "main", check, table) {
            Ok(now) => now,
            Err(error) => match (Trouble::of(&error), table) {
                (Trouble::Damage, Some(table)) => {
                    self.report.losses.push(unreadable(table, &error));
                    return Ok(());
                }
                _ => return Err(Error::sqlite("check", self.conn, error)),
            },
        };
        if now.is_empty() {
            return Ok(());
        }
        // It was there before, so the migration is not to blame.
        let had = findings(self.conn, "before", check, table).unwrap_or_default();
        let (old, new): (Vec<_>, Vec<_>) = now.into_iter().partition(|one| had.contains(one));
        let of = table.map(|table| format!("{table}: ")).unwrap_or_default();
        for one in old.iter().take(FINDINGS_MAX) {
            let text = format!("{of}damaged before the migration already: {one}");
            self.report.note(About::OlderDamage, text);
        }
        for one in new.into_iter().take(FINDINGS_MAX) {
            let loss = Loss::new(Kind::Damage, table, None).saying(format!("damaged: {one}"));
            self.report.losses.push(loss);
        }
        Ok(())
    }
}

fn trouble(error: &Error) -> Trouble {
    match error {
        Error::Sqlite { source, .. } => Trouble::of(source),
        _ => Trouble::Other,
    }
}

/// SQLite's own words.
fn said(error: &Error) -> String {
    match error {
        Error::Sqlite { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}

fn is_statement(error: &Error) -> bool {
    matches!(trouble(error), Trouble::Statement)
}

fn findings(
    conn: &Connection,
    schema: &str,
    check: &str,
    table: Option<&str>,
) -> rusqlite::Result<Vec<String>> {
    let of = match table {
        Some(table) => quote_name(table),
        None => "100".into(),
    };
    let mut statement = conn.prepare(&format!("PRAGMA {schema}.{check}({of})"))?;
    let mut rows = statement.query([])?;
    let mut findings = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        // Which of the two it is, is known.
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("*** in database"));
        findings.extend(lines.map(str::to_owned));
    }
    findings.retain(|one| one != "ok");
    Ok(findings)
}
