//! A job to be enqueued, and its settings.

use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{BatchId, Error, Result};

/// A job's payload as a Rust type.
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct SendMail { to: String }
///
/// impl monolite_jobs::Job for SendMail {
///     const KIND: &'static str = "send_mail";
/// }
/// ```
pub trait Job: Serialize + DeserializeOwned + Send + 'static {
    /// Its name in the table, by which a worker finds the handler. It stays
    /// when the type is renamed.
    const KIND: &'static str;
    /// Queue it goes to, unless [`NewJob::queue`] names another.
    const QUEUE: &'static str = "default";
    /// Priority, unless [`NewJob::priority`] gives another; smaller runs first.
    const PRIORITY: i64 = 0;
    /// Attempts before it is dead; `None` leaves it to the worker (default 20).
    const MAX_ATTEMPTS: Option<u32> = None;
    /// Longest run; `None` leaves it to the worker (default 1 h).
    const TIMEOUT: Option<Duration> = None;

    /// The job to enqueue, to be given a delay, a key and the like.
    ///
    /// # Errors
    /// [`Error::Json`] if the payload cannot be written as JSON.
    fn prepare(&self) -> Result<NewJob> {
        let mut job = NewJob::new(Self::KIND, self)?
            .queue(Self::QUEUE)
            .priority(Self::PRIORITY);
        if let Some(attempts) = Self::MAX_ATTEMPTS {
            job = job.max_attempts(attempts);
        }
        if let Some(timeout) = Self::TIMEOUT {
            job = job.timeout(timeout);
        }
        Ok(job)
    }
}

/// A job that is given by its type or as a [`NewJob`]: whatever recurs
/// ([`WorkerBuilder::cron`](crate::WorkerBuilder::cron)) may be either.
pub trait IntoNewJob {
    /// The job to enqueue.
    ///
    /// # Errors
    /// [`Error::Json`] if the payload cannot be written as JSON.
    fn into_new_job(self) -> Result<NewJob>;
}

impl<J: Job> IntoNewJob for J {
    fn into_new_job(self) -> Result<NewJob> {
        self.prepare()
    }
}

impl IntoNewJob for NewJob {
    fn into_new_job(self) -> Result<NewJob> {
        Ok(self)
    }
}

/// When a job may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) enum When {
    #[default]
    Now,
    /// Milliseconds after it is enqueued.
    After(i64),
    /// Milliseconds since 1970.
    At(i64),
}

/// What to do when another job holds the unique key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum OnConflict {
    /// Enqueue nothing and return the job that is there.
    #[default]
    Keep,
    /// Give the job that is there the new payload, time and priority, unless
    /// it is running or finished: then enqueue another one.
    Replace,
    /// Return [`Error::NotUnique`].
    Refuse,
}

/// A key that only one job may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unique {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) window_ms: i64,
    #[serde(default)]
    pub(crate) on_conflict: OnConflict,
}

impl Unique {
    /// Holds `key` until the job has ended.
    pub fn key(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            window_ms: 0,
            on_conflict: OnConflict::default(),
        }
    }

    /// Holds the key for this long after the enqueue as well, even if the job
    /// has ended by then.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window_ms = millis(window);
        self
    }

    /// What to do when another job holds the key. Default: keep that one.
    #[must_use]
    pub fn on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }
}

/// A job to be enqueued: a kind, a JSON payload, and how to run it.
///
/// Typed ones are made by [`Job::prepare`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewJob {
    pub(crate) queue: String,
    pub(crate) kind: String,
    /// JSON text.
    pub(crate) payload: String,
    // In chains and schedules it is kept as JSON: what a later version adds must
    // have a default, or the rows of an earlier one could not be read.
    #[serde(default)]
    pub(crate) priority: i64,
    #[serde(default)]
    pub(crate) when: When,
    #[serde(default)]
    pub(crate) max_attempts: Option<u32>,
    #[serde(default)]
    pub(crate) timeout_ms: Option<i64>,
    #[serde(default)]
    pub(crate) limit: Option<(String, u32)>,
    #[serde(default)]
    pub(crate) unique: Option<Unique>,
    #[serde(default)]
    pub(crate) next: Vec<NewJob>,
    #[serde(default)]
    pub(crate) batch: Option<BatchId>,
}

/// Longest name of a queue or a kind, and longest key, in bytes.
pub const NAME_MAX: usize = 255;

