//! What the lint finds in files that wait: for `check`, and for `up`, which begins no file with a
//! loss that nobody allowed.

use monolite_migrate::files::File;
use monolite_migrate::lint::{Finding, Level, Linter};
use rusqlite::Connection;
use serde::Serialize;

use crate::human;

/// How many there are that nobody allowed.
#[derive(Serialize, Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) errors: usize,
    pub(super) warnings: usize,
}

impl Counts {
    pub(super) fn of(findings: &[Finding]) -> Self {
        let count = |level| {
            let of = |finding: &&Finding| finding.level == level && finding.allowed.is_none();
            findings.iter().filter(of).count()
        };
        Self {
            errors: count(Level::Error),
            warnings: count(Level::Warning),
        }
    }

    pub(super) fn shown(self) -> String {
        format!(
            "{}, {}",
            human::count(self.errors, "error", "errors"),
            human::count(self.warnings, "warning", "warnings")
        )
    }
}

/// What is found in the files, by the database as it is before. No table is read through: whoever
/// waits for the files to be applied does not wait for that.
pub(super) fn of_waiting(
    conn: &Connection,
    waiting: &[File],
    allow: &[String],
) -> rusqlite::Result<Vec<Finding>> {
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let mut linter = Linter::uncounted(conn)?.allow(allow);
    let mut findings = Vec::new();
    for file in waiting {
        findings.extend(linter.file(&file.file_name(), file.text())?);
    }
    Ok(findings)
}

/// For people.
pub(super) fn shown(finding: &Finding, colour: bool) -> String {
    let (word, paint) = match (finding.level, &finding.allowed) {
        (_, Some(_)) => ("allowed", "32"),
        (Level::Error, None) => ("error", "31"),
        (Level::Warning, None) => ("warning", "33"),
        (Level::Note, None) => ("note", "36"),
    };
    let (on, off) = match colour {
        true => (format!("\x1b[{paint}m"), "\x1b[0m"),
        false => (String::new(), ""),
    };
    let mut text = format!(
        "{}, line {}: {on}{word}{off} {}: {}\n",
        finding.file, finding.line, finding.rule.name, finding.what
    );
    if !finding.statement.is_empty() {
        text += &format!("    in       {} …\n", finding.statement);
    }
    match (&finding.allowed, &finding.allow) {
        (Some(reason), _) => text += &format!("    because  {reason}"),
        (None, allow) => {
            text += &format!("    instead  {}", finding.instead);
            if let (Level::Error, Some(allow)) = (finding.level, allow) {
                text += &format!("\n    or       -- monolite: allow {allow}: the reason");
            }
        }
    }
    text
}
