//! A transaction of the app, with jobs and messages in it.

use std::any::Any;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "jobs")]
use monolite_jobs::ops::{self, Batch, Enqueued, Now};
#[cfg(feature = "jobs")]
use monolite_jobs::{Job, JobId, NewJob};
#[cfg(feature = "pubsub")]
use monolite_pubsub::{NewMessage, outbox};
use monolite_store::rusqlite::Connection;
use monolite_store::{self as store, Store};

use crate::{Error, Result};

/// The open write transaction of [`Monolite::transaction`](crate::Monolite::transaction).
/// It is a [`Connection`], and enqueues and publishes as part of what it writes.
pub struct Transaction<'c> {
    conn: &'c Connection,
    #[cfg(feature = "jobs")]
    now: Now,
}

impl<'c> Transaction<'c> {
    pub(crate) fn new(conn: &'c Connection, #[cfg(feature = "jobs")] now: Now) -> Self {
        Self {
            conn,
            #[cfg(feature = "jobs")]
            now,
        }
    }
}

/// As [`Jobs`](monolite_jobs::Jobs) does, in this transaction: workers see the
/// jobs with its commit.
#[cfg(feature = "jobs")]
impl Transaction<'_> {
    /// Enqueues a typed job.
    ///
    /// # Errors
    /// [`Error::Jobs`]: a payload that cannot be written as JSON, names and sizes
    /// out of bounds, SQLite's own.
    pub fn enqueue(&self, job: impl Job) -> Result<JobId> {
        Ok(self.push(job.prepare()?)?.id)
    }

    /// Enqueues a prepared job: one with a delay, a key, a queue of its own.
    ///
    /// # Errors
    /// As [`Transaction::enqueue`]; `NotUnique` where that was asked for.
    pub fn push(&self, job: NewJob) -> Result<Enqueued> {
        Ok(ops::enqueue(self.conn, &self.now, &job)?)
    }

    /// Enqueues many.
    ///
    /// # Errors
    /// As [`Transaction::push`], for the first that is refused.
    pub fn push_many(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        let each = ops::enqueue_each(self.conn, &self.now, &jobs)?;
        Ok(each
            .into_iter()
            .collect::<Result<_, monolite_jobs::Error>>()?)
    }

    /// Enqueues jobs as a batch, and `callback` once all have ended.
    ///
    /// # Errors
    /// As [`Transaction::push`], for the first that is refused.
    pub fn push_batch(&self, jobs: Vec<NewJob>, callback: Option<NewJob>) -> Result<Batch> {
        Ok(ops::enqueue_batch(
            self.conn,
            &self.now,
            &jobs,
            callback.as_ref(),
        )?)
    }
}

#[cfg(feature = "pubsub")]
impl Transaction<'_> {
    /// Publishes: subscribers get the message soon after the commit.
    ///
    /// # Errors
    /// As [`outbox::publish`], in [`Error::PubSub`].
    pub fn publish(&self, channel: impl Into<String>, payload: impl Into<Vec<u8>>) -> Result<()> {
        outbox::publish(self.conn, &NewMessage::new(channel, payload))?;
        Ok(())
    }

    /// As [`Transaction::publish`], of a value as JSON.
    ///
    /// # Errors
    /// As [`Transaction::publish`], and where the value cannot be JSON.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let app = monolite::Monolite::open(dir.path()).await?;
    /// let mut prices = app.pubsub().subscribe("prices").await?;
    /// app.transaction(|tx| tx.publish_json("prices", &("tea", 120))).await?;
    /// let (what, cents): (String, u32) = prices.next_message().await?.json()?;
    /// assert_eq!((&*what, cents), ("tea", 120));
    /// # app.close().await;
    /// # Ok(()) }
    /// ```
    pub fn publish_json(
        &self,
        channel: impl Into<String>,
        value: &impl serde::Serialize,
    ) -> Result<()> {
        outbox::publish(self.conn, &NewMessage::json(channel, value)?)?;
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.conn
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

/// As [`Store::write`], with an error of the caller's own type.
pub(crate) async fn write<T, E, F>(store: &Store, closure: F) -> Result<T, E>
where
    F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    // The store rolls back with an error of its own; this carries the caller's.
    let carried = Arc::new(Mutex::new(None));
    let inside = Arc::clone(&carried);
    let written = store.write(move |conn| {
        closure(conn).map_err(|error| {
            let mut error = Some(error);
            take_store_error(&mut error).unwrap_or_else(|| {
                *inside.lock().unwrap_or_else(PoisonError::into_inner) = error;
                store::Error::app("an error of the closure")
            })
        })
    });
    let error = match written.await {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let own = carried
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    Err(match (error, own) {
        (store::Error::App(_), Some(own)) => own,
        (error, _) => Error::Store(error).into(),
    })
}

/// The store's own error, where the closure's is [`Error`] and holds one: the
/// store names what it means for this file (full, busy).
fn take_store_error<E: 'static>(error: &mut Option<E>) -> Option<store::Error> {
    let error = (error as &mut dyn Any).downcast_mut::<Option<Error>>()?;
    match error.take()? {
        Error::Store(inner) => Some(inner),
        other => {
            *error = Some(other);
            None
        }
    }
}
