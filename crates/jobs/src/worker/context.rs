//! What a handler gets with the payload: the job's facts, and the signal to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use crate::ops::Claimed;
use crate::{Error, JobId, Jobs, Result};

/// Asks a running job to end.
#[derive(Debug, Default)]
pub(super) struct Signal {
    /// A [`StopReason`], or 0.
    raised: AtomicU8,
    notify: Notify,
}

/// Why a job should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StopReason {
    /// It was cancelled.
    Cancelled = 1,
    /// Its worker ends, or has lost its lease: another one will run it.
    HandedBack = 2,
}

impl Signal {
    /// The first reason counts.
    pub(super) fn raise(&self, reason: StopReason) {
        let _ = self
            .raised
            .compare_exchange(0, reason as u8, Ordering::SeqCst, Ordering::SeqCst);
        self.notify.notify_waiters();
    }

    pub(super) fn reason(&self) -> Option<StopReason> {
        match self.raised.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(StopReason::Cancelled),
            _ => Some(StopReason::HandedBack),
        }
    }

    pub(super) async fn raised(&self) -> StopReason {
        loop {
            let mut notified = std::pin::pin!(self.notify.notified());
            // Registered before the flag is read, so that no signal is missed.
            notified.as_mut().enable();
            match self.reason() {
                Some(reason) => return reason,
                None => notified.await,
            }
        }
    }
}

/// The job that a handler runs: its number and attempt, a way to report
/// progress, and the signal to end.
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

    /// The handle on the jobs, to enqueue more.
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

    /// Records how far the job has come: a share from 0 to 1, and a few words.
    /// One small commit.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn progress(&self, share: f64, note: impl Into<String>) -> Result<()> {
        let (id, run, note) = (self.job.id, self.job.run, note.into());
        let engine = self.jobs.engine();
        engine.progress(id, run, share, note).await.map(drop)
    }

    /// True once the job should end: it was cancelled, its worker shuts down
    /// and the deadline has passed, or its lease was lost.
    pub fn is_cancelled(&self) -> bool {
        self.signal.reason().is_some()
    }

    /// Waits until the job should end. A handler that returns an error soon after
    /// ends in order, as cancelled or handed back; one that returns `Ok` is done,
    /// and its chain goes on; one that does not return is dropped.
    pub async fn cancelled(&self) {
        self.signal.raised().await;
    }
}
