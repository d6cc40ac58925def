//! How a migration is guarded, and what becomes of one that was interrupted.

use serde::{Deserialize, Serialize};

use monolite_migrate::allowance::Allowance;

use crate::compare::Depth;

/// What to do if another process has a database open: what it writes during the migration would be
/// lost if the database were rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum IfOpen {
    /// Do not begin.
    #[default]
    #[serde(rename = "refuse")]
    Refuse,
    /// Run and judge the migration, but never roll back.
    #[serde(rename = "leave")]
    JudgeOnly,
    /// Run and judge the migration, and roll back if need be; the state that is rolled back is
    /// kept as a file.
    #[serde(rename = "keep")]
    KeepCopy,
}

/// What to do with a migration that was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interrupted {
    /// Roll back, unless somebody has used a database since.
    #[default]
    RollBackIfUnused,
    /// Roll back in any case.
    RollBack,
    /// Take the databases as they are.
    Keep,
}

/// How one migration is guarded.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Losses that are meant.
    pub allow: Vec<Allowance>,
    /// How thoroughly damage is looked for.
    pub depth: Depth,
    /// What to do if another process has a database open.
    pub if_open: IfOpen,
}

impl Options {
    /// Nothing may be lost, changed tables are checked for damage, and nothing begins while
    /// another process has a database open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Losses that are meant.
    #[must_use]
    pub fn allow(mut self, allow: Vec<Allowance>) -> Self {
        self.allow = allow;
        self
    }

    /// How thoroughly damage is looked for.
    #[must_use]
    pub fn depth(mut self, depth: Depth) -> Self {
        self.depth = depth;
        self
    }

    /// What to do if another process has a database open.
    #[must_use]
    pub fn if_open(mut self, if_open: IfOpen) -> Self {
        self.if_open = if_open;
        self
    }
}
