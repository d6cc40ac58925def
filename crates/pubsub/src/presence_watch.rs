//! Watching who is present.

use serde_json::Value;

use crate::members::{self, Member, Told};
use crate::{Event, PubSub, Result, Subscriber};

/// What those who watch a channel's members get.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PresenceEvent {
    /// All who are present now: at first, and again whenever what happened
    /// meanwhile is no longer known.
    Members(Vec<Member>),
    /// One came who was not present before.
    Join {
        /// Who.
        member: String,
        /// What is said of it.
        meta: Value,
    },
    /// Something else is said of one, by one of its places.
    Update {
        /// Of whom.
        member: String,
        /// What.
        meta: Value,
    },
    /// One is present no longer, in no place.
    Leave {
        /// Who.
        member: String,
    },
}

/// Watches who comes and goes; see [`PubSub::watch_members`].
#[derive(Debug)]
pub struct PresenceWatch {
    pubsub: PubSub,
    channel: String,
    subscriber: Option<Subscriber>,
}

impl PresenceWatch {
    pub(crate) fn new(pubsub: &PubSub, channel: String) -> Result<Self> {
        crate::name::check("channel", &channel)?;
        let keeper = &pubsub.inner().keeper;
        keeper.start(pubsub)?;
        keeper.held().watchers += 1;
        keeper.changed.notify_one();
        Ok(Self {
            pubsub: pubsub.clone(),
            channel,
            subscriber: None,
        })
    }

    /// Waits for the next event; the first are the members as they are.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// As [`Subscriber::next`].
    pub async fn next(&mut self) -> Result<PresenceEvent> {
        loop {
            let Some(subscriber) = &mut self.subscriber else {
                let engine = &self.pubsub.inner().engine;
                let (bounds, members) = engine.roster(self.channel.clone()).await?;
                let subscribe = crate::Subscribe::new(&self.pubsub)
                    .own_channel(&members::told_on(&self.channel))
                    .after_seq(bounds.newest);
                self.subscriber = Some(subscribe.await?);
                return Ok(PresenceEvent::Members(members));
            };
            match subscriber.next().await? {
                Event::Message(message) => return self.told(message.json()?),
                Event::Lagged { .. } => {}
                Event::Gap { .. } => self.subscriber = None,
            }
        }
    }

    fn told(&self, told: Told) -> Result<PresenceEvent> {
        // There is a lease to be watched.
        self.pubsub.inner().keeper.changed.notify_one();
        Ok(match told {
            Told::Join { member, meta } => PresenceEvent::Join { member, meta },
            Told::Update { member, meta } => PresenceEvent::Update { member, meta },
            Told::Leave { member } => PresenceEvent::Leave { member },
        })
    }
}

impl Drop for PresenceWatch {
    fn drop(&mut self) {
        let keeper = &self.pubsub.inner().keeper;
        keeper.held().watchers -= 1;
        keeper.changed.notify_one();
    }
}