/// Largest payload or result, in bytes of JSON. Larger data belongs in a table
/// of the app, and its key in the payload.
pub const PAYLOAD_MAX: usize = 8 << 20;

impl NewJob {
    /// A job of this kind with a payload of any type serde can write.
    ///
    /// # Errors
    /// [`Error::Json`].
    pub fn new(kind: impl Into<String>, payload: &(impl Serialize + ?Sized)) -> Result<Self> {
        let payload = serde_json::to_string(payload).map_err(Error::json("write a payload"))?;
        Ok(Self::raw(kind, payload))
    }

    /// A job whose payload is JSON text already; it is not checked.
    pub fn raw(kind: impl Into<String>, payload: impl Into<String>) -> Self {
        Self {
            queue: "default".into(),
            kind: kind.into(),
            payload: payload.into(),
            priority: 0,
            when: When::Now,
            max_attempts: None,
            timeout_ms: None,
            limit: None,
            unique: None,
            next: Vec::new(),
            batch: None,
        }
    }

    /// Puts it in another queue than `default`.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = queue.into();
        self
    }

    /// Smaller runs first; 0 is the default. Equals run in the order of their
    /// ids.
    #[must_use]
    pub fn priority(mut self, priority: i64) -> Self {
        self.priority = priority;
        self
    }

    /// Starts no sooner than this long from now, however the clock is set.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.when = When::After(millis(delay));
        self
    }

    /// Starts no sooner than at this wall time. A `SystemTime` becomes a
    /// [`Timestamp`] by `try_into`.
    #[must_use]
    pub fn at(mut self, time: Timestamp) -> Self {
        self.when = When::At(time.as_millisecond());
        self
    }

    /// Attempts before it is given up as dead; at least 1.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts.max(1));
        self
    }

    /// Longest run; what takes longer counts as failed.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout_ms = Some(millis(timeout).max(1));
        self
    }

    /// Of all jobs with this key, in whatever queue, at most `at_once` are
    /// ready or running; the others wait as `blocked`.
    #[must_use]
    pub fn limit(mut self, key: impl Into<String>, at_once: u32) -> Self {
        self.limit = Some((key.into(), at_once.max(1)));
        self
    }

    /// Holds a key that only one job may hold.
    #[must_use]
    pub fn unique(mut self, unique: Unique) -> Self {
        self.unique = Some(unique);
        self
    }

    /// Enqueues `next` once this one is done, in the same commit. The next
    /// one's handler finds this one's result in its context. Call again for
    /// longer chains; a link that dies ends the chain there.
    #[must_use]
    pub fn then(mut self, next: NewJob) -> Self {
        self.next.push(next);
        self
    }

    /// Checks a link of a chain, or a batch's callback: a worker enqueues it, and
    /// nobody waits there for the error.
    pub(crate) fn check_follower(&self) -> Result<()> {
        if self.unique.is_some() {
            let why = "a link of a chain, or a batch's callback, cannot be unique";
            return Err(Error::invalid("cannot enqueue", why));
        }
        self.check()
    }

    pub(crate) fn check(&self) -> Result<()> {
        let keys = [
            ("queue", Some(&self.queue)),
            ("kind", Some(&self.kind)),
            ("limit key", self.limit.as_ref().map(|(key, _)| key)),
            ("unique key", self.unique.as_ref().map(|unique| &unique.key)),
        ];
        for (what, name) in keys {
            let Some(name) = name else { continue };
            if name.is_empty() || name.len() > NAME_MAX {
                let bytes = name.len();
                let why = format!("{what} has {bytes} bytes, allowed are 1 to {NAME_MAX}");
                return Err(Error::invalid("cannot enqueue", why));
            }
        }
        if self.payload.len() > PAYLOAD_MAX {
            let bytes = self.payload.len();
            let why = format!("payload has {bytes} bytes, allowed are {PAYLOAD_MAX}");
            return Err(Error::invalid("cannot enqueue", why));
        }
        self.next.iter().try_for_each(Self::check_follower)
    }
}

/// Longest duration that is kept, in milliseconds: a thousand years, so that
/// adding `Duration::MAX` to a time does not overflow.
const DURATION_MAX_MS: i64 = 1000 * 366 * 86_400_000;

pub(crate) fn millis(duration: Duration) -> i64 {
    let ms = i64::try_from(duration.as_millis()).unwrap_or(DURATION_MAX_MS);
    ms.min(DURATION_MAX_MS)
}
