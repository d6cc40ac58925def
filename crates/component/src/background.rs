//! The one thread of a component's handle, for work that no caller waits for:
//! upkeep, heartbeats, following a file.
//!
//! The thread is started when it is first needed, and sleeps without a timeout
//! while nothing is due.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// Runs the tasks of one handle on a thread of its own. Dropping it stops them.
#[derive(Debug)]
pub struct Background {
    /// The thread's name.
    name: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Idle,
    Running {
        runtime: Handle,
        /// Dropped to stop the thread.
        _stop: oneshot::Sender<()>,
        thread: JoinHandle<()>,
    },
    Stopped,
}

/// Why a task was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The handle was closed.
    #[error("the handle is closed")]
    Stopped,
    /// The system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl Background {
    /// Starts nothing yet. `name` is the thread's, at most 15 bytes.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            state: Mutex::new(State::Idle),
        }
    }

    /// Runs a task until it ends or all are stopped. A task may block the
    /// thread for some milliseconds; the other tasks wait for it.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<(), SpawnError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Idle = *state {
            *state = self.start()?;
        }
        match &*state {
            State::Running { runtime, .. } => {
                runtime.spawn(task);
                Ok(())
            }
            State::Idle | State::Stopped => Err(SpawnError::Stopped),
        }
    }

    fn start(&self) -> Result<State, SpawnError> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name(self.name.into())
            .spawn(move || {
                // An error: the sender was dropped. The tasks are dropped with
                // the runtime.
                let _ = runtime.block_on(stopped);
            })?;
        Ok(State::Running {
            runtime: handle,
            _stop: stop,
            thread,
        })
    }

    /// Ends all tasks where they wait, and refuses new ones. `join` waits until
    /// the thread has ended, unless this is that thread.
    pub fn stop(&self, join: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *state, State::Stopped);
        drop(state);
        if let State::Running { _stop, thread, .. } = before {
            drop(_stop);
            if join && thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// Work that is due now and then; run by [`upkeep`].
pub trait Upkeep: Send {
    /// What a round may fail with.
    type Error: Send;

    /// Does what is due. Returns when more will be; `None`: only once it is
    /// woken.
    fn round(&mut self) -> impl Future<Output = Result<Option<Instant>, Self::Error>> + Send;

    /// Notified when something may be due earlier than a round said.
    fn wake(&self) -> &Notify;

    /// True for an error after which there is nothing left to do: the handle
    /// was closed.
    fn is_final(error: &Self::Error) -> bool;
}

/// Runs rounds until one fails with a final error. After any other error the
/// next round comes after `retry_after`.
pub async fn upkeep<U: Upkeep>(mut work: U, retry_after: Duration) {
    loop {
        match work.round().await {
            Ok(None) => work.wake().notified().await,
            Ok(Some(at)) => {
                tokio::select! {
                    () = work.wake().notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                }
            }
            Err(error) if U::is_final(&error) => return,
            Err(_) => tokio::time::sleep(retry_after).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[derive(Debug, PartialEq)]
    enum Failure {
        Passing,
        Final,
    }

    /// Does what its script says, a round for each entry, and reports each round.
    struct Scripted {
        script: std::vec::IntoIter<Result<Option<Duration>, Failure>>,
        rounds: Sender<usize>,
        count: usize,
        wake: Arc<Notify>,
    }

    impl Upkeep for Scripted {
        type Error = Failure;

        async fn round(&mut self) -> Result<Option<Instant>, Failure> {
            self.count += 1;
            self.rounds.send(self.count).unwrap();
            let next = self.script.next().unwrap_or(Err(Failure::Final))?;
            Ok(next.map(|after| Instant::now() + after))
        }

        fn wake(&self) -> &Notify {
            &self.wake
        }

        fn is_final(error: &Failure) -> bool {
            *error == Failure::Final
        }
    }

    fn run(
        background: &Background,
        script: Vec<Result<Option<Duration>, Failure>>,
    ) -> (Receiver<usize>, Arc<Notify>) {
        let (rounds, seen) = channel();
        let wake = Arc::new(Notify::new());
        let work = Scripted {
            script: script.into_iter(),
            rounds,
            count: 0,
            wake: Arc::clone(&wake),
        };
        background
            .spawn(upkeep(work, Duration::from_millis(1)))
            .unwrap();
        (seen, wake)
    }

    #[test]
    fn a_round_comes_when_it_is_due_when_woken_and_after_an_error() {
        let background = Background::new("test");
        let soon = Some(Duration::from_millis(1));
        let (seen, wake) = run(&background, vec![Ok(soon), Err(Failure::Passing), Ok(None)]);
        for round in 1..=3 {
            assert_eq!(seen.recv_timeout(LONG), Ok(round));
        }
        wake.notify_one();
        // The script has ended: its last error is final.
        assert_eq!(seen.recv_timeout(LONG), Ok(4));
        assert!(seen.recv_timeout(LONG).is_err(), "the work is dropped");
    }

    #[test]
    fn a_stopped_thread_drops_its_tasks_and_takes_no_more() {
        let background = Background::new("test");
        let (seen, _wake) = run(&background, vec![Ok(None)]);
        assert_eq!(seen.recv_timeout(LONG), Ok(1));
        background.stop(true);
        assert!(seen.recv_timeout(LONG).is_err());
        let refused = background.spawn(async {});
        assert!(matches!(refused, Err(SpawnError::Stopped)));
    }
}
