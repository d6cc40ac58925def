//! The life of a run, from the first bind to the last exit.
//!
//! ```text
//! listen → check volume → lock → restore → migrate → start → healthy → open
//!             (requests wait from here on)              │          │
//!                                           ┌── hold ◄──┴── died ──┤
//!                                           └─► start again        │
//!                            stop accepting ◄── SIGTERM ───────────┘
//!                       └─► drain → stop the app → last sync → exit
//! ```
//!
//! A database whose file is deleted meanwhile is a death of the app that we
//! bring about: `mend.rs`.
//!
//! Dying at any point leaves nothing behind: the lock and the port go with
//! the process, the app with the keeper.

use std::sync::Arc;
use std::time::Duration;

use monolite_gate::Gate;
use monolite_volume::Finding;
use tokio::time::Instant;

use crate::app::App;
use crate::backoff::Backoff;
use crate::begin::{listen, take_volume};
use crate::children::Children;
use crate::guarded::Migrated;
use crate::keeper::Keeper;
use crate::mend::{Mended, lost};
use crate::replication::Replicated;
use crate::signals::{Request, Signals};
use crate::{Config, Error, Exit};

/// After a failure, for the refusals to reach the clients.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Serves the app of `config` until asked to stop or until it cannot go on.
/// Answers with the exit code to end with.
///
/// Runs inside a tokio runtime, once per process: it handles the process's
/// signals and reaps its children. `findings` is told what was found on the
/// volume, before anything else happens.
///
/// # Errors
/// See [`Error`]; the app is stopped by then.
pub async fn run(config: Config, findings: impl FnOnce(&[Finding])) -> Result<u8, Error> {
    let io = |what| move |source| Error::Io { what, source };
    let signals = Signals::listen().map_err(io("listen for signals"))?;
    let children = Children::reap().map_err(io("reap child processes"))?;
    let listener = listen(config.listen)?;
    let gate = Gate::new(config.gate.clone());
    let _lock = take_volume(&config, findings).await?;
    tracing::info!(address = %config.listen, "listening; requests wait until the app is healthy");
    let serving = {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        gate.clone().serve_on_threads(listener, cores)
    };
    tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "cannot serve: a thread did not start");
        }
    });

    let keeper = Keeper::start(&children, &config.keeper).map_err(io("start the keeper"))?;
    let replicated = Replicated::new(&config)?;
    let mut run = Run {
        config,
        gate,
        children,
        keeper,
        signals,
        replicated,
        stopping: false,
        hurry: false,
    };
    let result = run.serve().await;
    if result.is_err() {
        // Those who wait are told, rather than cut off.
        run.gate.refuse();
        run.gate.stop_accepting();
        run.gate.closed(LAST_WORD).await;
    }
    run.last_sync().await;
    result
}

/// Comes when the keeper ends; never, if there is none.
async fn keeper_ended(keeper: Option<&mut Keeper>) {
    match keeper {
        Some(keeper) => drop(keeper.process.exited().await),
        None => std::future::pending().await,
    }
}

pub(crate) struct Run {
    pub(crate) config: Config,
    pub(crate) gate: Gate,
    children: Arc<Children>,
    keeper: Option<Keeper>,
    pub(crate) signals: Signals,
    pub(crate) replicated: Option<Replicated>,
    /// Asked to stop.
    pub(crate) stopping: bool,
    /// Asked to stop again: at once.
    pub(crate) hurry: bool,
}

/// Why an app that was started does not serve.
enum NotHealthy {
    Died(Exit),
    Stop,
    Late(String),
    Lost,
}

/// Why an app that served does not any more.
enum Ended {
    Died(Exit),
    Asked(Request),
    /// The file of a database is gone.
    Lost,
}

