//! A run, as its services see it: the processes, the gate and the signals.

use std::ffi::OsStr;
use std::sync::Arc;

use monolite_gate::Gate;

use crate::app::{App, Shell};
use crate::children::Children;
use crate::signals::Signals;
use crate::watchdog::Watchdog;
use crate::{Config, Error, Exit};

/// Comes when the watchdog ends; never, if there is none.
pub(crate) async fn watchdog_ended(watchdog: Option<&mut Watchdog>) {
    match watchdog {
        Some(watchdog) => drop(watchdog.process.exited().await),
        None => std::future::pending().await,
    }
}

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
    pub(crate) config: Config,
    pub(crate) gate: Gate,
    pub(crate) signals: Signals,
    children: Arc<Children>,
    pub(crate) watchdog: Option<Watchdog>,
    /// A watchdog has worked.
    was_watched: bool,
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
            config,
            gate,
            signals: Signals::listen().map_err(io("listen for signals"))?,
            children: Children::reap().map_err(io("reap child processes"))?,
            watchdog: None,
            was_watched: false,
            stopping: false,
            hurry: false,
        })
    }

    /// What was configured.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// From now on, commands and the app are given this database of the data directory.
    pub fn set_database(&mut self, name: String) {
        self.config.database = name;
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

    /// Starts the app's command, or `shell` in its place with the same environment.
    pub(crate) fn start_app(&mut self, shell: Option<Shell<'_>>) -> Result<App, Error> {
        let is_watched = self
            .watchdog
            .as_mut()
            .is_some_and(|w| !w.process.has_exited());
        if !is_watched {
            match Watchdog::start(&self.children, &self.config.watchdog) {
                Ok(watchdog) => {
                    self.watchdog = watchdog;
                    self.was_watched |= self.watchdog.is_some();
                }
                // It worked before: the app is worth more than its watchdog.
                Err(error) if self.was_watched => {
                    self.watchdog = None;
                    tracing::error!(
                        %error,
                        "no watchdog can be started: if monolite is killed, the app goes on"
                    );
                }
                Err(source) => {
                    let what = "start the watchdog";
                    return Err(Error::Io { what, source });
                }
            }
        }
        App::start(&self.config, &self.children, self.watchdog.as_mut(), shell)
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
        let mut command = self.start_app(Some((shell, variables)))?;
        let exit = tokio::select! {
            exit = command.exited() => Some(exit),
            () = self.stop_requested() => None,
        };
        let is_stopped = exit.is_none();
        let exit = match exit {
            Some(exit) => {
                self.kill_app(&mut command).await;
                exit
            }
            None => {
                self.stopping = true;
                self.stop_app(&mut command).await
            }
        };
        if exit != Exit::Code(0) {
            // Its last lines may still be on their way to the output.
            command.tail.last_lines().await;
        }
        Ok(Ended { exit, is_stopped })
    }

    /// Kills what is left of a process that has ended.
    pub(crate) async fn kill_app(&mut self, app: &mut App) {
        app.kill(&self.children).await;
        self.watch_nothing();
    }

    pub(crate) fn replace_watchdog(&mut self, app: &App) {
        self.watchdog = Watchdog::start(&self.children, &self.config.watchdog).unwrap_or(None);
        let watches = self
            .watchdog
            .as_mut()
            .is_some_and(|watchdog| watchdog.watch(Some(app.group())).is_ok());
        if watches {
            tracing::warn!("the watchdog ended; another was started");
        } else {
            tracing::error!(
                "the watchdog ended, and no other can be started: if monolite is killed, the app goes on"
            );
        }
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

    /// Stops the app; a request to stop that comes meanwhile is noted in `stopping`, a further one
    /// kills the app.
    pub(crate) async fn stop_app(&mut self, app: &mut App) -> Exit {
        if self.hurry {
            let exit = app.kill(&self.children).await;
            self.watch_nothing();
            return exit;
        }
        let (signals, stopping) = (&mut self.signals, &mut self.stopping);
        let hurry = async {
            if !*stopping {
                // Of a restart: the first request is to stop, and no hurry.
                signals.stop().await;
                *stopping = true;
            }
            signals.stop().await;
            tracing::warn!("asked again: killing the app");
        };
        let exit = app.stop(&self.children, self.config.stop_time, hurry).await;
        self.watch_nothing();
        exit
    }

    fn watch_nothing(&mut self) {
        if let Some(watchdog) = &mut self.watchdog {
            // One that is gone watches nothing anyway.
            let _ = watchdog.watch(None);
        }
    }

    /// One that has no process and no port yet; signals come from the sender.
    #[cfg(test)]
    pub(crate) fn for_tests() -> (Self, crate::signals::Sender) {
        let (sender, signals) = Signals::channel();
        let run = Self {
            config: Config::new(Vec::new(), "/nowhere".into()),
            gate: Gate::new(monolite_gate::Config::default()),
            signals,
            children: Arc::default(),
            watchdog: None,
            was_watched: false,
            stopping: false,
            hurry: false,
        };
        (run, sender)
    }
}
