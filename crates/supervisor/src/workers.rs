//! The workers of a run: each in a task of its own, started again by its policy, so that the death of
//! one concerns neither the web nor another worker.
//!
//! They start with the app, at the same time, and are stopped with it. A worker is never given up:
//! one that dies over and over is started once a minute, and the health page says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use monolite_gate::health::{Health, Report, Severity};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Config;
use crate::app::{App, Processes, Program};
use crate::backoff::Backoff;
use crate::config::{Restart, Worker};
use crate::exit::Exit;

/// The part of the health page.
const PART: &str = "processes";

/// What all workers are asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ask {
    Work,
    Stop,
    Kill,
}

/// The workers of a run.
pub(crate) struct Workers {
    config: Arc<Config>,
    processes: Processes,
    states: Arc<States>,
    ask: watch::Sender<Ask>,
    tasks: Vec<JoinHandle<()>>,
}

impl Workers {
    /// The workers of `config`, not started yet, as a part of `health`.
    pub(crate) fn new(config: &Arc<Config>, processes: &Processes, health: &Health) -> Self {
        let states = Arc::new(States::default());
        if !config.workers.is_empty() {
            let states = Arc::clone(&states);
            health.register(PART, Severity::Advisory, move || states.report());
        }
        Self {
            config: Arc::clone(config),
            processes: processes.clone(),
            states,
            ask: watch::Sender::new(Ask::Work),
            tasks: Vec::new(),
        }
    }

    /// Starts all, unless they have been.
    pub(crate) fn start(&mut self) {
        if self.are_started() {
            return;
        }
        self.ask.send_replace(Ask::Work);
        for worker in &self.config.workers {
            let life = Life {
                worker: worker.clone(),
                config: Arc::clone(&self.config),
                processes: self.processes.clone(),
                states: Arc::clone(&self.states),
                ask: self.ask.subscribe(),
            };
            self.tasks.push(tokio::spawn(life.live()));
        }
    }

    /// Whether they have been started, and not stopped since.
    pub(crate) fn are_started(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Asks all to end, or kills them; [`stopped`](Self::stopped) waits for it.
    pub(crate) fn stop(&self, at_once: bool) {
        let ask = if at_once { Ask::Kill } else { Ask::Stop };
        self.ask.send_replace(ask);
    }

    /// Kills all, also while [`stopped`](Self::stopped) waits.
    pub(crate) fn killer(&self) -> impl Fn() + use<> {
        let ask = self.ask.clone();
        move || {
            ask.send_replace(Ask::Kill);
        }
    }

    /// Comes when nothing of them is left, after [`stop`](Self::stop).
    pub(crate) async fn stopped(&mut self) {
        join_all(&mut self.tasks).await;
        self.tasks.clear();
    }
}

/// One worker, from its start with the app to its stop.
struct Life {
    worker: Worker,
    config: Arc<Config>,
    processes: Processes,
    states: Arc<States>,
    ask: watch::Receiver<Ask>,
}

/// How one process of a worker ended that was not asked to.
struct Death {
    how: String,
    succeeded: bool,
    lived: Duration,
}

impl Life {
    async fn live(mut self) {
        let mut backoff = Backoff::default();
        while let Some(death) = self.live_once().await {
            let name = &*self.worker.name;
            let is_over = match self.worker.restart {
                Restart::Always => false,
                Restart::OnFailure => death.succeeded,
                Restart::Never => true,
            };
            let how = death.how;
            if is_over {
                match death.succeeded {
                    true => tracing::info!(process = name, "has ended, and is not started again"),
                    false => tracing::error!(
                        process = name,
                        exit = how,
                        "has failed, and is not started again"
                    ),
                }
                self.states.ended(name, (!death.succeeded).then_some(how));
                break;
            }
            let was_loop = backoff.is_loop();
            let wait = backoff.wait_after(death.lived);
            let restart_in_ms = wait.as_millis() as u64;
            let deaths = backoff.deaths;
            if backoff.is_loop() && !was_loop {
                tracing::error!(
                    process = name,
                    exit = how,
                    deaths,
                    "dies again and again; it is started at most once a minute from here on"
                );
            } else {
                tracing::warn!(
                    process = name,
                    exit = how,
                    restart_in_ms,
                    "has died; the web goes on"
                );
            }
            let in_a_row = backoff.is_loop().then_some(deaths);
            self.states.died(name, how, in_a_row);
            if self.asked_to_stop_within(wait).await {
                break;
            }
        }
        self.states.stopped(&self.worker.name);
    }

