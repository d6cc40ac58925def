//! How much `check` finds in the files that wait, for `plan` and `up`.

use monolite_migrate::files::File;
use monolite_migrate::lint::{Level, Linter};
use rusqlite::Connection;
use serde::Serialize;

use crate::human;

/// How much `check` finds.
#[derive(Serialize, Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct Checked {
    errors: usize,
    warnings: usize,
    /// They could not be looked at.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unchecked: bool,
}

impl Checked {
    /// By the database as it is before. No table is read through: whoever waits
    /// for the files to be applied does not wait for that. What cannot be looked
    /// at is applied all the same, and so this is no error.
    pub(super) fn of(conn: &Connection, waiting: &[File]) -> rusqlite::Result<Self> {
        Ok(Self::count(conn, waiting).unwrap_or(Self {
            unchecked: true,
            ..Self::default()
        }))
    }

    fn count(conn: &Connection, waiting: &[File]) -> rusqlite::Result<Self> {
        let mut all = Self::default();
        if waiting.is_empty() {
            return Ok(all);
        }
        let mut linter = Linter::uncounted(conn)?;
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
        if self.unchecked {
            return Some("`monolite migrate check` could not look at them: not checked".into());
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use monolite_migrate::files::Migrations;

    use super::*;

    #[test]
    fn what_cannot_be_looked_at_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sqlite3");
        let (conn, other) = (
            Connection::open(&path).unwrap(),
            Connection::open(&path).unwrap(),
        );
        conn.busy_timeout(std::time::Duration::ZERO).unwrap();
        conn.execute_batch("CREATE TABLE t (x)").unwrap();
        let files = Migrations::new([("0001_a.sql", "DROP TABLE t")]).unwrap();
        let found = Checked::of(&conn, files.files()).unwrap();
        assert_eq!((found.errors, found.unchecked), (1, false));
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let found = Checked::of(&conn, files.files()).unwrap();
        assert!(found.unchecked);
        assert!(found.shown().unwrap().contains("not checked"));
        assert_eq!(Checked::of(&conn, &[]).unwrap(), Checked::default());
    }
}
