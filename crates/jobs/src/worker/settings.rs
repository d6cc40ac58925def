//! How a worker works: its queues, handlers and bounds.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::context::Context;
use super::failure::Failure;
use crate::Backoff;
use crate::event::Event;
use crate::new_job::millis;
use crate::ops::Retention;

/// A handler's result: JSON text if there is one worth keeping.
pub(super) type Outcome = Result<Option<String>, Failure>;

/// A handler as the worker keeps it.
pub(super) type Handler =
    Arc<dyn Fn(Context) -> Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

pub(super) type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// The settings of one worker.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(super) name: String,
    /// Each with the most jobs of it that run at one time.
    pub(super) queues: Vec<(String, usize)>,
    /// By the kind of job.
    pub(super) handlers: HashMap<String, Handler>,
    pub(super) rules: Rules,
    pub(super) lease: Duration,
    pub(super) max_crashes: u32,
    pub(super) retention: Retention,
    pub(super) observer: Option<Observer>,
}

/// How a job is run that does not say otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) max_attempts: u32,
    pub(super) timeout: Duration,
    pub(super) backoff: Backoff,
    /// Time to end by itself for a job that was cancelled.
    pub(super) grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: format!("process {}", std::process::id()),
            queues: Vec::new(),
            handlers: HashMap::new(),
            rules: Rules {
                max_attempts: 20,
                timeout: Duration::from_secs(3600),
                backoff: Backoff::default(),
                grace: Duration::from_secs(5),
            },
            lease: Duration::from_secs(20),
            max_crashes: 3,
            retention: Retention {
                done_ms: millis(Duration::from_secs(24 * 3600)),
                dead_ms: millis(Duration::from_secs(30 * 24 * 3600)),
            },
            observer: None,
        }
    }
}
