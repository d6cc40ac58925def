//! One life of a process of the app, of the web or of a worker: its process group, its output, and
//! how it is stopped with all that it has started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::time::Instant;

use crate::Error;
use crate::children::{Children, Process};
use crate::config::{CommandLine, Config, RELEASE, Stream, WEB};
use crate::environment::{self, expand_port};
use crate::exit::Exit;
use crate::groups::{Groups, NAME_VARIABLE, RUN_VARIABLE};
use crate::tail::Tail;

/// How often it is looked whether a process group is empty.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long a process is waited for after SIGKILL: one that waits for a disk does not end at once.
const KILL_TIME_MAX: Duration = Duration::from_secs(5);

/// The processes of a run: who reaps them, and which groups they lead.
#[derive(Clone, Default)]
pub(crate) struct Processes {
    pub(crate) children: Arc<Children>,
    pub(crate) groups: Arc<Groups>,
    /// The ports given to them, by name.
    ports: Arc<Mutex<BTreeMap<String, u16>>>,
}

impl Processes {
    pub(crate) fn new(children: Arc<Children>) -> Self {
        Self {
            children,
            ..Self::default()
        }
    }

    /// The port `fixed`, or one that nobody listens on now and that no other process of the run was
    /// given: it may not listen yet.
    pub(crate) fn free_port(&self, name: &str, fixed: Option<u16>) -> io::Result<u16> {
        let mut given = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        given.remove(name);
        let port = match fixed {
            Some(port) => port,
            None => loop {
                let port = free_port()?;
                if !given.values().any(|of_another| *of_another == port) {
                    break port;
                }
            },
        };
        given.insert(name.to_owned(), port);
        Ok(port)
    }
}

/// What is started, and as which process of the run.
#[derive(Clone, Copy)]
pub(crate) struct Program<'p> {
    pub(crate) name: &'p str,
    pub(crate) command: &'p CommandLine,
    /// Variables for it alone.
    pub(crate) environment: &'p [(OsString, OsString)],
    /// Where it has to listen, if it serves requests.
    pub(crate) port: Option<u16>,
}

/// A process that leads a group of its own.
pub(crate) struct App {
    name: String,
    process: Process,
    processes: Processes,
    pub(crate) tail: Tail,
    pub(crate) started: Instant,
}

impl App {
    pub(crate) fn start(
        config: &Config,
        processes: &Processes,
        program: Program<'_>,
    ) -> Result<Self, Error> {
        let mut command = match program.command {
            CommandLine::Shell(line) => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(line);
                command
            }
            CommandLine::Words(words) => {
                let Some((name, arguments)) = words.split_first() else {
                    return Err(Error::Spawn {
                        program: String::new(),
                        reason: "no command was given".into(),
                    });
                };
                let mut command = Command::new(name);
                command.args(arguments.iter().map(|a| expand_port(a, program.port)));
                command
            }
        };
        environment::set(&mut command, config, program).map_err(|source| Error::Io {
            what: "create the directory of the run",
            source,
        })?;
        command
            .env(RUN_VARIABLE, processes.groups.run())
            .env(NAME_VARIABLE, program.name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let prefix = config.output_prefix.then(|| prefix(config, program.name));
        let mut tail = Tail::default();
        let process = processes
            .children
            .spawn(&mut command, |child| {
                let prefix = prefix.as_deref();
                if let Some(out) = child.stdout.take() {
                    tail.follow(out, Stream::Stdout, &config.output, prefix);
                }
                if let Some(err) = child.stderr.take() {
                    tail.follow(err, Stream::Stderr, &config.output, prefix);
                }
            })
            .map_err(|error| spawn_error(&command, &error))?;
        processes.groups.add(process.pid, program.name);
        Ok(Self {
            name: program.name.to_owned(),
            process,
            processes: processes.clone(),
            tail,
            started: Instant::now(),
        })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.pid.as_raw_nonzero().get()
    }

    pub(crate) fn group(&self) -> Pid {
        self.process.pid
    }

    fn left(&self) -> Left {
        Left {
            name: self.name.clone(),
            group: self.group(),
            processes: self.processes.clone(),
        }
    }

    /// Waits for the end of the app's first process.
    pub(crate) async fn exited(&mut self) -> Exit {
        self.process.exited().await
    }

    /// Asks the app to end: SIGTERM to its first process, which knows what to
    /// do with the others; then to those it left behind, in its process group
    /// or out of it; after `limit`, or when `hurry` comes, SIGKILL to all.
    pub(crate) async fn stop(&mut self, limit: Duration, hurry: impl Future<Output = ()>) -> Exit {
        let deadline = Instant::now() + limit;
        if !self.process.has_exited() {
            let _ = kill_process(self.process.pid, Signal::TERM);
        }
        let group = self.group();
        let left = self.left();
        let politely = async {
            let exit = self.process.exited().await;
            let _ = kill_process_group(group, Signal::TERM);
            for stray in left.strays() {
                let _ = kill_process(stray, Signal::TERM);
            }
            while left.is_any() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            exit
        };
        tokio::select! {
            biased;
            exit = politely => {
                self.processes.groups.remove(group);
                return exit;
            }
            () = hurry => {}
            () = tokio::time::sleep_until(deadline) => {
                let (process, after_ms) = (&self.name, limit.as_millis() as u64);
                tracing::warn!(process, after_ms, "did not stop in time, killing it");
            }
        }
        self.kill().await
    }

    /// Kills what is left of the app, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Exit {
        let (group, left) = (self.group(), self.left());
        let deadline = Instant::now() + KILL_TIME_MAX;
        loop {
            let _ = kill_process_group(group, Signal::KILL);
            // The children of a stray become strays when it dies.
            for stray in left.strays() {
                let _ = kill_process(stray, Signal::KILL);
            }
            if self.process.has_exited() && !left.is_any() {
                self.processes.groups.remove(group);
                break;
            }
            if Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        if !self.process.has_exited() {
            tracing::error!(
                process = self.name,
                pid = self.pid(),
                "cannot be killed: a disk or network mount hangs"
            );
            return Exit::Signal(9);
        }
        self.process.exited().await
    }
}

/// What a process may have left running, in its group or out of it.
struct Left {
    name: String,
    group: Pid,
    processes: Processes,
}

impl Left {
    fn is_any(&self) -> bool {
        test_kill_process_group(self.group).is_ok() || !self.strays().is_empty()
    }

    /// Orphans that this process has inherited. One whose owner does not show is the web's: what it
    /// left must not stand in the way of the next one.
    fn strays(&self) -> Vec<Pid> {
        let is_workers = |name: &str| name != WEB && name != RELEASE;
        let mut strays = self.processes.children.strays();
        strays.retain(|pid| {
            let owner = self.processes.groups.owner(*pid);
            let worker = owner.as_deref().filter(|name| is_workers(name));
            worker == Some(&*self.name).filter(|name| is_workers(name))
        });
        strays
    }
}

/// The name of the process, as wide as the longest of the run.
fn prefix(config: &Config, name: &str) -> String {
    let workers = config.workers.iter().map(|worker| worker.name.len());
    let width = workers.fold(WEB.len(), usize::max);
    format!("{name:width$} | ")
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
