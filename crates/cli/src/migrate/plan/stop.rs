//! A plan that is ended by a signal.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use monolite_replica::backup::Cancel;
use rusqlite::{Connection, InterruptHandle};

use crate::{Failure, task};

/// Ends what is being done, from another thread.
#[derive(Clone, Default)]
pub(super) struct Stop {
    pub(super) cancel: Cancel,
    trying: Arc<Mutex<Option<InterruptHandle>>>,
}

impl Stop {
    /// What `conn` does from now on can be ended.
    pub(super) fn watch(&self, conn: &Connection) {
        *self.trying.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(conn.get_interrupt_handle());
    }

    fn now(&self) {
        self.cancel.cancel();
        let trying = self.trying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trying) = &*trying {
            trying.interrupt();
        }
    }
}

/// Does `work` on a thread of its own; a signal ends it, and waits until it has
/// removed its copy.
pub(super) fn stoppable(
    work: impl FnOnce(Stop) -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let stop = Stop::default();
    let for_work = stop.clone();
    task::runtime()?.block_on(async {
        let mut working = tokio::task::spawn_blocking(move || work(for_work));
        tokio::select! {
            done = &mut working => return done?,
            _ = task::asked_to_stop()? => {}
        }
        // Between two statements there is nothing to interrupt.
        loop {
            stop.now();
            tokio::select! {
                _ = &mut working => break,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
        Err(Failure::Error(anyhow!(
            "cancelled by a signal; the copy was removed"
        )))
    })
}

/// Between two tries to end a statement.
const AGAIN: Duration = Duration::from_millis(20);
