//! A run, as its services see it: the processes, the gate and the signals.

use std::ffi::OsStr;
use std::sync::Arc;

use monolite_gate::Gate;

use crate::app::{App, Processes, Program};
use crate::children::Children;
use crate::config::{CommandLine, RELEASE, WEB};
use crate::signals::Signals;
use crate::workers::Workers;
use crate::{Config, Error, Exit, watchdog};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// How its process ended.
    pub exit: Exit,
    /// The run was asked to stop meanwhile.
    pub is_stopped: bool,
}

/// A run, as its services see it.
pub struct Run {
    pub(crate) config: Arc<Config>,
    pub(crate) gate: Gate,
    pub(crate) signals: Signals,
    processes: Processes,
    /// The watchdog works.
    is_watched: bool,
    /// Asked to stop.
    pub(crate) stopping: bool,
    /// Asked to stop again: at once.
    pub(crate) hurry: bool,
}

impl Run {
    /// Handles the process's signals and reaps its children from now on.
    pub(crate) fn new(config: Config, gate: Gate) -> Result<Self, Error> {
        let io = |what| move |source| Error::Io { what, source };
        Ok(Self {
            config: Arc::new(config),
            gate,
            signals: Signals::listen().map_err(io("listen for signals"))?,
            processes: Processes::new(Children::reap().map_err(io("reap child processes"))?),
            is_watched: false,
            stopping: false,
            hurry: false,
        })
    }

    /// What was configured.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The gate, which supervisor opens and closes as the app comes and goes.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Comes when the run is asked to stop; those who wait at the gate are refused from then on.
    pub async fn stop_requested(&mut self) {
        self.signals.stop().await;
        self.gate.refuse();
    }

    /// Starts the process that serves the requests; answers with its port, too.
    pub(crate) fn start_web(&mut self) -> Result<(App, u16), Error> {
        let port = self.free_port(WEB)?;
        let config = Arc::clone(&self.config);
        let app = self.start(Program {
            name: WEB,
            command: &config.command,
            environment: &config.web_environment,
            port: Some(port),
        })?;
        Ok((app, port))
    }

    fn start(&mut self, program: Program<'_>) -> Result<App, Error> {
        if !self.is_watched {
            let Processes {
                children, groups, ..
            } = &self.processes;
            watchdog::start(children, groups, &self.config.watchdog).map_err(|source| {
                let what = "start the watchdog";
                Error::Io { what, source }
            })?;
            self.is_watched = true;
        }
        App::start(&self.config, &self.processes, program)
    }

    fn free_port(&self, name: &str) -> Result<u16, Error> {
        let port = self.processes.free_port(name, self.config.app_port);
        port.map_err(|source| Error::Io {
            what: "find a free port",
            source,
        })
    }

    /// The workers, not started yet.
    pub(crate) fn workers(&self) -> Workers {
        Workers::new(&self.config, &self.processes, self.gate.health())
    }

    /// Runs a shell command to its end, with the app's environment and `variables`, before there is
    /// an app. What it has left running is killed. If the run is asked to stop meanwhile, the command
    /// is stopped as the app would be.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn run_command(
        &mut self,
        shell: &OsStr,
        variables: &[(&str, &OsStr)],
    ) -> Result<Ended, Error> {
        let owned = |(name, value): &(&str, &OsStr)| ((*name).into(), (*value).into());
        let mut command = self.start(Program {
            name: RELEASE,
            command: &CommandLine::Shell(shell.to_owned()),
            environment: &variables.iter().map(owned).collect::<Vec<_>>(),
            port: Some(self.free_port(RELEASE)?),
        })?;
        let exit = tokio::select! {
            exit = command.exited() => Some(exit),
            () = self.stop_requested() => None,
        };
        let is_stopped = exit.is_none();
        let exit = match exit {
            Some(exit) => {
                command.kill().await;
                exit
            }
            None => {
                self.stopping = true;
                self.stop_app(Some(&mut command), None).await
            }
        };
        if exit != Exit::Code(0) {
            // Its last lines may still be on their way to the output.
            command.tail.last_lines().await;
        }
        Ok(Ended { exit, is_stopped })
    }

    /// Closes the port and waits for the connections; a further request to stop cuts that short.
    pub(crate) async fn close_gate(&mut self) {
        self.gate.stop_accepting();
        tokio::select! {
            closed = self.gate.closed(self.config.drain_time) => {
                if !closed {
                    tracing::warn!("some requests did not finish in time");
                }
            }
            () = self.signals.stop() => {
                self.hurry = true;
                tracing::warn!("asked again: not waiting for requests");
            }
        }
    }

    /// Stops the app and its workers, at the same time. A request to stop that comes meanwhile is
    /// noted in `stopping`, a further one kills them.
    pub(crate) async fn stop_app(
        &mut self,
        app: Option<&mut App>,
        mut workers: Option<&mut Workers>,
    ) -> Exit {
        let kill = tokio::sync::watch::Sender::new(self.hurry);
        let mut killed = kill.subscribe();
        if let Some(workers) = &workers {
            workers.stop(self.hurry);
        }
        let asked_to_kill = workers.as_ref().map(|workers| workers.killer());
        let limit = self.config.stop_time;
        let app = async {
            match app {
                // The sender is not dropped before this ends.
                Some(app) => {
                    app.stop(limit, async { drop(killed.wait_for(|kill| *kill).await) })
                        .await
                }
                None => Exit::Code(0),
            }
        };
        let workers = async {
            if let Some(workers) = &mut workers {
                workers.stopped().await;
            }
        };
        let mut all = std::pin::pin!(async { tokio::join!(app, workers).0 });
        loop {
            tokio::select! {
                exit = &mut all => return exit,
                // Of a restart: the first request is to stop, and no hurry.
                () = self.signals.stop() => match self.stopping {
                    false => self.stopping = true,
                    true => {
                        tracing::warn!("asked again: killing the app");
                        kill.send_replace(true);
                        if let Some(kill) = &asked_to_kill {
                            kill();
                        }
                    }
                }
            }
        }
    }

    /// One that has no process and no port yet; signals come from the sender.
    #[cfg(test)]
    pub(crate) fn for_tests() -> (Self, crate::signals::Sender) {
        let (sender, signals) = Signals::channel();
        let run = Self {
            config: Arc::new(Config::new(Vec::new(), "/nowhere".into())),
            gate: Gate::new(monolite_gate::Config::default()),
            signals,
            processes: Processes::default(),
            is_watched: false,
            stopping: false,
            hurry: false,
        };
        (run, sender)
    }
}
