//! One life of the app: its process group, its port, its output.

use std::ffi::OsStr;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::time::Instant;

use crate::Error;
use crate::children::{Children, Process};
use crate::config::{Config, Stream};
use crate::environment::{Framework, expand_port};
use crate::exit::Exit;
use crate::tail::Tail;
use crate::watchdog::Watchdog;

/// How often it is looked whether a process group is empty.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long a process is waited for after SIGKILL: one that waits for a disk does not end at once.
const KILL_TIME_MAX: Duration = Duration::from_secs(5);

/// A shell command to run in the app's place, and variables that it gets besides the app's.
pub(crate) type Shell<'s> = (&'s OsStr, &'s [(&'s str, &'s OsStr)]);

/// A process that leads a group of its own.
pub(crate) struct App {
    process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) tail: Tail,
    pub(crate) started: Instant,
}

impl App {
    /// Starts the app's command, or `shell` in its place with the same environment.
    pub(crate) fn start(
        config: &Config,
        children: &Children,
        watchdog: Option<&mut Watchdog>,
        shell: Option<Shell<'_>>,
    ) -> Result<Self, Error> {
        let port = match config.app_port {
            Some(port) => port,
            None => free_port().map_err(|source| Error::Io {
                what: "find a free port",
                source,
            })?,
        };
        let mut command = match (shell, config.command.split_first()) {
            (Some((shell, _)), _) => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(shell);
                command
            }
            (None, Some((program, arguments))) => {
                let mut command = Command::new(program);
                command.args(arguments.iter().map(|a| expand_port(a, port)));
                command
            }
            (None, None) => {
                return Err(Error::Spawn {
                    program: String::new(),
                    reason: "no command was given".into(),
                });
            }
        };
        set_environment(&mut command, config, port);
        if let Some((_, variables)) = shell {
            command.envs(variables.iter().copied());
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut tail = Tail::default();
        let process = children
            .spawn(&mut command, |child| {
                if let Some(out) = child.stdout.take() {
                    tail.follow(out, Stream::Stdout, &config.output);
                }
                if let Some(err) = child.stderr.take() {
                    tail.follow(err, Stream::Stderr, &config.output);
                }
            })
            .map_err(|error| spawn_error(&command, &error))?;
        let app = Self {
            process,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            tail,
            started: Instant::now(),
        };
        if let Some(watchdog) = watchdog
            && let Err(error) = watchdog.watch(Some(app.group()))
        {
            tracing::warn!(%error, "the watchdog is gone: if monolite is killed, the app may go on");
        }
        Ok(app)
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.pid.as_raw_nonzero().get()
    }

    pub(crate) fn group(&self) -> Pid {
        self.process.pid
    }

    /// Waits for the end of the app's first process.
    pub(crate) async fn exited(&mut self) -> Exit {
        self.process.exited().await
    }

    /// Asks the app to end: SIGTERM to its first process, which knows what to
    /// do with the others; then to those it left behind, in its process group
    /// or out of it; after `limit`, or when `hurry` comes, SIGKILL to all.
    pub(crate) async fn stop(
        &mut self,
        children: &Children,
        limit: Duration,
        hurry: impl Future<Output = ()>,
    ) -> Exit {
        let deadline = Instant::now() + limit;
        if !self.process.has_exited() {
            let _ = kill_process(self.process.pid, Signal::TERM);
        }
        let group = self.group();
        let politely = async {
            let exit = self.process.exited().await;
            let _ = kill_process_group(group, Signal::TERM);
            for stray in children.strays() {
                let _ = kill_process(stray, Signal::TERM);
            }
            while is_left(group, children) {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            exit
        };
        tokio::select! {
            biased;
            exit = politely => return exit,
            () = hurry => {}
            () = tokio::time::sleep_until(deadline) => {
                tracing::warn!(after_s = limit.as_secs_f32(), "the app did not stop in time, killing it");
            }
        }
        self.kill(children).await
    }

    /// Kills what is left of the app, and waits until it is gone.
    pub(crate) async fn kill(&mut self, children: &Children) -> Exit {
        let group = self.group();
        let deadline = Instant::now() + KILL_TIME_MAX;
        loop {
            let _ = kill_process_group(group, Signal::KILL);
            // The children of a stray become strays when it dies.
            for stray in children.strays() {
                let _ = kill_process(stray, Signal::KILL);
            }
            let gone = self.process.has_exited() && !is_left(group, children);
            if gone || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        if !self.process.has_exited() {
            tracing::error!(
                pid = self.pid(),
                "the app cannot be killed: a disk or network mount hangs"
            );
            return Exit::Signal(9);
        }
        self.process.exited().await
    }
}

/// True while a process of the app's is left.
fn is_left(group: Pid, children: &Children) -> bool {
    test_kill_process_group(group).is_ok() || !children.strays().is_empty()
}

fn set_environment(command: &mut Command, config: &Config, port: u16) {
    let data = &config.data;
    let database = data.join(&config.database);
    command.env_clear();
    command.envs(Framework::detect(&config.app_dir).variables(data, &database));
    // Over ours: what is set already stays.
    command.envs(config.environment.iter().map(|(name, value)| (name, value)));
    command
        .env("MONOLITE_DATA", data)
        .env("PORT", port.to_string());
}

fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn spawn_error(command: &Command, error: &io::Error) -> Error {
    let program = command.get_program().to_string_lossy().into_owned();
    let is_path = Path::new(&program).components().count() > 1;
    let reason = match error.kind() {
        io::ErrorKind::NotFound if is_path => {
            "no such file, or its interpreter (the #! line) is missing".into()
        }
        io::ErrorKind::NotFound => {
            "no such command in PATH; check its name, or give its whole path".into()
        }
        io::ErrorKind::PermissionDenied => {
            format!("it may not be executed; try `chmod +x {program}`")
        }
        _ => error.to_string(),
    };
    Error::Spawn { program, reason }
}
