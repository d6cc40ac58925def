//! Publish and subscribe across processes on one SQLite file.
//!
//! ```
//! # use monolite_pubsub::{PubSub, PubSubOptions};
//! # let dir = tempfile::tempdir().unwrap();
//! let pubsub = PubSub::open(dir.path().join("pubsub.sqlite3"), PubSubOptions::default())?;
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let mut subscriber = pubsub.subscribe("news").pattern("room:*").await?;
//! pubsub.publish("room:7", "hello").await?; // By this process or by another.
//! assert_eq!(subscriber.next_message().await?.text(), Some("hello"));
//! # Ok::<(), monolite_pubsub::Error>(())
//! # })?;
//! # Ok::<(), monolite_pubsub::Error>(())
//! ```
//!
//! # What is promised
//! - **Order**: all subscribers in all processes get the messages of a channel
//!   in the order in which they were committed; also those of several channels.
//! - **No gap in silence**: a subscriber gets every message that is committed
//!   after it subscribed (or after the [`MessageId`] it resumes from) exactly
//!   once, or an [`Event::Gap`] in the place of what the window no longer
//!   holds. It is told so too if the file was made anew since.
//! - **Bounded memory**: whoever is slow gets [`Event::Lagged`] once, and reads
//!   on from the file; nothing is lost by that while the window holds it.
//! - **With the app's transaction**: what is published through the [`outbox`]
//!   is delivered once if the app's transaction commits, and never otherwise.
//! - **Presence**: the members of a process that was killed disappear within
//!   the lease. See [`members`].
//!
//! # What is not
//! Messages are kept for a [`Window`], not for ever. A crash of the *machine*
//! may lose all of them; subscribers that resume are told. What must not be
//! lost belongs into the app's tables; the message says that it is there.
//!
//! # How it works
//! A publish appends a row; concurrent ones share a commit ([`operations`]).
//! One tailer per process is woken by the commit, of whichever process, reads
//! what is new and hands it to the subscribers by channel. While nothing is
//! published nothing is read and nothing is written; while nobody subscribes
//! there is no tailer, and while nobody is present no heartbeat.
//!
//! Without the feature `handle` there are only the operations over a
//! connection, which need neither a runtime nor a store.

mod error;
mod filter;
pub mod members;
mod message;
mod name;
pub mod operations;
pub mod outbox;
mod page;
mod pattern;
mod publisher;
mod roster;

#[cfg(feature = "handle")]
mod background;
#[cfg(feature = "handle")]
mod dispatch;
#[cfg(feature = "handle")]
pub mod engine;
#[cfg(feature = "handle")]
mod file;
#[cfg(feature = "handle")]
mod handle;
#[cfg(feature = "handle")]
mod inbox;
#[cfg(feature = "handle")]
mod inner;
#[cfg(feature = "handle")]
mod keeper;
#[cfg(feature = "handle")]
mod options;
#[cfg(feature = "handle")]
mod park;
#[cfg(feature = "handle")]
mod presence;
#[cfg(feature = "handle")]
mod presence_watch;
#[cfg(feature = "handle")]
mod relay;
#[cfg(feature = "handle")]
mod sqlite;
#[cfg(feature = "handle")]
mod subscribe;
#[cfg(feature = "handle")]
mod subscriber;
#[cfg(feature = "handle")]
mod tailer;

pub use crate::error::{Error, Result};
pub use crate::filter::{FILTER_MAX, Filter};
pub use crate::members::Member;
pub use crate::message::{Message, MessageId, NewMessage};
pub use crate::name::{NAME_MAX_BYTES, PAYLOAD_MAX_BYTES};
pub use crate::operations::{Bounds, Window};
pub use crate::page::{Ask, Page, Wanted, page};
pub use crate::pattern::Pattern;

#[cfg(feature = "handle")]
pub use crate::engine::Engine;
#[cfg(feature = "handle")]
pub use crate::file::Opened;
#[cfg(feature = "handle")]
pub use crate::handle::{PUBLISH_MANY_MAX, PubSub};
#[cfg(feature = "handle")]
pub use crate::options::PubSubOptions;
#[cfg(feature = "handle")]
pub use crate::presence::Presence;
#[cfg(feature = "handle")]
pub use crate::presence_watch::{PresenceEvent, PresenceWatch};
#[cfg(feature = "handle")]
pub use crate::relay::Relay;
#[cfg(feature = "handle")]
pub use crate::subscribe::Subscribe;
#[cfg(feature = "handle")]
pub use crate::subscriber::{Event, Subscriber};
