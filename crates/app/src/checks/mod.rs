//! What `monolite check` looks at besides the volume itself: how the databases are set, and which
//! SQLite the app has.
//!
//! All findings are warnings: none of these loses data for certain.

mod journal;
mod sqlite_build;
mod sqlite_in_use;

use std::path::Path;

use monolite_volume::discover;
use monolite_volume::{Finding, Level};

/// `journal`, `sqlite` and `mmap`, as far as they can be seen, of the databases in `volume`;
/// `app_dir` is where the app's own libraries are looked for.
///
/// Databases are read as plain files: call it only in a process that has no connection of SQLite,
/// whose locks would be lost.
pub fn inspect_databases(volume: &Path, app_dir: &Path) -> Vec<Finding> {
    // Paths of other processes are without links.
    let Ok(volume) = volume.canonicalize() else {
        return Vec::new();
    };
    let databases = discover::by_name(&volume).unwrap_or_default().databases;
    let mut findings = vec![journal::inspect(&volume, &databases)];
    findings.extend(sqlite_in_use::inspect(&databases, app_dir));
    findings
}

fn pass(name: &'static str, why: &'static str, what: impl Into<String>) -> Finding {
    finding(Level::Pass, name, why, what, "")
}

fn warn(
    name: &'static str,
    why: &'static str,
    what: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    finding(Level::Warn, name, why, what, remedy)
}

fn finding(
    level: Level,
    name: &'static str,
    why: &'static str,
    what: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    Finding {
        name,
        level,
        what: what.into(),
        why,
        remedy: remedy.into(),
    }
}
