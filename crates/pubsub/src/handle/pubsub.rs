//! The handle: publish, subscribe, be present.

use std::path::Path;
use std::sync::Arc;

use monolite_component::Opened;
use monolite_store::Store;
use monolite_store::park::block_on;
use tokio::sync::oneshot;

use super::engine::Engine;
use super::options::PubSubOptions;
use super::presence::{self, Presence, PresenceWatch};
use super::relay::{self, Relay};
use super::shared::Shared;
use super::sqlite::SqliteEngine;
use super::subscriber::Subscribe;
use crate::message::check_message;
use crate::{Bounds, Error, Member, MessageId, NewMessage, PAYLOAD_MAX_BYTES, Result};

/// Most messages of one [`PubSub::publish_many`].
pub const PUBLISH_MANY_MAX: usize = 10_000;

/// A handle on one pub/sub file; cheap to clone.
///
/// The file stays open until the last clone, subscriber and watch is dropped,
/// or until [`PubSub::close`].
#[derive(Clone)]
pub struct PubSub {
    shared: Arc<Shared>,
}

impl PubSub {
    /// Opens the file, creating it if its directory exists. A file that cannot
    /// be used is replaced by an empty one, and one that was not written by
    /// this crate is renamed: see [`PubSub::opened`]. Blocks this thread for
    /// some milliseconds, and while another process opens the same file.
    ///
    /// # Errors
    /// Those of [`Store::open`] that an empty file would have too;
    /// [`Error::File`].
    pub fn open(path: impl AsRef<Path>, options: PubSubOptions) -> Result<Self> {
        let (engine, opened) = SqliteEngine::open(path.as_ref(), &options)?;
        Ok(Self::over(Arc::new(engine), options, opened))
    }

    fn over(engine: Arc<dyn Engine>, options: PubSubOptions, opened: Opened) -> Self {
        Self {
            shared: Arc::new(Shared::new(engine, options, opened)),
        }
    }

    /// What was found when the file was opened.
    pub fn opened(&self) -> &Opened {
        &self.shared.opened
    }

    /// Publishes, and answers once the message is committed: from then on every
    /// subscriber of every process gets it, or an [`Event::Gap`](crate::Event::Gap).
    /// Concurrent callers share a commit.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::TooLarge`] over
    /// [`PubSubOptions::max_payload_bytes`]; [`Error::Store`] for a full disk,
    /// a full queue of publishers, or another process that holds the write lock
    /// for too long. After any of them nothing was published.
    pub async fn publish(
        &self,
        channel: impl Into<String>,
        payload: impl Into<Vec<u8>>,
    ) -> Result<MessageId> {
        let message = self.checked(NewMessage::new(channel, payload))?;
        self.shared.engine.publish(message).await
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
        self.shared.engine.publish(message).await
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
        self.shared.engine.publish_blocking(message)
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
        self.shared.engine.publish_many(messages).await
    }

    fn checked(&self, message: NewMessage) -> Result<NewMessage> {
        let max = self.shared.options.max_payload_bytes.min(PAYLOAD_MAX_BYTES);
        check_message(&message, max)?;
        Ok(message)
    }

    /// Subscribes to a channel, and to more: see [`Subscribe`].
    ///
    /// ```
    /// # use monolite_pubsub::{Event, PubSub, PubSubOptions};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let pubsub = PubSub::open(dir.path().join("pubsub.sqlite3"), PubSubOptions::new())?;
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
        Subscribe::new(&self.shared).channel(channel)
    }

    /// Subscribes to all channels that match a [`Pattern`](crate::Pattern).
    pub fn subscribe_pattern(&self, pattern: &str) -> Subscribe {
        Subscribe::new(&self.shared).pattern(pattern)
    }

    /// How many subscribers this process has.
    pub fn subscribers(&self) -> usize {
        self.shared.dispatcher.len()
    }

    /// Which messages are held now.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn bounds(&self) -> Result<Bounds> {
        self.shared.engine.bounds().await
    }

    /// Relays what the app publishes in its own transactions with
    /// [`outbox::publish`](crate::outbox::publish), what is left from before
    /// included, until this handle or the app's store is closed. Creates the
    /// outbox in the app's file. Any number of processes may do this at once.
    ///
    /// It keeps the app's store open: close this handle first.
    ///
    /// # Errors
    /// Those of the app's store; [`Error::Schema`].
    pub async fn relay(&self, app: &Store) -> Result<Relay> {
        self.shared.check()?;
        let engine = Arc::clone(&self.shared.engine);
        relay::start(engine, &self.shared.background, app).await
    }

    /// As [`PubSub::relay`], blocking this thread. Not for async code.
    ///
    /// # Errors
    /// As [`PubSub::relay`].
    pub fn relay_blocking(&self, app: &Store) -> Result<Relay> {
        block_on(self.relay(app))
    }

    /// Makes a member present in a channel, until the returned value is dropped
    /// or this process ends. Who joins several times under the same name, from
    /// whatever process, is one member.
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
        Presence::join(&self.shared, channel.into(), member.into(), meta).await
    }

    /// Who is present in a channel, in whatever process; in the order of their
    /// names.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn members(&self, channel: impl Into<String>) -> Result<Vec<Member>> {
        self.shared.engine.members(channel.into()).await
    }

    /// Watches who joins a channel and who leaves it.
    ///
    /// # Errors
    /// [`Error::Name`]; [`Error::Closed`].
    pub fn watch_members(&self, channel: impl Into<String>) -> Result<PresenceWatch> {
        PresenceWatch::new(&self.shared, channel.into())
    }

    /// Makes the members of this handle leave, ends every subscription with
    /// [`Error::Closed`], waits for the queued publishes and closes the file.
    /// A file that every handle closed in this way is kept after a reboot.
    pub async fn close(self) {
        // If it fails, the lease runs out.
        let _ = self.shared.heartbeat.release_all().await;
        let (done, closed) = oneshot::channel::<()>();
        // Joining threads blocks: not on the runtime.
        let started = std::thread::Builder::new()
            .name("monolite-pubsub-close".into())
            .spawn(move || {
                self.shared.close(true);
                drop(done);
            });
        if started.is_ok() {
            let _ = closed.await;
        }
    }

    /// As [`PubSub::close`], blocking this thread. Not for async code.
    pub fn close_blocking(self) {
        let _ = block_on(self.shared.heartbeat.release_all());
        self.shared.close(true);
    }
}

impl std::fmt::Debug for PubSub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PubSub")
            .field("engine", &self.shared.engine)
            .field("subscribers", &self.subscribers())
            .finish_non_exhaustive()
    }
}
