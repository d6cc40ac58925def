//! The settings of what `run` does with replicas besides writing them.

use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use serde::Deserialize;

use super::duration;

/// How databases are brought back, and how replicas are proven.
#[derive(Args, Deserialize, Default, Clone, Debug)]
#[command(next_help_heading = "Replication")]
#[serde(default)]
pub(crate) struct Mending {
    /// Longest wait for a replica that cannot be reached, when a database is missing [default: 60s]
    #[arg(long, env = "MONOLITE_RESTORE_TIMEOUT", value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) restore_timeout: Option<Duration>,

    /// Restore a database whose file is deleted under the app; the app is restarted [default: yes]
    #[arg(
        long,
        env = "MONOLITE_HEAL",
        value_name = "YES",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
        hide_possible_values = true
    )]
    pub(crate) heal: Option<bool>,

    /// Prove this often that replicas can be restored; 0s is never [default: 24h, up to 1 GiB each]
    #[arg(long, env = "MONOLITE_VERIFY_EVERY", value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) verify_every: Option<Duration>,

    /// Keep a snapshot on the volume this often, for five days, if a quarter of it stays free; 0s
    /// is never [default: 24h]
    #[arg(long, env = "MONOLITE_LOCAL_SNAPSHOT_INTERVAL", value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) local_snapshot_interval: Option<Duration>,
}

impl Mending {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            restore_timeout: self.restore_timeout.or(below.restore_timeout),
            heal: self.heal.or(below.heal),
            verify_every: self.verify_every.or(below.verify_every),
            local_snapshot_interval: self
                .local_snapshot_interval
                .or(below.local_snapshot_interval),
        }
    }
}
