//! What a handler knows of its job beside the payload.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::ops::Claimed;
use crate::{Error, JobId, Jobs, Result};

/// Tells a running job that it should end.
#[derive(Debug, Default)]
pub(super) struct Signal {
    raised: AtomicBool,
    notify: Notify,
}

impl Signal {
    pub(super) fn raise(&self) {
        self.raised.store(true, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    pub(super) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }

    pub(super) async fn raised(&self) {
        let mut notified = std::pin::pin!(self.notify.notified());
        // In line before looking, so that no signal falls in between.
        notified.as_mut().enable();
        if !self.is_raised() {
            notified.await;
        }
    }
}

/// The job a handler runs: its number, its attempt, its way to tell of
/// progress and to learn that it should end.
#[derive(Debug, Clone)]
pub struct Context {
    pub(super) job: Arc<Claimed>,
    pub(super) jobs: Jobs,
    pub(super) signal: Arc<Signal>,
}

impl Context {
    /// The job's number.
    pub fn id(&self) -> JobId {
        self.job.id
    }

    /// The number of this attempt; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.job.attempt
    }

    /// The job's kind.
    pub fn kind(&self) -> &str {
        &self.job.kind
    }

    /// The queue it came from.
    pub fn queue(&self) -> &str {
        &self.job.queue
    }

    /// The payload as JSON text.
    pub fn payload(&self) -> &str {
        &self.job.payload
    }

    /// The jobs it is one of, to enqueue more.
    pub fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// The result of the job before in a chain, or a batch's counts; `None`
    /// if there is none.
    ///
    /// # Errors
    /// [`Error::Json`] if it is not of this type.
    pub fn input<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let parse = |text: &String| serde_json::from_str(text);
        let input = self.job.input.as_ref().map(parse).transpose();
        input.map_err(Error::json("read the input"))
    }

    /// Tells how far the job has come: a share from 0 to 1, and a few words.
    /// One small commit.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn progress(&self, share: f64, note: impl Into<String>) -> Result<()> {
        let (id, run, note) = (self.job.id, self.job.run, Some(note.into()));
        let engine = self.jobs.engine();
        engine.progress(id, run, share, note).await.map(drop)
    }

    /// True once the job should end: it was cancelled, its worker shuts down
    /// and the deadline has passed, or its lease was lost.
    pub fn is_cancelled(&self) -> bool {
        self.signal.is_raised()
    }

    /// Waits until the job should end. A handler that returns soon after ends
    /// in order; one that does not is dropped.
    pub async fn cancelled(&self) {
        self.signal.raised().await;
    }
}
