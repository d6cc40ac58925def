//! Workers that run, and how they are stopped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Asks a worker to stop within the time given.
type Stop = watch::Sender<Option<Duration>>;

/// A running worker. Dropping it is a shutdown with no time left: what runs is
/// stopped and handed back, in the background.
#[derive(Debug)]
#[must_use = "dropping it stops the worker"]
pub struct Worker {
    stop: Arc<Stop>,
    task: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn new(stop: Arc<Stop>, task: JoinHandle<()>) -> Self {
        Self {
            stop,
            task: Some(task),
        }
    }

    /// Claims nothing more, hands back what has not started, lets the rest run
    /// for at most `deadline`, and hands back what has not ended by then.
    pub async fn shutdown(mut self, deadline: Duration) {
        self.stop.send_replace(Some(deadline));
        if let Some(task) = self.task.take() {
            // An error means that the runtime ends, and the worker with it.
            let _ = task.await;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.task.is_some() {
            self.stop.send_replace(Some(Duration::ZERO));
        }
    }
}

/// The workers started through one handle, so that they can be stopped together.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    running: Mutex<Vec<Arc<Stop>>>,
}

impl Workers {
    /// Adds a worker; it runs as long as its channel has a receiver.
    pub(super) fn add(&self, stop: Arc<Stop>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|stop| !stop.is_closed());
        running.push(stop);
    }

    /// Stops all of them, and waits until they have ended.
    pub(crate) async fn shutdown(&self, deadline: Duration) {
        let running = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *running)
        };
        for stop in &running {
            stop.send_replace(Some(deadline));
        }
        for stop in running {
            // Closed when the dispatcher is dropped, at its very end.
            stop.closed().await;
        }
    }
}
