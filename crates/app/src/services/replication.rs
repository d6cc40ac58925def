//! Replicas: nothing is restored or served before the leases are had; what is missing on the volume is
//! restored before the app starts, every commit is stored while it runs, and a database whose file is
//! deleted comes back. If another machine takes a lease over, the app is stopped until it is had again.

use std::time::Duration;

use async_trait::async_trait;
use monolite_gate::health::Severity;
use monolite_supervisor::{Error, Exit, Run, Service, Started};
use tokio::time::Instant;

use crate::replication::Replicated;

/// How long a file that is deleted may be gone until it counts: one that is swapped for another in
/// two steps is back within this time.
const SWAP_TIME: Duration = Duration::from_millis(100);

pub(crate) struct ReplicationService {
    pub(crate) replicated: Replicated,
}

#[async_trait(?Send)]
impl Service for ReplicationService {
    fn name(&self) -> &'static str {
        "replica"
    }

    async fn start(&mut self, run: &mut Run) -> Result<Started, Error> {
        let health = self.replicated.health();
        // A replica that fails is no reason to take the app out of service.
        run.gate()
            .health()
            .register(self.name(), Severity::Advisory, health);
        let gate = run.gate().clone();
        let in_use = move || gate.stats().in_flight > 0;
        run.gate()
            .set_precondition(self.replicated.precondition(in_use));
        tokio::select! {
            started = self.replicated.start() => match started {
                Ok(()) => Ok(Started::Yes),
                Err(error) => Err(Error::service("replica", error)),
            },
            () = run.stop_requested() => {
                tracing::warn!("stopped before all databases were there");
                self.replicated.give_up().await;
                Ok(Started::Stopped(Exit::Code(0)))
            }
        }
    }

    async fn pause_needed(&self) {
        tokio::select! {
            () = self.replicated.deleted() => {}
            () = self.replicated.fenced() => {}
        }
    }

    async fn is_pause_needed(&self) -> bool {
        if self.replicated.is_fenced() {
            return true;
        }
        let until = Instant::now() + SWAP_TIME;
        while !self.replicated.restorable().is_empty() && Instant::now() < until {
            tokio::time::sleep(SWAP_TIME / 10).await;
        }
        !self.replicated.restorable().is_empty()
    }

    async fn while_paused(&self) {
        if self.replicated.is_fenced() {
            // What is missing is restored on the way.
            return self.replicated.begin_again().await;
        }
        self.replicated.restore_deleted().await;
    }

    async fn stop(&mut self) {
        self.replicated.stop().await;
    }

    fn stop_time(&self) -> Duration {
        self.replicated.stop_time()
    }

    fn exit_code(&self) -> u8 {
        u8::from(!self.replicated.is_all_stored())
    }
}
