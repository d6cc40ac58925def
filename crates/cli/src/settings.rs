//! `monolite.toml`: every key optional, an unknown one an error.
//!
//! A flag wins over its `MONOLITE_*` variable, that over the file, that over
//! the default.

mod guarding;
mod mending;
mod replication;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};
use monolite_volume::CHECKS;
use serde::Deserialize;

pub(crate) use self::guarding::Guarding;
pub(crate) use self::mending::Mending;
pub(crate) use self::replication::{Following, Replicas};

/// The name looked for in the current directory.
const FILE: &str = "monolite.toml";

/// What can be set, each by flag, variable and key.
#[derive(Args, Deserialize, Default, Clone, Debug)]
#[serde(default)]
pub(crate) struct Settings {
    /// The data directory [default: $LITESTACK_DATA_PATH, else /data, else ./data]
    #[arg(long, env = "MONOLITE_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// File name of the app's database in the data directory [default: app.sqlite3]
    #[arg(long, env = "MONOLITE_DATABASE", value_name = "NAME")]
    pub(crate) database: Option<String>,

    /// The public port [default: $PORT, else 8080]
    #[arg(long, env = "MONOLITE_PORT")]
    pub(crate) port: Option<u16>,

    /// The public address [default: 0.0.0.0]
    #[arg(long, env = "MONOLITE_BIND", value_name = "IP")]
    pub(crate) bind: Option<std::net::IpAddr>,

    /// The port the app is told as PORT [default: a free one]
    #[arg(long, env = "MONOLITE_APP_PORT", value_name = "PORT")]
    pub(crate) app_port: Option<u16>,

    /// A shell command to run before the app starts; requests wait meanwhile
    #[arg(long, env = "MONOLITE_MIGRATE", value_name = "COMMAND")]
    pub(crate) migrate: Option<String>,

    /// The app is healthy when GET of this path answers 200-399 [default: / with any answer below 500]
    #[arg(long, env = "MONOLITE_HEALTH_PATH", value_name = "PATH")]
    pub(crate) health_path: Option<String>,

    /// The Host header of the health request [default: localhost]
    #[arg(long, env = "MONOLITE_HEALTH_HOST", value_name = "HOST")]
    pub(crate) health_host: Option<String>,

    /// Let at most N state-changing requests (not GET, HEAD, OPTIONS) into the app at a time
    #[arg(long, env = "MONOLITE_WRITE_CONCURRENCY", value_name = "N")]
    pub(crate) write_concurrency: Option<std::num::NonZeroUsize>,

    /// Longest from start to healthy [default: 60s]
    #[arg(long, env = "MONOLITE_START_TIMEOUT", value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) start_timeout: Option<Duration>,

    /// From SIGTERM to SIGKILL for the app [default: 10s]
    #[arg(long, env = "MONOLITE_STOP_TIMEOUT", value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) stop_timeout: Option<Duration>,

    /// For requests in hand to finish before a stop or restart [default: 10s]
    #[arg(long, env = "MONOLITE_DRAIN_TIMEOUT", value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) drain_timeout: Option<Duration>,

    /// Longest a request waits to be passed on, then 503 [default: 30s]
    #[arg(long, env = "MONOLITE_HOLD_TIMEOUT", value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) hold_timeout: Option<Duration>,

    /// Requests that may wait at once, then 503 [default: 1024]
    #[arg(long, env = "MONOLITE_HOLD_REQUESTS", value_name = "N")]
    pub(crate) hold_requests: Option<usize>,

    /// Memory the waiting requests may take together, in MiB [default: 16]
    #[arg(long, env = "MONOLITE_HOLD_MIB", value_name = "MIB")]
    pub(crate) hold_mib: Option<usize>,

    /// Longest wait for the head of the app's response, then 504; 0s is for ever [default: 60s]
    #[arg(long, env = "MONOLITE_RESPONSE_TIMEOUT", value_name = "TIME", value_parser = humantime::parse_duration)]
    #[serde(deserialize_with = "duration")]
    pub(crate) response_timeout: Option<Duration>,

    /// Whose X-Forwarded-* headers are believed [default: private]
    #[arg(long, env = "MONOLITE_TRUST_FORWARDED", value_name = "WHOSE")]
    pub(crate) trust_forwarded: Option<Trust>,

