//! The handle.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use monolite_store::Store;
use tokio::sync::oneshot;

use crate::background::Background;
use crate::engine::Engine;
use crate::file::Opened;
use crate::inner::Inner;
use crate::keeper::Keeper;
use crate::presence::{self, Presence};
use crate::presence_watch::PresenceWatch;
use crate::relay::{self, Relay};
use crate::sqlite::SqliteEngine;
use crate::{
    Bounds, Error, Member, MessageId, NewMessage, PAYLOAD_MAX_BYTES, PubSubOptions, Result,
    Subscribe, name, park,
};

/// Most messages of one [`PubSub::publish_many`].
pub const PUBLISH_MANY_MAX: usize = 10_000;

/// A handle on one pub/sub file; cheap to clone.
///
/// It goes on until the last clone, subscriber and watch is dropped, or until
/// [`PubSub::close`].
#[derive(Clone)]
pub struct PubSub {
    inner: Arc<Inner>,
}

impl PubSub {
    /// Opens the file, creating it if its directory exists. Blocks this thread
    /// for some milliseconds. What cannot be used is made anew, and
    /// [`PubSub::opened`] says so.
    ///
    /// # Errors
    /// Those of [`Store::open`] that another file would not mend;
    /// [`Error::InUse`]; [`Error::Io`].
    pub fn open(path: impl AsRef<Path>, options: PubSubOptions) -> Result<Self> {
        let (engine, opened) = SqliteEngine::open(path.as_ref(), &options)?;
        Ok(Self::with(Arc::new(engine), options, opened))
    }

    /// A handle on another engine.
    pub fn with_engine(engine: Arc<dyn Engine>, options: PubSubOptions) -> Self {
        Self::with(engine, options, Opened::Existing)
    }

    fn with(engine: Arc<dyn Engine>, options: PubSubOptions, opened: Opened) -> Self {
        let keeper = Keeper::new(Arc::clone(&engine), options.presence_lease);
        Self {
            inner: Arc::new(Inner {
                keeper: Arc::new(keeper),
                engine,
                dispatcher: Arc::default(),
                background: Background::default(),
                options,
                opened,
                tailing: Mutex::new(false),
                closed: AtomicBool::new(false),
                pid: std::process::id(),
            }),
        }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    pub(crate) fn options(&self) -> &PubSubOptions {
        &self.inner.options
    }

    /// What was found when the file was opened.
    pub fn opened(&self) -> &Opened {
        &self.inner.opened
    }

    /// Publishes, and answers once the message is committed: every subscriber
    /// of every process gets it then, or is told that it has missed something.
    /// Concurrent callers share a commit.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::TooLarge`] over
    /// [`PubSubOptions::max_payload_bytes`]; [`Error::Store`] for a full disk,
    /// a full queue of publishers, or another process that writes for too long.
    /// After any of them nothing was published.
    pub async fn publish(
        &self,
        channel: impl Into<String>,
        payload: impl Into<Vec<u8>>,
    ) -> Result<MessageId> {
        let message = self.checked(NewMessage::new(channel, payload))?;
        self.inner.engine.publish(message).await
    }

    /// As [`PubSub::publish`], of a value as JSON.
    ///
    /// # Errors
    /// [`Error::Json`]; as [`PubSub::publish`].
    pub async fn publish_json(
        &self,
        channel: impl Into<String>,
        value: &impl serde::Serialize,
    ) -> Result<MessageId> {
        let message = self.checked(NewMessage::json(channel, value)?)?;
        self.inner.engine.publish(message).await
    }

    /// As [`PubSub::publish`], blocking this thread. Not for async code.
    ///
    /// # Errors
    /// As [`PubSub::publish`].
    pub fn publish_blocking(
        &self,
        channel: impl Into<String>,
        payload: impl Into<Vec<u8>>,
    ) -> Result<MessageId> {
        let message = self.checked(NewMessage::new(channel, payload))?;
        self.inner.engine.publish_blocking(message)
    }

    /// Publishes all of them in one transaction, or none.
    ///
    /// # Errors
    /// [`Error::TooMany`] over [`PUBLISH_MANY_MAX`]; as [`PubSub::publish`].
    pub async fn publish_many(&self, messages: Vec<NewMessage>) -> Result<Vec<MessageId>> {
        if messages.len() > PUBLISH_MANY_MAX {
            return Err(Error::TooMany {
                what: "messages",
                count: messages.len(),
                max: PUBLISH_MANY_MAX,
            });
        }
        let messages = messages.into_iter().map(|message| self.checked(message));
        let messages = messages.collect::<Result<Vec<_>>>()?;
        self.inner.engine.publish_many(messages).await
    }

    fn checked(&self, message: NewMessage) -> Result<NewMessage> {
        let max = self.inner.options.max_payload_bytes.min(PAYLOAD_MAX_BYTES);
        name::check_message(&message, max)?;
        Ok(message)
    }

    /// Subscribes to a channel, and to more: see [`Subscribe`].
    ///
    /// ```
    /// # use monolite_pubsub::{Event, PubSub, PubSubOptions};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let pubsub = PubSub::open(dir.path().join("pubsub.sqlite3"), PubSubOptions::default())?;
    /// let mut rooms = pubsub.subscribe("lobby").pattern("room:*").await?;
    /// let id = pubsub.publish("room:7", "hello").await?;
    /// match rooms.next().await? {
    ///     Event::Message(message) => assert_eq!(message.text(), Some("hello")),
    ///     other => unreachable!("{other:?}"),
    /// }
    /// // A browser that comes back with its Last-Event-ID misses nothing.
    /// let last = id.to_string();
    /// pubsub.publish("room:7", "while you were away").await?;
    /// let mut again = pubsub.subscribe("room:7").from(last.parse()?).await?;
    /// assert_eq!(again.next_message().await?.text(), Some("while you were away"));
    /// # pubsub.close().await;
    /// # Ok::<(), monolite_pubsub::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn subscribe(&self, channel: &str) -> Subscribe {
        Subscribe::new(self).channel(channel)
    }

