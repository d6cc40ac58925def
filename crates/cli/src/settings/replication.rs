//! The settings of replication: where to, and how.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use clap::builder::BoolishValueParser;
use serde::{Deserialize, Deserializer};

use super::duration;

/// In the help of every verb that has them.
const HEADING: &str = "Replication";

/// Where replicas are: for every verb that reads or writes one.
#[derive(Args, Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub(crate) struct Replicas {
    /// Where every commit is stored: s3://BUCKET/PREFIX, gs://…, az://…, or a folder; `none` for
    /// nowhere (repeat, or separate with commas) [default: $BUCKET_NAME, as Tigris on Fly sets it]
    #[arg(
        long,
        help_heading = HEADING,
        env = "MONOLITE_REPLICA",
        value_name = "URL",
        value_delimiter = ',',
        // May hold secrets.
        hide_env_values = true
    )]
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) replica: Vec<String>,

    /// Encrypt with the key in this file, or in $MONOLITE_REPLICA_KEY [default: not encrypted]
    #[arg(long, help_heading = HEADING, env = "MONOLITE_REPLICA_KEY_FILE", value_name = "FILE")]
    pub(crate) replica_key_file: Option<PathBuf>,
}

/// How a volume is replicated.
#[derive(Args, Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub(crate) struct Following {
    /// Leave out databases of this name; `*` stands for anything (repeat, or separate with commas)
    #[arg(
        long,
        help_heading = HEADING,
        env = "MONOLITE_REPLICA_EXCLUDE",
        value_name = "NAME",
        value_delimiter = ','
    )]
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) replica_exclude: Vec<String>,

    /// This machine's name, for another that wants to write the replica [default: the host's]
    #[arg(long, help_heading = HEADING, env = "MONOLITE_REPLICA_HOST", value_name = "NAME")]
    pub(crate) replica_host: Option<String>,

    /// Commits are stored after so long, at the latest [default: 1s; from 50ms]
    #[arg(long, help_heading = HEADING, env = "MONOLITE_SYNC_INTERVAL", value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) sync_interval: Option<Duration>,

    /// Longest wait at the end for what is not stored yet [default: 10s]
    #[arg(long, help_heading = HEADING, env = "MONOLITE_SYNC_TIMEOUT", value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) sync_timeout: Option<Duration>,

    /// Between two whole snapshots in a replica [default: 24h]
    #[arg(long, help_heading = HEADING, env = "MONOLITE_SNAPSHOT_INTERVAL", value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) snapshot_interval: Option<Duration>,

    /// How long every state can be restored [default: 1h]
    #[arg(long, help_heading = HEADING, env = "MONOLITE_KEEP_ALL", value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) keep_all: Option<Duration>,

    /// How long a state of each hour can be [default: 24h]
    #[arg(long, help_heading = HEADING, env = "MONOLITE_KEEP_HOURLY", value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) keep_hourly: Option<Duration>,

    /// How long a state of each day can be [default: 5days]
    #[arg(long, help_heading = HEADING, env = "MONOLITE_KEEP_DAILY", value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) keep_daily: Option<Duration>,

    /// Go on from this volume also where the replica holds another one's state, which stays
    /// restorable by its time
    #[arg(
        long,
        help_heading = HEADING,
        env = "MONOLITE_TAKE_OVER",
        value_name = "YES",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
        hide_possible_values = true
    )]
    pub(crate) take_over: Option<bool>,

    /// GET this once a minute, as long as everything is stored
    #[arg(
        long,
        help_heading = HEADING,
        env = "MONOLITE_HEARTBEAT_URL",
        value_name = "URL",
        // What knows it can pretend that all is well.
        hide_env_values = true
    )]
    pub(crate) heartbeat_url: Option<String>,
}

impl Replicas {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            replica: list(self.replica, below.replica),
            replica_key_file: self.replica_key_file.or(below.replica_key_file),
        }
    }
}

impl Following {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            replica_exclude: list(self.replica_exclude, below.replica_exclude),
            replica_host: self.replica_host.or(below.replica_host),
            sync_interval: self.sync_interval.or(below.sync_interval),
            sync_timeout: self.sync_timeout.or(below.sync_timeout),
            snapshot_interval: self.snapshot_interval.or(below.snapshot_interval),
            keep_all: self.keep_all.or(below.keep_all),
            keep_hourly: self.keep_hourly.or(below.keep_hourly),
            keep_daily: self.keep_daily.or(below.keep_daily),
            take_over: self.take_over.or(below.take_over),
            heartbeat_url: self.heartbeat_url.or(below.heartbeat_url),
        }
    }

    /// What each setting allows but no replication can do.
    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        const LEAST_SYNC: Duration = Duration::from_millis(50);
        const LEAST_SNAPSHOT: Duration = Duration::from_secs(60);
        let least = |name: &str, value: Option<Duration>, least: Duration| match value {
            Some(value) if value < least => bail!(
                "{name} is {}; it must be {} or longer",
                humantime::format_duration(value),
                humantime::format_duration(least)
            ),
            _ => Ok(()),
        };
        least("sync_interval", self.sync_interval, LEAST_SYNC)?;
        least("snapshot_interval", self.snapshot_interval, LEAST_SNAPSHOT)?;
        if let Some(url) = &self.heartbeat_url {
            let parsed = reqwest::Url::parse(url);
            if !parsed.is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
            {
                bail!("heartbeat_url is not a URL that begins with https:// or http://");
            }
        }
        Ok(())
    }
}

pub(super) fn list(flags: Vec<String>, below: Vec<String>) -> Vec<String> {
    // A variable that is set to nothing is not set.
    match flags.iter().all(|one| one.trim().is_empty()) {
        true => below,
        false => flags,
    }
}

/// `key = "one"` or `key = ["one", "another"]`.
pub(super) fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a string, or a list of strings")]
    enum Either {
        One(String),
        More(Vec<String>),
    }
    Ok(match Either::deserialize(from)? {
        Either::One(one) => vec![one],
        Either::More(more) => more,
    })
}
