//! What people read of a guarded migration: the only place with the words.

use std::path::{Path, PathBuf};

use crate::error::quoted;
use crate::migration::Migrated;
use crate::progress::Progress;
use crate::report::{About, Kind, Loss, Report};
use crate::rollback::Rollback;
use crate::verdict::Verdict;

/// Notes of one database that are shown.
const NOTES_MAX: usize = 10;
/// Losses of one database that are shown.
const LOSSES_MAX: usize = 20;

/// A line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Somebody should do something about it, or at least know it.
    pub is_warning: bool,
    /// The line, without a full stop at its end.
    pub text: String,
}

/// An event that has a line of its own.
#[must_use]
pub fn progress(progress: &Progress) -> Option<Message> {
    let (is_warning, text) = match progress {
        Progress::Waiting { holder } => (
            false,
            format!("waiting for {holder}, which migrates this volume"),
        ),
        Progress::Warning(text) => (true, text.clone()),
        _ => return None,
    };
    Some(Message { is_warning, text })
}

/// What became of a migration that was interrupted.
#[must_use]
pub fn recovered(rollback: &Rollback) -> Vec<String> {
    let done = match (rollback.is_left, rollback.databases.as_slice()) {
        (true, _) => "the databases stay as they are".into(),
        (false, []) => "the databases are as they were before it".into(),
        (false, databases) => format!("put back as it was before: {}", databases.join(", ")),
    };
    let command = rollback.command.escape_debug();
    let mut lines = vec![format!("a migration (`{command}`) was interrupted; {done}")];
    lines.extend(kept(rollback));
    lines
}

/// What became of a migration that was not accepted.
#[must_use]
pub fn refused(verdict: &Verdict) -> Vec<String> {
    let mut lines = Vec::new();
    let would_have = match verdict {
        Verdict::RolledBack { .. } => "would have lost",
        _ => "has lost",
    };
    for report in verdict.reports() {
        lines.extend(database(report, would_have));
    }
    if verdict.can_be_allowed() {
        lines.extend(allowances(verdict.reports()));
    }
    match verdict {
        Verdict::RolledBack { rollback, .. } => {
            lines.push(match rollback.databases.as_slice() {
                [] => "monolite: the databases are as they were".into(),
                databases => format!("monolite: put back as it was: {}", databases.join(", ")),
            });
            lines.extend(kept(rollback).iter().map(|line| format!("monolite: {line}")));
        }
        Verdict::Left { snapshots, .. } => lines.push(format!(
            "monolite: nothing was put back, since others were at work; the states from before are in {} until you remove them",
            snapshots.display()
        )),
        Verdict::Unchanged => lines.push("monolite: it had changed nothing in the databases".into()),
        Verdict::Accepted { .. } => {}
    }
    lines
}

/// What a migration that was accepted has lost, as was allowed, and what it did besides.
#[must_use]
pub fn accepted(verdict: &Verdict) -> Vec<Message> {
    let mut messages = Vec::new();
    for report in verdict.reports() {
        let database = &report.database;
        for loss in &report.losses {
            let row = row(loss);
            let row: Vec<String> = row.into_iter().filter(|part| !part.is_empty()).collect();
            messages.push(Message {
                is_warning: true,
                text: format!("{database}: lost, as was allowed: {}", row.join(", ")),
            });
        }
        for note in report.notes.iter().take(NOTES_MAX) {
            messages.push(Message {
                is_warning: !matches!(note.about, About::Data | About::Name),
                text: format!("{database}: {}", plain(&note.text)),
            });
        }
        let more = report.notes.len().saturating_sub(NOTES_MAX);
        if more > 0 {
            messages.push(Message {
                is_warning: false,
                text: format!("{database}: and {more} more like these"),
            });
        }
    }
    messages
}