    /// Subscribes to all channels that match a [`Pattern`](crate::Pattern).
    pub fn subscribe_pattern(&self, pattern: &str) -> Subscribe {
        Subscribe::new(self).pattern(pattern)
    }

    /// Subscribers in this process.
    pub fn subscribers(&self) -> usize {
        self.inner.dispatcher.len()
    }

    /// What the window holds.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn bounds(&self) -> Result<Bounds> {
        self.inner.engine.bounds().await
    }

    /// Relays what the app publishes in its own transactions by
    /// [`outbox::publish`](crate::outbox::publish), from now on and what is
    /// left from before, until this handle or the app's store is closed. Makes
    /// the outbox in the app's file. May run in any number of processes.
    ///
    /// It keeps the app's store open: close this handle first.
    ///
    /// # Errors
    /// Those of the app's store; [`Error::Schema`].
    pub async fn relay(&self, app: &Store) -> Result<Relay> {
        self.inner.check()?;
        relay::start(self, app).await
    }

    /// As [`PubSub::relay`], blocking this thread. Not for async code.
    ///
    /// # Errors
    /// As [`PubSub::relay`].
    pub fn relay_blocking(&self, app: &Store) -> Result<Relay> {
        park::block_on(self.relay(app), None).unwrap_or(Err(Error::Closed))
    }

    /// Makes a member present in a channel until the answer is dropped or this
    /// process is gone. The same key in several places is one member.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::Json`]; [`Error::TooLarge`] if `meta` is over
    /// [`META_MAX_BYTES`](crate::members::META_MAX_BYTES); those of writing.
    pub async fn join(
        &self,
        channel: impl Into<String>,
        member: impl Into<String>,
        meta: impl serde::Serialize,
    ) -> Result<Presence> {
        let meta = presence::json(meta)?;
        Presence::join(self, channel.into(), member.into(), meta).await
    }

    /// Who is present in a channel, in any process; by key.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn members(&self, channel: impl Into<String>) -> Result<Vec<Member>> {
        self.inner.engine.members(channel.into()).await
    }

    /// Watches who comes to a channel and who goes.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::Closed`].
    pub fn watch_members(&self, channel: impl Into<String>) -> Result<PresenceWatch> {
        PresenceWatch::new(self, channel.into())
    }

    /// Makes the members of this handle leave, ends every subscription with
    /// [`Error::Closed`], waits for the queued publishes and closes the file.
    /// Closed in this way it is also good after a start of the machine.
    pub async fn close(self) {
        // Its lease ends by itself else.
        let _ = self.inner.keeper.release(true).await;
        let (done, closed) = oneshot::channel::<()>();
        // Joining threads blocks: not on the runtime.
        let started = std::thread::Builder::new()
            .name("monolite-pubsub-close".into())
            .spawn(move || {
                self.inner.close(true);
                drop(done);
            });
        if started.is_ok() {
            let _ = closed.await;
        }
    }

    /// As [`PubSub::close`], blocking this thread. Not for async code.
    pub fn close_blocking(self) {
        let _ = park::block_on(self.inner.keeper.release(true), None);
        self.inner.close(true);
    }
}

impl std::fmt::Debug for PubSub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PubSub")
            .field("engine", &self.inner.engine)
            .field("subscribers", &self.subscribers())
            .finish_non_exhaustive()
    }
}
