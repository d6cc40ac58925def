//! The settings of the guard: what a migration may take away.

use clap::{Args, ValueEnum};
use monolite_guard::{Allowance, Depth};
use serde::Deserialize;

use super::replication::{list, one_or_more};

/// How migrations are kept from losing data.
#[derive(Args, Deserialize, Default, Clone, Debug)]
#[command(next_help_heading = "Migration")]
#[serde(default)]
pub(crate) struct Guarding {
    /// What a migration is meant to take away: a table, TABLE.COLUMN, or KIND:NAME as in
    /// index:by_title (repeat, or separate with commas)
    #[arg(
        long,
        env = "MONOLITE_ALLOW_LOSS",
        value_name = "WHAT",
        value_delimiter = ','
    )]
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) allow_loss: Vec<String>,

    /// How thoroughly to look for damage after a migration [default: quick, the tables it changed]
    #[arg(long, env = "MONOLITE_MIGRATE_CHECK", value_name = "DEPTH")]
    pub(crate) migrate_check: Option<MigrateCheck>,
}

#[derive(Clone, Copy, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MigrateCheck {
    /// Not at all.
    None,
    /// SQLite's quick_check of the tables that changed.
    Quick,
    /// SQLite's integrity_check of everything.
    Full,
}

impl Guarding {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            allow_loss: list(self.allow_loss, below.allow_loss),
            migrate_check: self.migrate_check.or(below.migrate_check),
        }
    }

    pub(crate) fn allowances(&self) -> Vec<Allowance> {
        let named = self
            .allow_loss
            .iter()
            .filter(|text| !text.trim().is_empty());
        named.map(|text| Allowance::new(text)).collect()
    }

    pub(crate) fn depth(&self) -> Depth {
        match self.migrate_check {
            Some(MigrateCheck::None) => Depth::None,
            None | Some(MigrateCheck::Quick) => Depth::Quick,
            Some(MigrateCheck::Full) => Depth::Full,
        }
    }
}
