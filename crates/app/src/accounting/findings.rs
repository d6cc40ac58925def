//! What is not accounted for: logged once each, counted on the health page, and in the exit code.
//!
//! Anybody may read the health page: it counts, and names no file. Those are in the log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use monolite_gate::health::Report;

/// Databases that are named in the log, of each kind; more are counted.
const NAMED_MAX: usize = 100;
/// The exit code of a run that ended well, with data where it is lost.
const NOT_ACCOUNTED_FOR: u8 = 1;

/// What is wrong with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// It is not on the volume.
    Elsewhere,
    /// The app has files of it open that have no name any more.
    Unnamed,
    /// What was committed to such files could not be put into it.
    NotRescued,
    /// Its lock is not held.
    NotHeld,
    /// A program, and no database: it holds a SQLite that can lose commits.
    OldSqlite,
}

/// All that is not accounted for.
#[derive(Default)]
pub(crate) struct Findings(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    all: BTreeMap<(Kind, PathBuf), ()>,
    rescued: u64,
}

impl Findings {
    /// Adds one; whether it is new and is to be logged.
    pub(super) fn add(&self, kind: Kind, database: &Path) -> bool {
        let mut inner = self.inner();
        let is_new = inner.all.insert((kind, database.into()), ()).is_none();
        is_new && inner.count(kind) <= NAMED_MAX
    }

    /// It is so no more.
    pub(super) fn remove(&self, kind: Kind, database: &Path) {
        self.inner().all.remove(&(kind, database.to_owned()));
    }

    /// What was committed to a file without a name is in the database.
    pub(super) fn rescued(&self) {
        self.inner().rescued += 1;
    }

    /// For the health page.
    pub(crate) fn report(&self) -> Report {
        let inner = self.inner();
        let mut reasons = Vec::new();
        let mut facts = Vec::new();
        for (kind, name, text) in [
            (
                Kind::Elsewhere,
                "elsewhere",
                "open outside of the data directory",
            ),
            (
                Kind::Unnamed,
                "unnamed",
                "open under a name that was deleted or replaced",
            ),
            (
                Kind::NotRescued,
                "not_rescued",
                "with commits that are in a file of their own",
            ),
            (Kind::NotHeld, "not_held", "whose log is not protected"),
        ] {
            let count = inner.count(kind);
            if count > 0 {
                let noun = if count == 1 { "database" } else { "databases" };
                reasons.push(format!("{count} {noun} {text}: see the log"));
                facts.push((name, count as u64));
            }
        }
        let old = inner.count(Kind::OldSqlite);
        if old > 0 {
            facts.push(("old_sqlite", old as u64));
        }
        if inner.rescued > 0 {
            facts.push(("rescued", inner.rescued));
        }
        let report = match reasons.is_empty() {
            true => Report::ok(),
            false => Report::degraded(reasons.join("; ")),
        };
        facts
            .into_iter()
            .fold(report, |report, (name, count)| report.fact(name, count))
    }

    /// Databases of which commits are lost, or are where nobody looks after them.
    pub(crate) fn lost(&self) -> usize {
        let inner = self.inner();
        let lost = [Kind::Elsewhere, Kind::Unnamed, Kind::NotRescued];
        lost.iter().map(|kind| inner.count(*kind)).sum()
    }

    /// For the end of the run.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.lost() {
            0 => 0,
            _ => NOT_ACCOUNTED_FOR,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&self, kind: Kind) -> usize {
        self.all.keys().filter(|(of, _)| *of == kind).count()
    }
}

#[cfg(test)]
mod tests {
    use monolite_gate::health::Condition;

    use super::*;

    #[test]
    fn each_is_new_once_and_nothing_is_named_on_the_page() {
        let findings = Findings::default();
        let path = Path::new("/srv/secret.sqlite3");
        assert_eq!(findings.exit_code(), 0);
        assert!(findings.add(Kind::Elsewhere, path) && !findings.add(Kind::Elsewhere, path));
        assert!(findings.add(Kind::NotHeld, path));
        let report = findings.report();
        let Condition::Degraded(reason) = report.condition() else {
            panic!("{report:?}");
        };
        assert!(reason.starts_with("1 database open outside of"), "{reason}");
        assert!(!reason.contains("secret") && report.facts()["elsewhere"] == 1);
        assert_eq!(findings.exit_code(), 1);
        findings.remove(Kind::Elsewhere, path);
        assert_eq!(findings.exit_code(), 0);
    }
}