    /// One process, from its start to its end; `None` if it was asked to stop.
    async fn live_once(&mut self) -> Option<Death> {
        // Without one it has at least not the public one.
        let port = self.processes.free_port(&self.worker.name, None).ok();
        let program = Program {
            name: &self.worker.name,
            command: &self.worker.command,
            environment: &self.worker.environment,
            port,
        };
        let mut app = match App::start(&self.config, &self.processes, program) {
            Ok(app) => app,
            Err(error) => {
                return Some(Death {
                    how: error.to_string(),
                    succeeded: false,
                    lived: Duration::ZERO,
                });
            }
        };
        tracing::info!(process = self.worker.name, pid = app.pid(), "started");
        self.states.runs(&self.worker.name);
        tokio::select! {
            exit = app.exited() => {
                // What it left behind would work next to its successor.
                app.kill().await;
                Some(Death {
                    how: exit.to_string(),
                    succeeded: exit == Exit::Code(0),
                    lived: app.started.elapsed(),
                })
            }
            () = asked(&mut self.ask, Ask::Stop) => {
                let limit = self.worker.stop_time.unwrap_or(self.config.stop_time);
                app.stop(limit, asked(&mut self.ask, Ask::Kill)).await;
                None
            }
        }
    }

    async fn asked_to_stop_within(&mut self, wait: Duration) -> bool {
        let stop = asked(&mut self.ask, Ask::Stop);
        tokio::time::timeout(wait, stop).await.is_ok()
    }
}

/// Comes when `least` is asked for, or more.
async fn asked(ask: &mut watch::Receiver<Ask>, least: Ask) {
    // The sender lives as long as the run; without it there is nobody to work for.
    let _ = ask.wait_for(|ask| *ask >= least).await;
}

/// How the workers are, for the health page.
#[derive(Default)]
struct States(Mutex<BTreeMap<String, State>>);

#[derive(Default)]
struct State {
    /// `running`, `waiting` for its next start, `ended`, `stopped`.
    word: &'static str,
    restarts: u64,
    /// What is wrong with it.
    problem: Option<String>,
}

impl States {
    fn change(&self, name: &str, change: impl FnOnce(&mut State)) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(states.entry(name.to_owned()).or_default());
    }

    fn runs(&self, name: &str) {
        self.change(name, |state| state.word = "running");
    }

    /// It will be started again; `in_a_row` is set if it does not get anywhere.
    fn died(&self, name: &str, how: String, in_a_row: Option<u32>) {
        self.change(name, |state| {
            state.word = "waiting";
            state.restarts += 1;
            state.problem = in_a_row
                .map(|deaths| format!("is in a restart loop: {how}, {deaths} times in a row"));
        });
    }

    fn ended(&self, name: &str, how: Option<String>) {
        self.change(name, |state| {
            state.word = "ended";
            state.problem = how.map(|how| format!("has failed: {how}"));
        });
    }

    fn stopped(&self, name: &str) {
        self.change(name, |state| {
            if state.word != "ended" {
                state.word = "stopped";
            }
        });
    }

    fn report(&self) -> Report {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let problems: Vec<String> = states
            .iter()
            .filter_map(|(name, state)| Some(format!("{name} {}", state.problem.as_deref()?)))
            .collect();
        let report = match problems.is_empty() {
            true => Report::ok(),
            false => Report::degraded(problems.join("; ")),
        };
        states.iter().fold(report, |report, (name, state)| {
            let fact: Value = json!({"state": state.word, "restarts": state.restarts});
            report.fact(name, fact)
        })
    }
}

#[cfg(test)]
mod tests {
    use monolite_gate::health::Condition;

    use super::*;

    #[test]
    fn the_health_page_names_who_is_in_a_loop_until_it_works_again() {
        let states = States::default();
        states.runs("mailer");
        states.runs("queue");
        assert_eq!(states.report().condition(), &Condition::Ok);
        states.died("queue", "exited with code 1".into(), None);
        assert_eq!(states.report().condition(), &Condition::Ok);
        states.died("queue", "exited with code 1".into(), Some(5));
        states.runs("queue");
        let expected = "queue is in a restart loop: exited with code 1, 5 times in a row";
        assert_eq!(
            states.report().condition(),
            &Condition::Degraded(expected.into())
        );
        let facts = states.report();
        assert_eq!(facts.facts()["queue"]["restarts"], 2);
        assert_eq!(facts.facts()["mailer"]["state"], "running");
        // It lived long enough for its next death to be the first in a row.
        states.died("queue", "exited with code 1".into(), None);
        assert_eq!(states.report().condition(), &Condition::Ok);
        states.ended("mailer", Some("exited with code 3".into()));
        let expected = "mailer has failed: exited with code 3";
        assert_eq!(
            states.report().condition(),
            &Condition::Degraded(expected.into())
        );
        states.stopped("mailer");
        assert_eq!(states.report().facts()["mailer"]["state"], "ended");
    }
}