    /// Go on in spite of a failed check of this name (repeat, or separate with commas)
    #[arg(
        long,
        env = "MONOLITE_ALLOW",
        value_name = "CHECK",
        value_delimiter = ','
    )]
    pub(crate) allow: Vec<String>,

    /// Monolite's own log lines, on standard error [default: text]
    #[arg(long, env = "MONOLITE_LOG", value_name = "FORMAT")]
    pub(crate) log: Option<LogFormat>,

    /// Where the migration files are: a flag of `migrate`'s own verbs, not of `run`.
    #[arg(skip)]
    pub(crate) migrations: Option<PathBuf>,

    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) replicas: Replicas,

    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) following: Following,

    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) mending: Mending,

    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) guarding: Guarding,
}

#[derive(Clone, Copy, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Trust {
    /// Peers with a private, loopback or link-local address.
    Private,
    /// Everybody.
    All,
    /// Nobody.
    None,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// The keys of the file, in the order of the settings above.
const KEYS: &[&str] = &[
    "data",
    "database",
    "port",
    "bind",
    "app_port",
    "migrate",
    "health_path",
    "health_host",
    "write_concurrency",
    "start_timeout",
    "stop_timeout",
    "drain_timeout",
    "hold_timeout",
    "hold_requests",
    "hold_mib",
    "response_timeout",
    "trust_forwarded",
    "allow",
    "log",
    "migrations",
    "replica",
    "replica_key_file",
    "replica_exclude",
    "replica_host",
    "sync_interval",
    "sync_timeout",
    "snapshot_interval",
    "keep_all",
    "keep_hourly",
    "keep_daily",
    "take_over",
    "heartbeat_url",
    "restore_timeout",
    "heal",
    "verify_every",
    "local_snapshot_interval",
    "allow_loss",
    "migrate_check",
    "command",
];

/// What the file may hold beside the settings.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
struct File {
    /// The app's command, for `monolite run` without one.
    command: Vec<String>,
    #[serde(flatten)]
    settings: Settings,
}

fn duration<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    let parsed = humantime::parse_duration(&text);
    parsed.map(Some).map_err(serde::de::Error::custom)
}

impl Settings {
    /// Fills in what flags and variables left open from `file`, or from the
    /// file of the current directory if there is one; and the command, if the
    /// file has one.
    pub(crate) fn with_file(self, file: Option<&Path>) -> anyhow::Result<(Self, Vec<String>)> {
        let (path, required) = file.map_or((Path::new(FILE), false), |path| (path, true));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !required => {
                return Ok((self, Vec::new()));
            }
            Err(e) => return Err(e).context(format!("cannot read {}", path.display())),
        };
        let file = parse(&text).with_context(|| format!("in {}", path.display()))?;
        Ok((self.over(file.settings), file.command))
    }

    /// A misspelt name would allow nothing, in silence.
    pub(crate) fn check_allowed(&self) -> anyhow::Result<()> {
        for name in &self.allow {
            if !CHECKS.contains(&name.as_str()) {
                let hint = match nearest(name, &CHECKS) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("the checks are: {}", CHECKS.join(", ")),
                };
                bail!("there is no check `{name}` to allow; {hint}");
            }
        }
        Ok(())
    }

    fn over(self, below: Self) -> Self {
        Self {
            data: self.data.or(below.data),
            database: self.database.or(below.database),
            port: self.port.or(below.port),
            bind: self.bind.or(below.bind),
            app_port: self.app_port.or(below.app_port),
            migrate: self.migrate.or(below.migrate),
            health_path: self.health_path.or(below.health_path),
            health_host: self.health_host.or(below.health_host),
            write_concurrency: self.write_concurrency.or(below.write_concurrency),
            start_timeout: self.start_timeout.or(below.start_timeout),
            stop_timeout: self.stop_timeout.or(below.stop_timeout),
            drain_timeout: self.drain_timeout.or(below.drain_timeout),
            hold_timeout: self.hold_timeout.or(below.hold_timeout),
            hold_requests: self.hold_requests.or(below.hold_requests),
            hold_mib: self.hold_mib.or(below.hold_mib),
            response_timeout: self.response_timeout.or(below.response_timeout),
            trust_forwarded: self.trust_forwarded.or(below.trust_forwarded),
            allow: if self.allow.is_empty() {
                below.allow
            } else {
                self.allow
            },
            log: self.log.or(below.log),
            migrations: self.migrations.or(below.migrations),
            replicas: self.replicas.over(below.replicas),
            following: self.following.over(below.following),
            mending: self.mending.over(below.mending),
            guarding: self.guarding.over(below.guarding),
        }
    }
}

