//! The life of a run, from the start of its services to the stop of the last one.
//!
//! ```text
//! start the services → start web and workers → web healthy → open the gate
//!      (requests wait from the gate's start on)     │
//!                     ┌── hold ◄── the web died ────┤
//!                     │   hold, stop all ◄── a service needs a pause, SIGUSR2
//!                     └─► start what does not run   │
//!      close the gate ◄── SIGTERM ──────────────────┘
//!           └─► drain → stop web and workers → stop the services → exit
//! ```
//!
//! Requests in hand may need a worker (one that renders, or answers on a port), so workers are asked
//! to stop after the drain, at the same time as the web: a stop takes the drain and the longest of
//! their stop times. All of them are gone before a service stops.
//!
//! Dying at any point leaves nothing behind: what the services hold goes with the process, the app
//! with the watchdog.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use monolite_gate::Gate;
use tokio::time::Instant;

use crate::app::App;
use crate::backoff::Backoff;
use crate::run::Run;
use crate::service::{Service, Services, Started};
use crate::signals::Request;
use crate::workers::Workers;
use crate::{Config, Error, Exit};

/// After a failure, time for the refusals to reach the clients.
const REFUSALS_TIME: Duration = Duration::from_secs(1);

/// Serves the app of `config` behind `gate`, with `services`, until asked to stop or until it cannot
/// go on. Answers with the exit code to end with.
///
/// Runs inside a tokio runtime, once per process: it handles the process's signals and reaps its
/// children.
///
/// # Errors
/// See [`Error`]; the app and the services are stopped by then.
pub async fn run(config: Config, gate: Gate, services: Vec<Box<dyn Service>>) -> Result<u8, Error> {
    let mut run = Run::new(config, gate)?;
    let mut services = Services::new(services);
    let result = match services.start(&mut run).await {
        Ok(Started::Yes) => {
            let (workers, run, services) = (run.workers(), &mut run, &services);
            let mut lifecycle = Lifecycle {
                run,
                services,
                workers,
            };
            let result = lifecycle.serve().await;
            if result.is_err() {
                lifecycle.run.gate.refuse();
            }
            lifecycle.stop_workers().await;
            result
        }
        Ok(Started::Stopped(exit)) => {
            run.close_gate().await;
            Ok(exit.code())
        }
        Err(error) => Err(error),
    };
    if result.is_err() {
        // Those who wait get an answer, rather than a closed connection.
        run.gate.refuse();
        run.gate.stop_accepting();
        run.gate.closed(REFUSALS_TIME).await;
    }
    services.stop(&mut run).await;
    result
}

/// Why an app that was started does not serve.
enum NotHealthy {
    Died(Exit),
    Stop,
    Late(String),
    Pause,
}

/// Why an app that served does not any more.
enum Ended {
    Died(Exit),
    Asked(Request),
    /// A service needs it stopped.
    Pause,
}

/// One life of the process that serves the requests.
struct Web {
    app: App,
    address: SocketAddr,
}

/// The lives of the app, while all services work.
struct Lifecycle<'r> {
    run: &'r mut Run,
    services: &'r Services,
    workers: Workers,
}

