//! What a migration took away, in words.

use std::path::PathBuf;

use monolite_guard::{Kind, Loss, PutBack, Report, Verdict};

use crate::human;

/// Notes of a database that are shown.
const NOTES: usize = 10;

/// What there is to say of a migration that was not accepted.
pub(crate) fn lines(verdict: &Verdict) -> Vec<String> {
    let mut lines = Vec::new();
    let would_have = match verdict {
        Verdict::PutBack { .. } => "would have lost",
        _ => "has lost",
    };
    for report in verdict.reports() {
        lines.extend(database(report, would_have));
    }
    lines.extend(allowances(verdict.reports()));
    match verdict {
        Verdict::PutBack { put_back, .. } => lines.extend(put_back_lines(put_back)),
        Verdict::Left { snapshots, .. } => lines.push(format!(
            "monolite: nothing was put back, since others were at work; the states from before are in {} until you remove them",
            snapshots.display()
        )),
        Verdict::Unchanged => lines.push("monolite: it had changed nothing in the databases".into()),
        Verdict::Accepted { .. } => {}
    }
    lines
}

fn database(report: &Report, would_have: &str) -> Vec<String> {
    let refused: Vec<&Loss> = report.refused().collect();
    let mut lines = Vec::new();
    if refused.is_empty() {
        return lines;
    }
    lines.push(format!("{} {would_have}:", report.database));
    let rows: Vec<Vec<String>> = refused.iter().map(|loss| row(loss)).collect();
    lines.extend(human::table(&rows).lines().map(|line| format!("  {line}")));
    lines.extend(notes(report, "  besides: ", "  "));
    lines
}

/// What it did besides, the gravest first.
fn notes(report: &Report, each: &str, last: &str) -> Vec<String> {
    let all = report.notes.iter().take(NOTES);
    let mut lines: Vec<String> = all
        .map(|note| format!("{each}{}", plain(&note.text)))
        .collect();
    let more = report.notes.len().saturating_sub(NOTES);
    if more > 0 {
        lines.push(format!("{last}and {more} more like these"));
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
fn row(loss: &Loss) -> Vec<String> {
    let table = loss.table.clone().unwrap_or_default();
    let name = loss.name.clone().unwrap_or_default();
    let of = |one: &str, more: &str| match loss.count == loss.of {
        true => format!("all {}", human::count(count(loss.of), one, more)),
        false => format!(
            "{} of {}",
            loss.count,
            human::count(count(loss.of), one, more)
        ),
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
        Kind::Unreadable => match table.is_empty() {
            true => ("the whole database".into(), loss.detail.clone()),
            false => (table.clone(), format!("cannot be read: {}", loss.detail)),
        },
        Kind::Table => (
            table.clone(),
            format!(
                "the table, with {}",
                human::count(count(loss.count), "row", "rows")
            ),
        ),
        Kind::Rows => (table.clone(), of("row", "rows")),
        Kind::Column => (
            format!("{table}.{name}"),
            format!(
                "the column, with {}",
                human::count(count(loss.count), "value", "values")
            ),
        ),
        Kind::Values => (
            format!("{table}.{name}"),
            format!("{}, {}", of("value", "values"), loss.detail),
        ),
        Kind::PrimaryKey => (on("primary key"), loss.detail.clone()),
        Kind::Index => (on("index"), loss.detail.clone()),
        Kind::ForeignKey => (format!("foreign key of {table}"), loss.detail.clone()),
        Kind::Check => (on("CHECK"), loss.detail.clone()),
        Kind::Trigger => (on("trigger"), loss.detail.clone()),
        Kind::View => (on("view"), loss.detail.clone()),
        Kind::Strict => (on("STRICT"), String::new()),
        Kind::Violation => (
            table.clone(),
            format!(
                "{}: {}",
                human::count(count(loss.count), "row", "rows"),
                loss.detail
            ),
        ),
        Kind::Broken => (
            format!("{table}{name}"),
            format!("cannot be used any more: {}", loss.detail),
        ),
        Kind::Integrity => (table.clone(), format!("damaged: {}", loss.detail)),
    };
    [what, how_much].map(|text| plain(&text)).into()
}

fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn allowances(reports: &[Report]) -> Option<String> {
    // Several may have a table of that name.
    let is_one = reports.len() == 1;
    let refused = reports.iter().flat_map(|report| {
        report.refused().map(move |loss| match is_one {
            true => loss.allowance(&report.database),
            false => loss.allowance_in(&report.database),
        })
    });
    let mut all: Vec<String> = refused.collect();
    all.sort();
    all.dedup();
    let flags: Vec<String> = all
        .iter()
        .map(|one| format!("--allow-loss {}", quoted(one)))
        .collect();
    (!flags.is_empty()).then(|| format!("If that is meant: {}", flags.join(" ")))
}

/// For a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "._:-/".contains(c);
    match word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn put_back_lines(put_back: &PutBack) -> Vec<String> {
    let mut lines = vec![match put_back.databases.as_slice() {
        [] => "monolite: the databases are as they were".into(),
        databases => format!("monolite: put back as it was: {}", databases.join(", ")),
    }];
    lines.extend(kept(put_back));
    lines
}

/// What is kept of what was put back, and where.
pub(crate) fn kept(put_back: &PutBack) -> Vec<String> {
    let mut lines = Vec::new();
    let list = |paths: &[PathBuf]| -> String {
        let paths: Vec<String> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        paths.join(", ")
    };
    // Nobody else may have written that.
    let (until, until_all) = match put_back.alone {
        true => (
            "while it is of the newest three",
            "while they are of the newest three",
        ),
        false => ("until you remove it", "until you remove them"),
    };
    if !put_back.found.is_empty() {
        lines.push(format!(
            "monolite: what was there instead is in {}, {until}",
            list(&put_back.found)
        ));
    }
    if !put_back.set_aside.is_empty() {
        lines.push(format!(
            "monolite: databases it had made are in {} now, {until_all}",
            list(&put_back.set_aside)
        ));
    }
    if put_back.kept.exists() {
        let kept = put_back.kept.display();
        lines.push(match put_back.left {
            true => format!("monolite: the states from before are in {kept} until you remove them"),
            false => format!("monolite: the snapshots are kept for a week, in {kept}"),
        });
    }
    lines
}

/// What there is to say of one that was accepted: what was allowed, and what it
/// did besides.
pub(crate) fn accepted(verdict: &Verdict) -> Vec<String> {
    let mut lines = Vec::new();
    for report in verdict.reports() {
        for loss in &report.losses {
            let mut row = row(loss);
            row.retain(|part| !part.is_empty());
            let row = row.join(", ");
            lines.push(format!(
                "monolite: {}: lost, as was allowed: {row}",
                report.database
            ));
        }
        let of = format!("monolite: {}: ", report.database);
        lines.extend(notes(report, &of, &of));
    }
    lines
}
