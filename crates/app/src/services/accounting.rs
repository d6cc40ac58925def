//! Every SQLite file that the app has open is accounted for, see [`crate::accounting`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use monolite_gate::health::Severity;
use monolite_supervisor::{Error, Run, Service, Started};

use crate::accounting::{Findings, Monitor, Options};

/// Longest time to rescue what an app left, and to copy its logs, at the end.
const STOP_TIME_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Accounting {
    /// Taken at the start.
    options: Option<Options>,
    running: Option<Monitor>,
    findings: Arc<Findings>,
}

impl Accounting {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            findings: options.findings.clone(),
            options: Some(options),
            running: None,
        }
    }
}

#[async_trait(?Send)]
impl Service for Accounting {
    fn name(&self) -> &'static str {
        "files"
    }

    async fn start(&mut self, run: &mut Run) -> Result<Started, Error> {
        let Some(mut options) = self.options.take() else {
            return Ok(Started::Yes);
        };
        // As `/proc` names it.
        if let Ok(real) = options.volume.canonicalize() {
            options.volume = real;
        }
        let monitor = Monitor::start(options).map_err(|source| Error::Io {
            what: "watch the files of the databases",
            source,
        })?;
        let findings = self.findings.clone();
        let health = run.gate().health();
        health.register(self.name(), Severity::Advisory, move || findings.report());
        self.running = Some(monitor);
        Ok(Started::Yes)
    }

    async fn pause_needed(&self) {
        match &self.running {
            Some(monitor) => monitor.pause_needed().await,
            None => std::future::pending().await,
        }
    }

    async fn is_pause_needed(&self) -> bool {
        self.running.as_ref().is_some_and(Monitor::is_pause_needed)
    }

    async fn while_paused(&self) {
        if let Some(monitor) = &self.running {
            monitor.while_paused().await;
        }
    }

    async fn stop(&mut self) {
        if let Some(monitor) = self.running.take() {
            monitor.while_paused().await;
            let _ = tokio::task::spawn_blocking(|| drop(monitor)).await;
        }
    }

    fn stop_time(&self) -> Duration {
        STOP_TIME_MAX
    }

    fn exit_code(&self) -> u8 {
        self.findings.exit_code()
    }
}
