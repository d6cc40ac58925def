//! Being present in a channel, and watching who is.

use std::sync::Arc;

use serde_json::Value;

use super::heartbeat::Heartbeat;
use super::shared::Shared;
use super::subscriber::{Event, Subscribe, Subscriber};
use crate::members::{self, Change, Member, Slot};
use crate::message::check_name;
use crate::{Error, Result};

/// One presence of a member. It leaves when this is dropped, within moments; or
/// at once, and with an answer, by [`Presence::leave`].
#[derive(Debug)]
#[must_use = "it leaves when this is dropped"]
pub struct Presence {
    heartbeat: Arc<Heartbeat>,
    slot: Slot,
    left: bool,
}

impl Presence {
    pub(crate) async fn join(
        shared: &Shared,
        channel: String,
        member: String,
        meta: Value,
    ) -> Result<Self> {
        let heartbeat = Arc::clone(&shared.heartbeat);
        let mut slot = Slot {
            number: 0,
            channel,
            member,
            meta,
        };
        members::check(&slot)?;
        shared.start_heartbeat()?;
        {
            let mut held = heartbeat.held();
            held.last_slot += 1;
            slot.number = held.last_slot;
            // Before it is in the file: whoever takes another lease meanwhile
            // includes it.
            held.slots.insert(slot.number, slot.clone());
        }
        // If this future is dropped, it leaves again.
        let presence = Self {
            heartbeat,
            slot,
            left: false,
        };
        let (heartbeat, slot) = (&presence.heartbeat, &presence.slot);
        heartbeat
            .with_lease(|lease| heartbeat.engine.join(lease, vec![slot.clone()]))
            .await?;
        heartbeat.changed.notify_one();
        Ok(presence)
    }

    /// The member's name.
    pub fn member(&self) -> &str {
        &self.slot.member
    }

    /// Replaces the member's description; watchers get
    /// [`PresenceEvent::Update`].
    ///
    /// # Errors
    /// [`Error::Json`]; [`Error::TooLarge`] over
    /// [`META_MAX_BYTES`](members::META_MAX_BYTES); those of writing.
    pub async fn update(&mut self, meta: impl serde::Serialize) -> Result<()> {
        let mut slot = self.slot.clone();
        slot.meta = json(meta)?;
        members::check(&slot)?;
        self.heartbeat
            .held()
            .slots
            .insert(slot.number, slot.clone());
        self.slot = slot;
        let (heartbeat, slot) = (&self.heartbeat, &self.slot);
        heartbeat
            .with_lease(|lease| heartbeat.engine.update(lease, slot.clone()))
            .await
    }

    /// Leaves, and answers once that is committed.
    ///
    /// # Errors
    /// Those of writing; it then leaves later.
    pub async fn leave(mut self) -> Result<()> {
        self.mark_leaving();
        self.heartbeat.remove_leaving().await
    }

    fn mark_leaving(&mut self) {
        if !std::mem::replace(&mut self.left, true) {
            let mut held = self.heartbeat.held();
            held.slots.remove(&self.slot.number);
            held.leaving.push(self.slot.number);
            drop(held);
            self.heartbeat.changed.notify_one();
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.mark_leaving();
    }
}

pub(crate) fn json(value: impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|source| Error::Json {
        what: "write a member's description as JSON",
        source,
    })
}

/// What a watcher of a channel's members gets.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PresenceEvent {
    /// All who are present now: at first, and again whenever changes may have
    /// been missed.
    Members(Vec<Member>),
    /// A member joined who was not present before.
    Join {
        /// Its name.
        member: String,
        /// Its description.
        meta: Value,
    },
    /// One of the member's presences replaced its description.
    Update {
        /// Its name.
        member: String,
        /// The new description.
        meta: Value,
    },
    /// The last presence of a member ended.
    Leave {
        /// Its name.
        member: String,
    },
}

/// Watches who joins and leaves a channel; see
/// [`PubSub::watch_members`](crate::PubSub::watch_members).
#[derive(Debug)]
pub struct PresenceWatch {
    shared: Arc<Shared>,
    channel: String,
    subscriber: Option<Subscriber>,
}

impl PresenceWatch {
    pub(crate) fn new(shared: &Arc<Shared>, channel: String) -> Result<Self> {
        check_name("channel", &channel)?;
        shared.start_heartbeat()?;
        shared.heartbeat.held().watchers += 1;
        shared.heartbeat.changed.notify_one();
        Ok(Self {
            shared: Arc::clone(shared),
            channel,
            subscriber: None,
        })
    }

    /// Waits for the next event; the first is [`PresenceEvent::Members`].
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// As [`Subscriber::next`].
    pub async fn next(&mut self) -> Result<PresenceEvent> {
        loop {
            let Some(subscriber) = &mut self.subscriber else {
                let (bounds, members) = self.shared.engine.roster(self.channel.clone()).await?;
                let subscribe = Subscribe::new(&self.shared)
                    .own_channel(&members::changes_channel(&self.channel))
                    .after_seq(bounds.newest);
                self.subscriber = Some(subscribe.await?);
                return Ok(PresenceEvent::Members(members));
            };
            match subscriber.next().await? {
                Event::Message(message) => return Ok(self.event(message.json()?)),
                Event::Lagged { .. } => {}
                Event::Gap { .. } => self.subscriber = None,
            }
        }
    }

    fn event(&self, change: Change) -> PresenceEvent {
        // The heartbeat looks at when the next lease runs out.
        self.shared.heartbeat.changed.notify_one();
        match change {
            Change::Join { member, meta } => PresenceEvent::Join { member, meta },
            Change::Update { member, meta } => PresenceEvent::Update { member, meta },
            Change::Leave { member } => PresenceEvent::Leave { member },
        }
    }
}

impl Drop for PresenceWatch {
    fn drop(&mut self) {
        self.shared.heartbeat.held().watchers -= 1;
        self.shared.heartbeat.changed.notify_one();
    }
}
