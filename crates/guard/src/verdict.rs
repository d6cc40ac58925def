//! How a guarded migration ended.

use std::path::PathBuf;

use serde::Serialize;

use crate::report::Report;
use crate::rollback::Rollback;

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
    RolledBack {
        /// What it would have done.
        reports: Vec<Report>,
        /// What was done about it.
        rollback: Rollback,
        /// The command failed, or was ended: to allow a loss would change nothing.
        has_failed: bool,
    },
    /// They are what the command made of them, though it failed or took away what nobody allowed:
    /// other processes were at work on them.
    Left {
        /// What it did.
        reports: Vec<Report>,
        /// The directory with their states from before.
        snapshots: PathBuf,
        /// The command failed, or was ended: to allow a loss would change nothing.
        has_failed: bool,
    },
}

impl Verdict {
    /// What the command did to each database, as far as it was looked at.
    #[must_use]
    pub fn reports(&self) -> &[Report] {
        match self {
            Self::Accepted { reports }
            | Self::RolledBack { reports, .. }
            | Self::Left { reports, .. } => reports,
            Self::Unchanged => &[],
        }
    }

    /// Whether the command failed, as far as the databases show: they were not accepted for that.
    fn has_failed(&self) -> bool {
        match self {
            Self::RolledBack { has_failed, .. } | Self::Left { has_failed, .. } => *has_failed,
            Self::Unchanged => true,
            Self::Accepted { .. } => false,
        }
    }

    /// Whether to allow what was lost would have the migration accepted.
    #[must_use]
    pub fn can_be_allowed(&self) -> bool {
        self.has_losses() && !self.has_failed()
    }

    /// Whether something was lost that nobody allowed.
    #[must_use]
    pub fn has_losses(&self) -> bool {
        let mut reports = self.reports().iter();
        reports.any(|report| report.refused().next().is_some())
    }
}
