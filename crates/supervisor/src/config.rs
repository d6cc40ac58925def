//! What the supervisor has to know about one run.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where bytes of output came from.
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
pub struct HealthCheck {
    /// Asked with GET. `None` asks for `/` and takes any answer below 500: the app listens. A path
    /// that was named must answer 200 to 399.
    pub path: Option<String>,
    /// The `Host` header to ask with, for apps that allow only their own. Default `localhost`.
    pub host: String,
}

/// Everything about the processes of a run. Times are upper bounds.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// The app: program and arguments. `$PORT` in an argument becomes the port.
    pub command: Vec<OsString>,
    /// The port the app gets as `PORT`; `None` finds a free one.
    pub app_port: Option<u16>,
    /// The data directory.
    pub data: PathBuf,
    /// File name of the app's database in the data directory.
    pub database: String,
    /// The app's directory: its files show which framework it is written with.
    pub app_dir: PathBuf,
    /// The app's environment; `PORT` and the variables of the database are added.
    pub environment: Vec<(OsString, OsString)>,
    /// When the app is healthy.
    pub health: HealthCheck,
    /// From start to healthy. Default 60 s.
    pub start_time: Duration,
    /// From SIGTERM to SIGKILL. Default 10 s.
    pub stop_time: Duration,
    /// For requests in the app to finish. Default 10 s.
    pub drain_time: Duration,
    /// How this program starts its watchdog, see [`watch_parent`](crate::watch_parent); empty: the
    /// app outlives this process if it is killed.
    pub watchdog: Vec<OsString>,
    /// Where the app's output goes.
    pub output: Output,
}

impl Config {
    /// A run of `command` with the data directory `data`, and the defaults above.
    pub fn new(command: Vec<OsString>, data: PathBuf) -> Self {
        Self {
            command,
            app_port: None,
            data,
            database: "app.sqlite3".into(),
            app_dir: PathBuf::from("."),
            environment: Vec::new(),
            health: HealthCheck {
                path: None,
                host: "localhost".into(),
            },
            start_time: Duration::from_secs(60),
            stop_time: Duration::from_secs(10),
            drain_time: Duration::from_secs(10),
            watchdog: Vec::new(),
            output: Arc::new(|_, _| {}),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment may hold secrets.
        f.debug_struct("Config")
            .field("command", &self.command)
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}