/// What was guarded by a migration that was accepted. `is_empty`: there is no database on the volume
/// now.
#[must_use]
pub fn guarded<S>(migrated: &Migrated<S>, volume: &Path, is_empty: bool) -> String {
    match migrated.databases {
        0 if is_empty => format!(
            "there is no database in {}, so NOTHING WAS GUARDED: if it is elsewhere, name its directory with --data",
            volume.display()
        ),
        0 => "there was no database to guard yet".into(),
        n => looked_at(migrated.verdict.reports(), n),
    }
}

/// What is claimed of an accepted migration: no more than what was looked at.
fn looked_at(reports: &[Report], databases: usize) -> String {
    let databases = counted(databases as u64, "database", "databases");
    let losses = reports
        .iter()
        .map(|report| report.losses.len())
        .sum::<usize>();
    let about = |about: About| {
        let notes = reports.iter().flat_map(|report| &report.notes);
        notes.filter(|note| note.about == about).count() as u64
    };
    let mut text = match losses {
        0 => format!("no loss was found in {databases}"),
        _ => format!("nothing but what was allowed was lost in {databases}"),
    };
    let (data, unseen) = (about(About::Data), about(About::Unseen));
    if data > 0 {
        let changes = counted(data, "change", "changes");
        text += &format!("; {changes} of rows and values: see whether that is what was meant");
    }
    if unseen > 0 {
        text += "; not everything could be looked at, as is said above";
    }
    text
}

fn database(report: &Report, would_have: &str) -> Vec<String> {
    let refused: Vec<&Loss> = report.refused().collect();
    let mut lines = Vec::new();
    if refused.is_empty() {
        return lines;
    }
    lines.push(format!("{} {would_have}:", report.database));
    let rows: Vec<[String; 2]> = refused.iter().map(|loss| row(loss)).collect();
    let width = rows.iter().map(|[what, _]| what.chars().count()).max();
    let width = width.unwrap_or(0);
    lines.extend(rows.iter().take(LOSSES_MAX).map(|[what, how_much]| {
        let line = format!("  {what:<width$}  {how_much}");
        line.trim_end().to_owned()
    }));
    let more = rows.len().saturating_sub(LOSSES_MAX);
    if more > 0 {
        lines.push(format!("  and {more} more losses"));
    }
    let notes = report.notes.iter().take(NOTES_MAX);
    lines.extend(notes.map(|note| format!("  also: {}", plain(&note.text))));
    let more = report.notes.len().saturating_sub(NOTES_MAX);
    if more > 0 {
        lines.push(format!("  and {more} more like these"));
    }
    lines
}

/// Names and definitions are the database's: nothing in them may steer a
/// terminal.
fn plain(text: &str) -> String {
    let escaped = text.escape_debug().to_string();
    escaped.replace("\\'", "'").replace("\\\"", "\"")
}

