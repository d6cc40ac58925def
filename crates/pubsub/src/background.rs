//! The one thread of a handle: tailer, relays and heartbeats. It is started
//! when first needed, and sleeps when there is nothing to do.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::{Error, Result};

#[derive(Debug, Default)]
pub(crate) struct Background {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Running {
        runtime: Handle,
        stop: oneshot::Sender<()>,
        thread: JoinHandle<()>,
    },
    Stopped,
}

impl Background {
    /// Runs a task until it ends or all are stopped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Idle = *state {
            *state = start()?;
        }
        match &*state {
            State::Running { runtime, .. } => {
                runtime.spawn(task);
                Ok(())
            }
            _ => Err(Error::Closed),
        }
    }

    /// Ends the tasks where they wait. `join` waits for that; not to be done
    /// on the thread itself.
    pub(crate) fn stop(&self, join: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *state, State::Stopped);
        drop(state);
        if let State::Running { stop, thread, .. } = before {
            drop(stop);
            if join && thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

fn start() -> Result<State> {
    let failed = |source| Error::Io {
        what: "start the thread of",
        path: "pub/sub".into(),
        source,
    };
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(failed)?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new()
        .name("monolite-pubsub".into())
        .spawn(move || {
            let _ = runtime.block_on(stopped);
        })
        .map_err(failed)?;
    Ok(State::Running {
        runtime: handle,
        stop,
        thread,
    })
}