impl Run {
    async fn serve(&mut self) -> Result<u8, Error> {
        let Some(recovered) = self.recover().await? else {
            return Ok(0);
        };
        if !self.bring_back().await? {
            return Ok(0);
        }
        if let Migrated::Stopped(exit) = self.migrate(recovered).await? {
            return Ok(exit.code());
        }
        let mut backoff = Backoff::default();
        loop {
            // While there was no app.
            if !self.heal().await {
                return Ok(0);
            }
            let mut app = self.start_app(None)?;
            let died = match self.until_healthy(&mut app).await {
                Ok(()) => {
                    self.gate.open(app.address);
                    match self.until_ended(&mut app).await {
                        Ended::Asked(Request::Stop) => return Ok(self.shut_down(app).await),
                        Ended::Asked(Request::Restart) => {
                            tracing::info!("restarting the app; requests wait");
                            self.retire(&mut app).await;
                            if self.stopping {
                                return Ok(0);
                            }
                            continue;
                        }
                        Ended::Lost => match self.heal_under(&mut app).await {
                            Mended::Yes => continue,
                            Mended::Stopping => return Ok(0),
                        },
                        Ended::Died(exit) => exit,
                    }
                }
                Err(NotHealthy::Lost) => match self.heal_under(&mut app).await {
                    Mended::Yes => continue,
                    Mended::Stopping => return Ok(0),
                },
                Err(NotHealthy::Died(exit)) => exit,
                Err(NotHealthy::Stop) => {
                    self.gate.refuse();
                    return Ok(self.shut_down(app).await);
                }
                Err(NotHealthy::Late(last)) => return Err(self.give_up_waiting(app, last).await),
            };
            self.gate.hold();
            // Whatever it left behind would stand in the way of the next one.
            self.kill_app(&mut app).await;
            self.gate.drain(Duration::ZERO).await;
            let Some(wait) = backoff.died(app.started.elapsed()) else {
                return Err(Error::CrashLoop {
                    exit: died,
                    crashes: backoff.deaths,
                    tail: app.tail.last_lines().await,
                });
            };
            tracing::warn!(
                exit = %died,
                restart_in_ms = wait.as_millis() as u64,
                "the app died; requests wait"
            );
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.signals.stop() => {
                    self.gate.refuse();
                    self.close_gate().await;
                    return Ok(died.code());
                }
            }
        }
    }

    pub(crate) fn start_app(&mut self, shell: Option<&std::ffi::OsString>) -> Result<App, Error> {
        let keeper_died = self.keeper.as_mut().is_some_and(|k| k.process.has_exited());
        if keeper_died && let Ok(keeper) = Keeper::start(&self.children, &self.config.keeper) {
            self.keeper = keeper;
        }
        App::start(&self.config, &self.children, self.keeper.as_mut(), shell)
    }

    /// Kills what is left of a process that has ended.
    pub(crate) async fn kill_app(&mut self, app: &mut App) {
        app.kill(&self.children).await;
        self.mind_nothing();
    }

    async fn until_healthy(&mut self, app: &mut App) -> Result<(), NotHealthy> {
        tracing::info!(pid = app.pid(), port = app.address.port(), "app started");
        let mut last = String::from("nothing was asked");
        let address = app.address;
        let deadline = app.started + self.config.start_time;
        let outcome = tokio::select! {
            exit = app.exited() => Err(NotHealthy::Died(exit)),
            () = self.signals.stop() => Err(NotHealthy::Stop),
            () = self.config.health.wait(address, &mut last) => Ok(()),
            () = lost(self.replicated.as_ref()) => Err(NotHealthy::Lost),
            () = tokio::time::sleep_until(deadline) => Err(NotHealthy::Late(String::new())),
        };
        match outcome {
            Err(NotHealthy::Late(_)) => Err(NotHealthy::Late(last)),
            Ok(()) => {
                let after_ms = app.started.elapsed().as_millis() as u64;
                tracing::info!(after_ms, "app healthy; requests pass");
                Ok(())
            }
            other => other,
        }
    }

    async fn until_ended(&mut self, app: &mut App) -> Ended {
        loop {
            tokio::select! {
                exit = app.exited() => return Ended::Died(exit),
                request = self.signals.next() => return Ended::Asked(request),
                () = keeper_ended(self.keeper.as_mut()) => self.replace_keeper(app),
                () = lost(self.replicated.as_ref()) => {
                    if self.is_lost(app).await {
                        return Ended::Lost;
                    }
                }
            }
        }
    }

    fn replace_keeper(&mut self, app: &App) {
        self.keeper = Keeper::start(&self.children, &self.config.keeper).unwrap_or(None);
        let minds = self
            .keeper
            .as_mut()
            .is_some_and(|keeper| keeper.mind(Some(app.group())).is_ok());
        if minds {
            tracing::warn!("the keeper ended; another was started");
        } else {
            tracing::error!(
                "the keeper ended, and no other can be started: if monolite is killed, the app goes on"
            );
        }
    }

    /// A planned end: requests wait, those in the app finish, the app ends.
    pub(crate) async fn retire(&mut self, app: &mut App) {
        self.gate.hold();
        tokio::select! {
            drained = self.gate.drain(self.config.drain_time) => {
                if !drained {
                    tracing::warn!("some requests did not finish in time");
                }
            }
            () = self.signals.stop() => self.stopping = true,
        }
        self.stop_app(app).await;
        if self.stopping {
            self.gate.refuse();
            self.close_gate().await;
        }
    }

    /// Stops accepting, drains, stops the app. The code is the app's own; an
    /// app that ended by the very signal it was sent ended well.
    async fn shut_down(&mut self, mut app: App) -> u8 {
        self.stopping = true;
        tracing::info!("stopping: no new requests");
        self.close_gate().await;
        let exit = self.stop_app(&mut app).await;
        let sent = [15, 9].map(Exit::Signal);
        let code = if sent.contains(&exit) { 0 } else { exit.code() };
        tracing::info!(app = %exit, "stopped");
        code
    }

    /// Closes the port and waits for the connections; a further wish to stop
    /// cuts that short.
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

    pub(crate) async fn stop_app(&mut self, app: &mut App) -> Exit {
        if self.hurry {
            let exit = app.kill(&self.children).await;
            self.mind_nothing();
            return exit;
        }
        let hurry = async {
            self.signals.stop().await;
            tracing::warn!("asked again: killing the app");
        };
        let exit = app.stop(&self.children, self.config.stop_time, hurry).await;
        self.mind_nothing();
        exit
    }

    fn mind_nothing(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            // A keeper that is gone minds nothing anyway.
            let _ = keeper.mind(None);
        }
    }

    async fn give_up_waiting(&mut self, mut app: App, last: String) -> Error {
        let waited = Instant::now() - app.started;
        self.stop_app(&mut app).await;
        Error::NeverHealthy {
            path: self.config.health.path().into(),
            last,
            waited,
            tail: app.tail.last_lines().await,
        }
    }
}
