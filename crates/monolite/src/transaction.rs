//! One transaction of the app's, with jobs and messages in it.

use std::ops::Deref;

use monolite_jobs::ops::{self, Enqueued, Now};
use monolite_jobs::{Job, JobId, NewJob};
use monolite_pubsub::{NewMessage, outbox};
use monolite_store::rusqlite::Connection;
use monolite_store::{Error, Result};

/// The open write transaction of [`Monolite::transaction`](crate::Monolite::transaction).
/// It is the connection, and enqueues and publishes as part of what is written.
pub struct Transaction<'c> {
    conn: &'c Connection,
    now: Now,
}

impl<'c> Transaction<'c> {
    pub(crate) fn new(conn: &'c Connection, now: Now) -> Self {
        Self { conn, now }
    }

    /// Enqueues a job: workers see it with the commit.
    ///
    /// # Errors
    /// As [`ops::enqueue`], in [`Error::App`] where they are not SQLite's.
    pub fn enqueue(&self, job: &impl Job) -> Result<JobId> {
        Ok(self.push(&job.prepare()?)?.id)
    }

    /// Enqueues a prepared job.
    ///
    /// # Errors
    /// As [`Transaction::enqueue`].
    pub fn push(&self, job: &NewJob) -> Result<Enqueued> {
        Ok(ops::enqueue(self.conn, &self.now, job)?)
    }

    /// Enqueues many.
    ///
    /// # Errors
    /// As [`Transaction::enqueue`], for the first that is refused.
    pub fn push_many(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>> {
        let each = ops::enqueue_each(self.conn, &self.now, jobs)?;
        Ok(each
            .into_iter()
            .collect::<Result<_, monolite_jobs::Error>>()?)
    }

    /// Enqueues jobs as a batch, and `callback` once all have ended. Answers
    /// with the batch's number.
    ///
    /// # Errors
    /// As [`Transaction::enqueue`], for the first that is refused.
    pub fn push_batch(&self, jobs: &[NewJob], callback: Option<&NewJob>) -> Result<i64> {
        Ok(ops::enqueue_batch(self.conn, &self.now, jobs, callback)?.0)
    }

    /// Publishes: subscribers get it soon after the commit.
    ///
    /// # Errors
    /// As [`outbox::publish`], in [`Error::App`].
    pub fn publish(&self, channel: impl Into<String>, payload: impl Into<Vec<u8>>) -> Result<()> {
        outbox::publish(self.conn, &NewMessage::new(channel, payload)).map_err(Error::app)
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
        let message = NewMessage::json(channel, value).map_err(Error::app)?;
        outbox::publish(self.conn, &message).map_err(Error::app)
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.conn
    }
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}
