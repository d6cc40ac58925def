//! How much `check` finds in the files that wait, for `plan` and `up`.

use monolite_migrate::files::File;
use monolite_migrate::lint::{Level, Linter};
use rusqlite::Connection;
use serde::Serialize;

use crate::human;

/// How much `check` finds.
#[derive(Serialize, Clone, Copy, Default)]
pub(super) struct Checked {
    errors: usize,
    warnings: usize,
}

impl Checked {
    /// By the database as it is before.
    pub(super) fn of(conn: &Connection, waiting: &[File]) -> rusqlite::Result<Self> {
        let mut all = Self::default();
        if waiting.is_empty() {
            return Ok(all);
        }
        let mut linter = Linter::new(Some(conn))?;
        for file in waiting {
            for finding in linter.file(&file.file_name(), file.text())? {
                match (finding.level, &finding.allowed) {
                    (Level::Error, None) => all.errors += 1,
                    (Level::Warning, None) => all.warnings += 1,
                    _ => {}
                }
            }
        }
        Ok(all)
    }

    pub(super) fn shown(self) -> Option<String> {
        let of = |n, one: &str| human::count(n, one, &format!("{one}s"));
        let found = match (self.errors, self.warnings) {
            (0, 0) => return None,
            (errors, 0) => of(errors, "error"),
            (0, warnings) => of(warnings, "warning"),
            (errors, warnings) => {
                format!("{} and {}", of(errors, "error"), of(warnings, "warning"))
            }
        };
        Some(format!("`monolite migrate check` finds {found} in them"))
    }
}
