//! The workers of one handle, so that they can be stopped together.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Tells a worker that it should stop, and when at the latest.
type Stop = watch::Sender<Option<Duration>>;

#[derive(Debug, Default)]
pub(crate) struct Workers {
    running: Mutex<Vec<Arc<Stop>>>,
}

impl Workers {
    /// Takes a worker in; it runs as long as there is a receiver.
    pub(super) fn add(&self, stop: Arc<Stop>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|stop| !stop.is_closed());
        running.push(stop);
    }

    /// Stops all of them, and waits until they have.
    pub(crate) async fn shutdown(&self, deadline: Duration) {
        let running = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *running)
        };
        for stop in &running {
            stop.send_replace(Some(deadline));
        }
        for stop in running {
            // Closed with the dispatcher, which is its last act.
            stop.closed().await;
        }
    }
}