fn parse(text: &str) -> anyhow::Result<File> {
    let said = |error: toml::de::Error| match error.span() {
        Some(span) => anyhow!("{}: {}", line(text, span.start), error.message()),
        None => anyhow!("{}", error.message().trim_end()),
    };
    let table: toml::Table = toml::from_str(text).map_err(said)?;
    for key in table.keys() {
        if !KEYS.contains(&key.as_str()) {
            match nearest(key, KEYS) {
                Some(known) => bail!("unknown key `{key}`; did you mean `{known}`?"),
                None => bail!("unknown key `{key}`; the keys are: {}", KEYS.join(", ")),
            }
        }
    }
    toml::from_str(text).map_err(said)
}

/// Which line, and which key; not what it is set to, which may be a secret.
fn line(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let number = 1 + before.matches('\n').count();
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let key = line.split('=').next().unwrap_or_default().trim();
    let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match line.contains('=') && key.chars().all(is_key) {
        true => format!("line {number}, {key}"),
        false => format!("line {number}"),
    }
}

/// The known name most like `word`, if any is like it.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|known| (strsim::jaro_winkler(word, known), *known))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;

    #[test]
    fn every_setting_is_a_key_of_the_file() {
        let command = Settings::augment_args(clap::Command::new("x"));
        let flags: Vec<String> = command
            .get_arguments()
            .map(|argument| argument.get_id().to_string())
            .collect();
        let others = ["command", "migrations"];
        let keys: Vec<_> = KEYS.iter().filter(|key| !others.contains(key)).collect();
        assert_eq!(
            flags,
            keys.iter().map(|k| k.to_string()).collect::<Vec<_>>()
        );
    }

    #[test]
    fn every_finding_can_be_allowed_and_nothing_else() {
        let place = monolite_volume::Volume::new(std::env::temp_dir());
        for finding in monolite_volume::inspect(&place) {
            assert!(CHECKS.contains(&finding.name), "{}", finding.name);
        }
        let settings = Settings {
            allow: vec!["persistant".into()],
            ..Settings::default()
        };
        let error = settings.check_allowed().unwrap_err().to_string();
        assert!(error.ends_with("did you mean `persistent`?"), "{error}");
    }

    #[test]
    fn flags_win_over_the_file() {
        let flags = Settings {
            port: Some(1),
            ..Settings::default()
        };
        let file =
            parse("port = 2\nhealth_path = '/up'\nstart_timeout = '2m'\ncommand = ['a', 'b']")
                .unwrap();
        assert_eq!(file.command, ["a", "b"]);
        let both = flags.over(file.settings);
        assert_eq!(both.port, Some(1));
        assert_eq!(both.health_path.as_deref(), Some("/up"));
        assert_eq!(both.start_timeout, Some(Duration::from_secs(120)));
    }

    #[test]
    fn replicas_are_one_or_a_list() {
        let replicas = |text| parse(text).unwrap().settings.replicas.replica;
        assert_eq!(replicas("replica = 's3://a/b'"), ["s3://a/b"]);
        assert_eq!(replicas("replica = ['s3://a', '/b']"), ["s3://a", "/b"]);
        let file = parse("keep_all = '2h'\ntake_over = true\nreplica_exclude = 'x.db'").unwrap();
        let flags = Settings {
            replicas: Replicas {
                replica: vec![String::new()],
                ..Replicas::default()
            },
            ..Settings::default()
        };
        let following = flags.over(file.settings).following;
        assert_eq!(following.keep_all, Some(Duration::from_secs(7200)));
        assert_eq!(following.take_over, Some(true));
        assert_eq!(following.replica_exclude, ["x.db"]);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text| parse(text).unwrap_err().to_string();
        assert_eq!(
            error("helth_path = '/'"),
            "unknown key `helth_path`; did you mean `health_path`?"
        );
        assert!(error("zzz = 1").starts_with("unknown key `zzz`; the keys are: data,"));
        assert!(
            error("port = 'x'").contains("port"),
            "{}",
            error("port = 'x'")
        );
        assert!(error("start_timeout = 'soon'").contains("start_timeout"));
        assert!(error("port = ").contains("line 1"));
        assert_eq!(
            error("replcia = 's3://a'"),
            "unknown key `replcia`; did you mean `replica`?"
        );
        let replica = error("replica = 7");
        assert!(
            replica.contains("replica: ") && replica.contains("a list"),
            "{replica}"
        );
        assert!(error("keep_all = 'for ever'").contains("keep_all"));
        let secret = error("port = 1\nreplica = s3://id:hunter2@bucket");
        assert!(secret.starts_with("line 2, replica: "), "{secret}");
        assert!(!secret.contains("hunter2"), "{secret}");
    }
}
