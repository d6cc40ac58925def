//! Publish and subscribe across processes on one SQLite file.
//!
//! ```
//! # use monolite_pubsub::{PubSub, PubSubOptions};
//! # let dir = tempfile::tempdir().unwrap();
//! let pubsub = PubSub::open(dir.path().join("pubsub.sqlite3"), PubSubOptions::new())?;
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let mut subscriber = pubsub.subscribe("news").pattern("room:*").await?;
//! pubsub.publish("room:7", "hello").await?; // By this process or by another.
//! assert_eq!(subscriber.next_message().await?.text(), Some("hello"));
//! # Ok::<(), monolite_pubsub::Error>(())
//! # })?;
//! # Ok::<(), monolite_pubsub::Error>(())
//! ```
//!
//! # Guarantees
//! - **Order**: all subscribers in all processes get the messages in the order
//!   in which they were committed, within a channel and across channels.
//! - **No silent gap**: a subscriber gets every message that is committed after
//!   it subscribed (or after the [`MessageId`] it resumes from) exactly once, or
//!   an [`Event::Gap`] instead of the messages that are no longer held. It gets
//!   one also if the file was replaced meanwhile.
//! - **Bounded memory**: a slow subscriber gets [`Event::Lagged`] once and reads
//!   on from the file; it loses nothing as long as the window holds the messages.
//! - **With the app's transaction**: a message published through the [`outbox`]
//!   is delivered once if the app's transaction commits, and never otherwise.
//! - **Presence**: the members of a killed process disappear when its lease runs
//!   out. See [`members`].
//!
//! # Limits
//! Messages are kept for a [`Window`] of time, count and bytes. A crash of the
//! *machine* may lose all of them; subscribers that resume get a gap. What must
//! not be lost belongs in the app's tables, and the message says that it is
//! there.
//!
//! # How it works
//! A publish appends a row; concurrent ones share a commit ([`operations`]). A
//! commit of any process wakes one task in each process that has subscribers. It
//! reads the new rows and hands them to the subscribers by channel. While nothing
//! is published nothing is read or written; without subscribers there is no such
//! task, and without members no heartbeat.
//!
//! Files next to the database: `-wal` and `-shm` are SQLite's, `-lock` is locked
//! by the process that opens or closes it, `-use` by every process that has it
//! open. All may be deleted while no process has it open.
//!
//! Without the feature `handle` the crate has only the operations over a
//! connection, which need neither an async runtime nor a store.

mod error;
mod filter;
pub mod members;
mod message;
pub mod operations;
pub mod outbox;
mod page;

#[cfg(feature = "handle")]
mod handle;

pub use crate::error::{Error, Result};
pub use crate::filter::{FILTER_MAX, Filter, Pattern};
pub use crate::members::Member;
pub use crate::message::{Message, MessageId, NAME_MAX_BYTES, NewMessage, PAYLOAD_MAX_BYTES};
pub use crate::operations::{Bounds, Window};
pub use crate::page::{Ask, Page, Wanted, page};

#[cfg(feature = "handle")]
pub use crate::handle::{
    Event, PUBLISH_MANY_MAX, Presence, PresenceEvent, PresenceWatch, PubSub, PubSubOptions, Relay,
    Subscribe, Subscriber,
};
#[cfg(feature = "handle")]
pub use monolite_component::{FileError, Opened};

/// The examples of the page `docs/pubsub.md` are compiled with the tests.
#[cfg(all(doctest, feature = "handle"))]
#[doc = include_str!("../../../docs/pubsub.md")]
struct Guide;