impl Lifecycle<'_> {
    /// The app's whole life, in a loop of lives.
    async fn serve(&mut self) -> Result<u8, Error> {
        let mut backoff = Backoff::default();
        loop {
            if !self.let_work().await {
                return Ok(0);
            }
            let (app, port) = self.run.start_web()?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let mut app = Web { app, address };
            self.workers.start();
            let died = match self.until_healthy(&mut app).await {
                Ok(()) => {
                    self.run.gate.open(app.address);
                    match self.until_ended(&mut app).await {
                        Ended::Asked(Request::Stop) => return Ok(self.shut_down(app).await),
                        Ended::Asked(Request::Restart) => {
                            tracing::info!("restarting the app; requests wait");
                            if !self.retire(&mut app).await {
                                return Ok(0);
                            }
                            continue;
                        }
                        Ended::Pause => match self.retire(&mut app).await {
                            true => continue,
                            false => return Ok(0),
                        },
                        Ended::Died(exit) => exit,
                    }
                }
                Err(NotHealthy::Pause) => match self.retire(&mut app).await {
                    true => continue,
                    false => return Ok(0),
                },
                Err(NotHealthy::Died(exit)) => exit,
                Err(NotHealthy::Stop) => {
                    self.run.stopping = true;
                    self.run.gate.refuse();
                    return Ok(self.shut_down(app).await);
                }
                Err(NotHealthy::Late(last)) => return Err(self.give_up_waiting(app, last).await),
            };
            self.run.gate.hold();
            // Whatever it left behind would stand in the way of the next one.
            app.app.kill().await;
            self.run.gate.drain(Duration::ZERO).await;
            let Some(wait) = backoff.died(app.app.started.elapsed()) else {
                return Err(Error::CrashLoop {
                    exit: died,
                    crashes: backoff.deaths,
                    tail: app.app.tail.last_lines().await,
                });
            };
            tracing::warn!(
                exit = %died,
                restart_in_ms = wait.as_millis() as u64,
                "the app died; requests wait"
            );
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.run.stop_requested() => {
                    self.run.stopping = true;
                    self.run.close_gate().await;
                    return Ok(died.code());
                }
            }
        }
    }

    /// While there is no app, the services do what they need that for; false if asked to stop
    /// meanwhile.
    async fn let_work(&mut self) -> bool {
        if self.workers.are_started() {
            // The web died alone; they may use what the services need for themselves.
            if !self.services.is_pause_needed().await {
                return true;
            }
            self.stop_workers().await;
            if self.run.stopping {
                self.run.gate.refuse();
                self.run.close_gate().await;
                return false;
            }
        }
        tokio::select! {
            // What is done already is not cut short.
            biased;
            () = self.services.while_paused() => true,
            () = self.run.stop_requested() => {
                tracing::warn!("stopped before the app could be started");
                self.run.stopping = true;
                self.run.close_gate().await;
                false
            }
        }
    }

    async fn until_healthy(&mut self, app: &mut Web) -> Result<(), NotHealthy> {
        tracing::info!(
            pid = app.app.pid(),
            port = app.address.port(),
            "app started"
        );
        let mut last = String::from("nothing was asked");
        let address = app.address;
        let deadline = app.app.started + self.run.config.start_time;
        let outcome = tokio::select! {
            exit = app.app.exited() => Err(NotHealthy::Died(exit)),
            () = self.run.signals.stop() => Err(NotHealthy::Stop),
            () = self.run.config.health.wait(address, &mut last) => Ok(()),
            () = self.services.pause_needed() => Err(NotHealthy::Pause),
            () = tokio::time::sleep_until(deadline) => Err(NotHealthy::Late(String::new())),
        };
        match outcome {
            Err(NotHealthy::Late(_)) => Err(NotHealthy::Late(last)),
            Ok(()) => {
                let after_ms = app.app.started.elapsed().as_millis() as u64;
                tracing::info!(after_ms, "app healthy; requests pass");
                Ok(())
            }
            other => other,
        }
    }

    async fn until_ended(&mut self, app: &mut Web) -> Ended {
        loop {
            tokio::select! {
                exit = app.app.exited() => return Ended::Died(exit),
                request = self.run.signals.next() => return Ended::Asked(request),
                () = self.services.pause_needed() => {
                    self.run.gate.hold();
                    if self.services.is_pause_needed().await {
                        return Ended::Pause;
                    }
                    self.run.gate.open(app.address);
                }
            }
        }
    }

    /// Stops the app so that it can be started again: requests wait, those in the app finish. False
    /// if asked to stop meanwhile: the gate is closed then.
    async fn retire(&mut self, app: &mut Web) -> bool {
        self.run.gate.hold();
        tokio::select! {
            drained = self.run.gate.drain(self.run.config.drain_time) => {
                if !drained {
                    tracing::warn!("some requests did not finish in time");
                }
            }
            () = self.run.signals.stop() => self.run.stopping = true,
        }
        self.stop_all(app).await;
        if self.run.stopping {
            self.run.gate.refuse();
            self.run.close_gate().await;
        }
        !self.run.stopping
    }

    /// Stops accepting, drains, stops the app. The code is the app's own; an app that ended by the
    /// very signal it was sent ended well.
    async fn shut_down(&mut self, mut app: Web) -> u8 {
        self.run.stopping = true;
        tracing::info!("stopping: no new requests");
        self.run.close_gate().await;
        let exit = self.stop_all(&mut app).await;
        let sent = [15, 9].map(Exit::Signal);
        let code = if sent.contains(&exit) { 0 } else { exit.code() };
        tracing::info!(app = %exit, "stopped");
        code
    }

    async fn stop_all(&mut self, app: &mut Web) -> Exit {
        let (app, workers) = (Some(&mut app.app), Some(&mut self.workers));
        self.run.stop_app(app, workers).await
    }

    async fn stop_workers(&mut self) {
        if self.workers.are_started() {
            self.run.stop_app(None, Some(&mut self.workers)).await;
        }
    }

    async fn give_up_waiting(&mut self, mut app: Web, last: String) -> Error {
        let waited = Instant::now() - app.app.started;
        self.run.stopping = true;
        self.stop_all(&mut app).await;
        Error::NeverHealthy {
            path: self.run.config.health.path().into(),
            last,
            waited,
            tail: app.app.tail.last_lines().await,
        }
    }
}
