//! What the clones of a handle share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use monolite_component::{Background, Opened};

use super::dispatch::{self, Dispatcher};
use super::engine::Engine;
use super::heartbeat::Heartbeat;
use super::options::PubSubOptions;
use crate::{Error, Result};

pub(crate) struct Shared {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) background: Background,
    pub(crate) heartbeat: Arc<Heartbeat>,
    pub(crate) options: PubSubOptions,
    pub(crate) opened: Opened,
    /// True once the task that reads new messages was started.
    tailing: Mutex<bool>,
    closed: AtomicBool,
    /// The process whose threads these are.
    pid: u32,
}

impl Shared {
    pub(crate) fn new(engine: Arc<dyn Engine>, options: PubSubOptions, opened: Opened) -> Self {
        let heartbeat = Heartbeat::new(Arc::clone(&engine), options.presence_lease);
        Self {
            heartbeat: Arc::new(heartbeat),
            engine,
            dispatcher: Arc::default(),
            background: Background::new("monolite-pubsub"),
            options,
            opened,
            tailing: Mutex::new(false),
            closed: AtomicBool::new(false),
            pid: std::process::id(),
        }
    }

    /// Fails if this handle can no longer be used.
    pub(crate) fn check(&self) -> Result<()> {
        if self.pid != std::process::id() {
            return Err(Error::Forked);
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        Ok(())
    }

    /// Starts to read new messages, the first time.
    pub(crate) fn start_tailing(&self) -> Result<()> {
        let mut tailing = self.tailing.lock().unwrap_or_else(PoisonError::into_inner);
        if !*tailing {
            let task = dispatch::tail(Arc::clone(&self.engine), Arc::clone(&self.dispatcher));
            self.background.spawn(task)?;
            *tailing = true;
        }
        Ok(())
    }

    /// Starts the heartbeat, the first time.
    pub(crate) fn start_heartbeat(&self) -> Result<()> {
        self.check()?;
        self.heartbeat.start(&self.background)
    }

    pub(crate) fn close(&self, join: bool) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.dispatcher.close();
        self.background.stop(join);
        self.engine.close_blocking();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // A forked child has none of the threads.
        if self.pid != std::process::id() || self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.background.stop(false);
        let engine = Arc::clone(&self.engine);
        // Closing blocks, and the handle may be dropped in async code. Until
        // it is done the file stays marked as in use.
        let _ = std::thread::Builder::new()
            .name("monolite-pubsub-close".into())
            .spawn(move || engine.close_blocking());
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("engine", &self.engine)
            .field("subscribers", &self.dispatcher.len())
            .finish_non_exhaustive()
    }
}
