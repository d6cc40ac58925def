//! What the clones of a handle share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::background::Background;
use crate::dispatch::Dispatcher;
use crate::engine::Engine;
use crate::file::Opened;
use crate::keeper::Keeper;
use crate::{Error, PubSubOptions, Result, tailer};

pub(crate) struct Inner {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) background: Background,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) options: PubSubOptions,
    pub(crate) opened: Opened,
    /// True once there is a tailer.
    pub(crate) tailing: Mutex<bool>,
    pub(crate) closed: AtomicBool,
    pub(crate) pid: u32,
}

impl Inner {
    /// Errors where this handle can no longer be used.
    pub(crate) fn check(&self) -> Result<()> {
        if self.pid != std::process::id() {
            return Err(Error::Forked);
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Closed);
        }
        Ok(())
    }

    /// Starts the tailer, the first time.
    pub(crate) fn tail(&self) -> Result<()> {
        let mut tailing = self.tailing.lock().unwrap_or_else(PoisonError::into_inner);
        if !*tailing {
            let task = tailer::run(Arc::clone(&self.engine), Arc::clone(&self.dispatcher));
            self.background.spawn(task)?;
            *tailing = true;
        }
        Ok(())
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

impl Drop for Inner {
    fn drop(&mut self) {
        // The threads did not come along into a fork.
        if self.pid != std::process::id() || self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        self.background.stop(false);
        let engine = Arc::clone(&self.engine);
        // Whoever drops may be async. The file stays marked as in use until it
        // is closed.
        let _ = std::thread::Builder::new()
            .name("monolite-pubsub-close".into())
            .spawn(move || engine.close_blocking());
    }
}
