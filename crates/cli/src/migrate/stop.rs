//! Work with a database that a signal ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use monolite_replica::backup::Cancel;
use rusqlite::{Connection, InterruptHandle};

use crate::task;

/// Between two tries to end a statement: between two statements there is nothing to interrupt.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Ends what is being done, from another thread.
#[derive(Clone, Default)]
pub(super) struct Stop {
    pub(super) cancel: Cancel,
    busy: Arc<Mutex<Option<InterruptHandle>>>,
}

impl Stop {
    /// What `conn` does from now on can be ended.
    pub(super) fn watch(&self, conn: &Connection) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        *busy = Some(conn.get_interrupt_handle());
    }

    fn now(&self) {
        self.cancel.cancel();
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(busy) = &*busy {
            busy.interrupt();
        }
    }
}

/// Does `work` on a thread of its own, to its end, which a signal brings about. Answers with the
/// name of the signal, too.
pub(super) async fn stoppable<T: Send + 'static>(
    work: impl FnOnce(Stop) -> T + Send + 'static,
) -> anyhow::Result<(T, Option<&'static str>)> {
    let stop = Stop::default();
    let for_work = stop.clone();
    let signals = task::asked_to_stop()?;
    let mut working = tokio::task::spawn_blocking(move || work(for_work));
    let signal = tokio::select! {
        done = &mut working => return Ok((done?, None)),
        signal = signals => signal,
    };
    loop {
        stop.now();
        tokio::select! {
            done = &mut working => return Ok((done?, Some(signal))),
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
    }
}
