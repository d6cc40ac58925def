//! The list of all settings: a declaration here is a flag, a variable (`MONOLITE_*`), a key of
//! `monolite.toml`, a default, a line of `--help` and a row of the tables in `docs/`.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::declaration::{Default, Group, Setting, Source, settings};
use super::valid;
use super::value::{self, LogFormat, MigrateCheck, Trust};

settings! {
    /// The data directory
    data: Option<PathBuf>, value "DIR", unset "$LITESTACK_DATA_PATH, else /data if it exists, else ./data";

    /// File name of the app's database in the data directory
    database: Option<String>, value "NAME", unset "app.sqlite3";

    /// The public port
    port: Option<u16>, value "PORT", unset "$PORT, else 8080";

    /// The public address
    bind: Option<IpAddr>, value "IP", unset "0.0.0.0";

    /// The port on which the app has to listen, given to it as PORT
    app_port: Option<u16>, value "PORT", unset "a free one";

    /// The app's processes, one a line as in `worker: bundle exec sidekiq`; `web` serves the requests
    procfile: Option<PathBuf>, value "FILE", unset "./Procfile, if no command is given";

    /// A shell command to run before the app starts; requests wait meanwhile
    migrate: Option<String>, value "COMMAND", unset "none";

    /// The app is healthy when GET of this path answers 200-399
    health_path: Option<String>, value "PATH", unset "/ with any answer below 500", valid valid::url_path;

    /// The Host header of the health request
    health_host: String, value "HOST", default "localhost", valid valid::host;

    /// Let at most N state-changing requests (not GET, HEAD, OPTIONS) into the app at a time
    write_concurrency: Option<NonZeroUsize>, value "N", unset "no limit";

    /// Longest time from the app's start until it is healthy
    start_timeout: Duration, value "TIME", default "60s";

    /// Time from SIGTERM to SIGKILL for the app
    stop_timeout: Duration, value "TIME", default "10s";

    /// Longest wait for the requests in the app to finish, before a stop or restart
    drain_timeout: Duration, value "TIME", default "10s";

    /// Longest a request waits for the app, then it is answered with 503
    hold_timeout: Duration, value "TIME", default "30s";

    /// Requests that may wait at once; the others are answered with 503
    hold_requests: usize, value "N", default "1024";

    /// Memory that all waiting requests together may take, in MiB
    hold_mib: usize, value "MIB", default "16";

    /// Longest time without a byte sent or answered until the head of the app's response, then the
    /// answer is 504; 0s is no limit
    response_timeout: Duration, value "TIME", default "60s";

    /// Peers whose X-Forwarded-* headers are believed
    trust_forwarded: Trust, value "WHOSE", default "private";

    /// Start although the check of this name fails (repeat, or separate with commas)
    allow: Vec<String>, value "CHECK", unset "none", valid valid::checks;

    /// The format of Monolite's own log lines, on standard error
    log: LogFormat, value "FORMAT", default "text";

    /// The directory of the migration files
    migrations: Option<PathBuf>, value "DIR", flag "dir", unset "migrations";

    /// What a migration may take away: a table, TABLE.COLUMN, or KIND:NAME as in index:by_title
    /// (repeat, or separate with commas)
    allow_loss: Vec<String>, value "WHAT", unset "nothing", group Migration;

    /// How thoroughly to look for damage after a migration
    migrate_check: MigrateCheck, value "DEPTH", default "quick", group Migration;

    /// Where every commit is stored: s3://BUCKET/PREFIX, gs://…, az://…, or a folder; `none` for
    /// nowhere (repeat, or separate with commas)
    replica: Vec<String>, value "URL", unset "$BUCKET_NAME, as Tigris on Fly sets it; else none",
        group Replication, secret true;

    /// Encrypt replicas with the key in this file; the key itself may be in $MONOLITE_REPLICA_KEY
    replica_key_file: Option<PathBuf>, value "FILE", unset "not encrypted", group Replication;

    /// Leave out databases of this name; `*` stands for any characters (repeat, or separate with
    /// commas)
    replica_exclude: Vec<String>, value "NAME", unset "none", group Replication;

    /// This machine's name, shown to another machine that wants to write the same replica
    replica_host: Option<String>, value "NAME", unset "the host's name", group Replication;

    /// Longest time until a commit is stored; 50ms or longer
    sync_interval: Duration, value "TIME", default "1s", group Replication, valid valid::sync_interval;

    /// Longest wait at the end for commits that are not stored yet
    sync_timeout: Duration, value "TIME", default "10s", group Replication;

    /// Time between two whole snapshots in a replica; one minute or longer
    snapshot_interval: Duration, value "TIME", default "24h", group Replication,
        valid valid::snapshot_interval;

    /// How long every state can be restored
    keep_all: Duration, value "TIME", default "1h", group Replication;

    /// How long one state of each hour can be restored
    keep_hourly: Duration, value "TIME", default "24h", group Replication;

    /// How long one state of each day can be restored
    keep_daily: Duration, value "TIME", default "5d", group Replication;

    /// Write to the replica although it holds the state of another volume, which stays restorable
    /// by its time
    take_over: bool, value "YES", default "no", group Replication;

    /// GET this URL once a minute, as long as everything is stored
    heartbeat_url: Option<String>, value "URL", unset "none", group Replication, secret true,
        valid valid::http_url;

    /// Longest wait for another machine's lease, and for a replica that cannot be reached when a
    /// database is missing
    restore_timeout: Duration, value "TIME", default "60s", group Replication;

    /// Restore a database whose file is deleted while the app runs; the app is restarted
    heal: bool, value "YES", default "yes", group Replication;

    /// Verify this often that replicas can be restored; if not set, only those up to 1 GiB; 0s is
    /// never
    verify_every: Duration, value "TIME", default "24h", group Replication;

    /// Take a snapshot on the volume this often and keep it for five days, if a quarter of the disk
    /// stays free; 0s is never
    local_snapshot_interval: Duration, value "TIME", default "24h", group Replication;

    /// The app's command, for `monolite run` without one
    command: Vec<String>, value "COMMAND", unset "none", group File;
}

/// The setting of this key.
pub fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}