/// What, and how much of it.
fn row(loss: &Loss) -> [String; 2] {
    let table = loss.table.clone().unwrap_or_default();
    let name = loss.name.clone().unwrap_or_default();
    let of = |one: &str, more: &str| match loss.count == loss.of {
        true => format!("all {}", counted(loss.of, one, more)),
        false => format!("{} of {}", loss.count, counted(loss.of, one, more)),
    };
    let on = |what: &str| match (table.is_empty(), name.is_empty()) {
        (false, false) => format!("{what} {name} on {table}"),
        (false, true) => format!("{what} of {table}"),
        _ => format!("{what} {name}"),
    };
    let (what, how_much) = match loss.kind {
        Kind::Database => (
            "the whole database".into(),
            "its file is gone or empty".into(),
        ),
        Kind::Damage => match table.is_empty() {
            true => ("the whole database".into(), loss.detail.clone()),
            false => (table.clone(), loss.detail.clone()),
        },
        Kind::Table => (
            table.clone(),
            format!("the table, with {}", counted(loss.count, "row", "rows")),
        ),
        Kind::Rows => match loss.detail.is_empty() {
            true => (table.clone(), of("row", "rows")),
            false => (
                table.clone(),
                format!("{}: {}", of("row", "rows"), loss.detail),
            ),
        },
        Kind::Column => (
            format!("{table}.{name}"),
            format!(
                "the column, with {}",
                counted(loss.count, "value", "values")
            ),
        ),
        Kind::Values => (
            format!("{table}.{name}"),
            format!("{}, {}", of("value", "values"), loss.detail),
        ),
        Kind::Constraint => (on("constraint"), loss.detail.clone()),
        Kind::Index => (on("index"), loss.detail.clone()),
        Kind::Trigger => (on("trigger"), loss.detail.clone()),
        Kind::View => (on("view"), loss.detail.clone()),
        Kind::Links => (
            match name.is_empty() {
                true => table.clone(),
                false => format!("{table}.{name}"),
            },
            format!("{}: {}", counted(loss.count, "row", "rows"), loss.detail),
        ),
        Kind::Broken => (
            format!("{table}{name}"),
            format!("cannot be used any more: {}", loss.detail),
        ),
        // A kind of a newer monolite.
        _ => (format!("{table}{name}"), loss.detail.clone()),
    };
    [what, how_much].map(|text| plain(&text))
}

/// `1 row`, `2 rows`.
fn counted(n: u64, one: &str, more: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {more}"),
    }
}

fn allowances(reports: &[Report]) -> Option<String> {
    // Several may have a table of that name.
    let is_one = reports.len() == 1;
    let refused = reports.iter().flat_map(|report| {
        report.refused().map(move |loss| {
            let is_whole = loss.table.is_none() && loss.name.is_none();
            let database = (!is_one || is_whole).then_some(report.database.as_str());
            loss.allowance(database)
        })
    });
    let mut all: Vec<String> = refused.collect();
    all.sort();
    all.dedup();
    let flag = quoted(&all.join(","));
    (!all.is_empty()).then(|| format!("If that is meant: --allow-loss {flag}"))
}

/// What is kept of a rollback, where, and for how long.
fn kept(rollback: &Rollback) -> Vec<String> {
    let mut lines = Vec::new();
    let list = |paths: &[PathBuf]| -> String {
        let paths = paths.iter().map(|path| path.display().to_string());
        paths.collect::<Vec<_>>().join(", ")
    };
    if !rollback.found.is_empty() {
        lines.push(format!(
            "what was there instead is in {}",
            list(&rollback.found)
        ));
    }
    if !rollback.set_aside.is_empty() {
        lines.push(format!(
            "databases it had made are in {} now",
            list(&rollback.set_aside)
        ));
    }
    if rollback.kept.exists() {
        let until = match rollback.until_removed {
            true => "until you remove it: it may hold something that is nowhere else",
            false => "for a week; a newer copy, or a snapshot that needs the room, replaces it",
        };
        let dir = rollback.kept.display();
        lines.push(format!(
            "the states from before are in {dir}, which is kept {until}"
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(kind: Kind, table: &str, count: u64, of: u64) -> Loss {
        Loss::new(kind, Some(table), None).counted(count, of)
    }

    #[test]
    fn losses_are_a_table_with_what_to_allow() {
        let report = Report {
            database: "app.sqlite3".into(),
            losses: vec![
                loss(Kind::Rows, "comments", 3, 3),
                loss(Kind::Table, "a\u{1b}[1m", 1, 1),
            ],
            ..Report::default()
        };
        let verdict = Verdict::RolledBack {
            reports: vec![report],
            rollback: Rollback::default(),
            has_failed: false,
        };
        assert_eq!(
            refused(&verdict),
            [
                "app.sqlite3 would have lost:",
                "  comments    all 3 rows",
                "  a\\u{1b}[1m  the table, with 1 row",
                "If that is meant: --allow-loss 'rows:comments=3,table:a\u{1b}[1m=1'",
                "monolite: the databases are as they were",
            ]
        );
    }
}
