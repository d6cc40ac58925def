//! What one run of an app is told.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use monolite_volume::Volume;

use crate::guarded::Guarding;
use crate::replication::Replication;

/// Where a line of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The app's standard output.
    Stdout,
    /// The app's standard error.
    Stderr,
}

/// Takes the app's output as it comes, byte for byte.
pub type Output = Arc<dyn Fn(Stream, &[u8]) + Send + Sync>;

/// When the app counts as healthy.
#[derive(Debug, Clone)]
pub struct Health {
    /// Asked with GET. `None` asks for `/` and takes any answer below 500:
    /// the app is up, whatever it thinks of the question. A path that was
    /// named must answer 200 to 399.
    pub path: Option<String>,
    /// The `Host` header to ask with, for apps that allow only their own.
    /// Default `localhost`.
    pub host: Option<String>,
}

/// Everything a run needs to know. Times are upper bounds.
#[derive(Clone)]
pub struct Config {
    /// The app: program and arguments. `$PORT` in an argument becomes the port.
    pub command: Vec<OsString>,
    /// A shell command to run before the app, with the app's environment.
    pub migrate: Option<OsString>,
    /// How that is kept from losing data; `None`: it is not.
    pub guard: Option<Guarding>,
    /// The public address.
    pub listen: SocketAddr,
    /// The port the app is told; `None` finds a free one.
    pub app_port: Option<u16>,
    /// The data directory, and what is known of it.
    pub place: Volume,
    /// File name of the app's database in the data directory.
    pub database: String,
    /// Names of volume findings that do not stop the run.
    pub allow: Vec<String>,
    /// Where the app's files are: tells which framework it is written with.
    pub app_dir: PathBuf,
    /// The app's environment; `PORT` and the database's place are added.
    pub environment: Vec<(OsString, OsString)>,
    /// When the app is healthy.
    pub health: Health,
    /// From start to healthy. Default 60 s.
    pub start_time: Duration,
    /// From SIGTERM to SIGKILL. Default 10 s.
    pub stop_time: Duration,
    /// For requests in hand to finish. Default 10 s.
    pub drain_time: Duration,
    /// The gate's bounds.
    pub gate: monolite_gate::Config,
    /// Where else every commit goes; `None`: nowhere.
    pub replication: Option<Replication>,
    /// How this program starts its keeper: see [`keep`](crate::keep).
    pub keeper: Vec<OsString>,
    /// Where the app's output goes.
    pub output: Output,
}

impl Config {
    /// A run of `command` behind `listen`, with the defaults above.
    pub fn new(command: Vec<OsString>, listen: SocketAddr, data: PathBuf) -> Self {
        Self {
            command,
            migrate: None,
            guard: None,
            listen,
            app_port: None,
            place: Volume::new(data),
            database: "app.sqlite3".into(),
            allow: Vec::new(),
            app_dir: PathBuf::from("."),
            environment: Vec::new(),
            health: Health {
                path: None,
                host: None,
            },
            start_time: Duration::from_secs(60),
            stop_time: Duration::from_secs(10),
            drain_time: Duration::from_secs(10),
            gate: monolite_gate::Config::default(),
            replication: None,
            keeper: Vec::new(),
            output: Arc::new(|_, _| {}),
        }
    }
}
