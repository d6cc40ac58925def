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

/// Takes the app's output as it comes, byte for byte; with [`Config::output_prefix`], whole lines.
pub type Output = Arc<dyn Fn(Stream, &[u8]) + Send + Sync>;

/// What a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandLine {
    /// A program and its arguments. `$PORT` in an argument becomes the port.
    Words(Vec<OsString>),
    /// A line for `/bin/sh`.
    Shell(OsString),
}

impl From<Vec<OsString>> for CommandLine {
    fn from(words: Vec<OsString>) -> Self {
        Self::Words(words)
    }
}

/// When a [`Worker`] that has ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Restart {
    /// However it ended.
    #[default]
    Always,
    /// Unless it ended with exit code 0.
    OnFailure,
    /// Never.
    Never,
}

/// A process of the app that serves no requests: a queue worker, a scheduler. It is started with
/// the app and stopped with it; its death is no death of the app.
#[derive(Clone)]
pub struct Worker {
    pub(crate) name: String,
    pub(crate) command: CommandLine,
    pub(crate) restart: Restart,
    pub(crate) stop_time: Option<Duration>,
    pub(crate) environment: Vec<(OsString, OsString)>,
}

impl Worker {
    /// A worker that is always started again. `name` is unique in the run and not [`WEB`].
    pub fn new(name: impl Into<String>, command: impl Into<CommandLine>) -> Self {
        Self {
            name: name.into(),
            command: command.into(),
            restart: Restart::default(),
            stop_time: None,
            environment: Vec::new(),
        }
    }

    /// When it is started again. Default [`Restart::Always`].
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// From its SIGTERM to its SIGKILL. Default: as for the app.
    #[must_use]
    pub fn stop_time(mut self, limit: Duration) -> Self {
        self.stop_time = Some(limit);
        self
    }

    /// Variables that it gets as well as the app's.
    #[must_use]
    pub fn environment(mut self, variables: Vec<(OsString, OsString)>) -> Self {
        self.environment = variables;
        self
    }
}

/// The name of the process that serves the requests, in log lines and before its output.
pub const WEB: &str = "web";
/// The name of what runs before it, see [`Run::run_command`](crate::Run::run_command).
pub(crate) const RELEASE: &str = "release";

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
    /// The process that serves the requests.
    pub command: CommandLine,
    /// Variables for that process alone.
    pub web_environment: Vec<(OsString, OsString)>,
    /// The app's other processes.
    pub workers: Vec<Worker>,
    /// Each line of output begins with the name of its process.
    pub output_prefix: bool,
    /// The port the app gets as `PORT`; `None` finds a free one.
    pub app_port: Option<u16>,
    /// The data directory.
    pub data: PathBuf,
    /// File name of the app's database in the data directory.
    pub database: String,
    /// The app's directory: its files show which framework it is written with.
    pub app_dir: PathBuf,
    /// A directory for files that are of no use after the run, as process id files. It is created
    /// when it is needed; `None`: there are no such files.
    pub run_dir: Option<PathBuf>,
    /// The environment of the app's processes; `PORT` and the variables of the database are added.
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
    pub fn new(command: impl Into<CommandLine>, data: PathBuf) -> Self {
        Self {
            command: command.into(),
            web_environment: Vec::new(),
            workers: Vec::new(),
            output_prefix: false,
            app_port: None,
            data,
            database: "app.sqlite3".into(),
            app_dir: PathBuf::from("."),
            run_dir: None,
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
