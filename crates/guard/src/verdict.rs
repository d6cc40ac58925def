//! How a guarded migration ended.

use std::path::PathBuf;

use serde::Serialize;

use super::report::Report;

/// What became of the databases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// They are what the command made of them.
    Accepted {
        /// What it did, with losses that were allowed.
        reports: Vec<Report>,
    },
    /// The command failed and had changed nothing.
    Unchanged,
    /// They are what they were before the command.
    PutBack {
        /// What it would have done.
        reports: Vec<Report>,
        /// What was done about it.
        put_back: PutBack,
    },
    /// They are what the command made of them, though it failed or took away
    /// what nobody allowed: others were at work on them.
    Left {
        /// What it did.
        reports: Vec<Report>,
        /// The directory with their states from before.
        snapshots: PathBuf,
    },
}

impl Verdict {
    /// What the command did to each database, as far as it was looked at.
    #[must_use]
    pub fn reports(&self) -> &[Report] {
        match self {
            Self::Accepted { reports }
            | Self::PutBack { reports, .. }
            | Self::Left { reports, .. } => reports,
            Self::Unchanged => &[],
        }
    }

    /// Whether something was lost that nobody allowed.
    #[must_use]
    pub fn has_losses(&self) -> bool {
        let mut reports = self.reports().iter();
        reports.any(|report| report.refused().next().is_some())
    }
}

/// What was put back, and what is kept of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PutBack {
    /// The command of the migration.
    pub command: String,
    /// Nothing was put back, as was asked, or since others were at work on the
    /// databases.
    pub left: bool,
    /// Databases that were not what they had been, and are again.
    pub databases: Vec<String>,
    /// What they were meanwhile, where there was room for that: kept until
    /// somebody removes it, if not `alone`.
    pub found: Vec<PathBuf>,
    /// Databases that the migration had made, by their paths in the volume …
    pub made: Vec<String>,
    /// … and where they are now.
    pub set_aside: Vec<PathBuf>,
    /// Nobody else was seen at the databases, from the beginning to the end: what
    /// is kept is the migration's own work, and only the newest three such stay.
    pub alone: bool,
    /// The directory with all of that, and with the snapshots. Those are spare
    /// if they were put back: they go after a week, or with the next migration
    /// that is put back.
    pub kept: PathBuf,
}
