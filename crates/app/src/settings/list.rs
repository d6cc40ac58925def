//! The list of all settings: a declaration here is a flag, a variable (`MONOLITE_*`), a key of
//! `monolite.toml`, a default, a line of `--help` and a row of the tables in `docs/`.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::declaration::{Default, Group, Setting, Source, settings};
use super::valid;
use super::value::{self, AccessFormat, DriverLane, LogFormat};

settings! {
    /// The data directory
    data: Option<PathBuf>, value "DIR", unset "$LITESTACK_DATA_PATH, else /data if it exists, else ./data";

    /// File name of the app's database in the data directory
    database: Option<String>, value "NAME", unset "app.sqlite3, else the database that is there";

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

    /// Have the app's SQLite drivers wait for each other's writes, without a change of the app
    driver_lane: DriverLane, value "WHEN", default "auto";

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

    /// Put the databases in WAL mode before the app starts; the mode stays in the file
    wal: bool, value "YES", default "yes";

    /// Restart an app that has answered nothing for so long although it was asked; 0s is never
    hang_timeout: Option<Duration>, value "TIME", unset "twice the response timeout, 30s or longer; never if that is 0s";

    /// Longest time that a client's idle connection is kept open
    keep_alive: Duration, value "TIME", default "620s";

    /// The directory of nameless files for long bodies of slow clients
    buffer_dir: Option<PathBuf>, value "DIR", unset "$TMPDIR, else /tmp";

    /// Read request bodies of unknown length, too, before the app is asked
    buffer_unknown: bool, value "YES", default "no";

    /// Proxies whose X-Forwarded-* headers are believed: addresses, networks, or private, fly,
    /// cloudflare, aws, gcp, kamal, all, none (repeat, or separate with commas)
    trust_forwarded: Vec<String>, value "WHOSE", unset "fly on Fly.io, else private", valid valid::proxies;

    /// Believe X-Forwarded-Host of these proxies
    trust_forwarded_host: bool, value "YES", default "no";

    /// Connections of these proxies begin with a PROXY protocol header, version 1 or 2
    proxy_protocol: bool, value "YES", default "no";

    /// Append a line for each request to this file, which is rotated at 64 MiB; /dev/stderr for the
    /// log's stream
    access_log: Option<PathBuf>, value "FILE", unset "none";

    /// The format of these lines
    access_log_format: AccessFormat, value "FORMAT", default "text";

    /// Add Server-Timing to the app's responses: the time held, and the app's
    server_timing: bool, value "YES", default "no";

    /// Start although the check of this name fails (repeat, or separate with commas)
    allow: Vec<String>, value "CHECK", unset "none", valid valid::checks;

    /// The format of Monolite's own log lines, on standard error
    log: LogFormat, value "FORMAT", default "text";

    /// The directory of the migration files
    migrations: Option<PathBuf>, value "DIR", flag "dir", unset "migrations";

    /// What a migration may take away: a table, TABLE.COLUMN, or KIND:NAME as in index:by_title
    /// (repeat, or separate with commas)
    allow_loss: Vec<String>, value "WHAT", unset "nothing", group Migration;

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

    /// Directory for snapshots on their way to a replica, which may be as large as a database
    replica_scratch: Option<PathBuf>, value "DIR",
        unset "the volume; the system's directory for temporary files where only that has the space",
        group Replication;

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
