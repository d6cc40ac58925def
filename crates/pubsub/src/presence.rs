//! Being present.

use std::sync::Arc;

use serde_json::Value;

use crate::keeper::Keeper;
use crate::members::{self, Place};
use crate::{Error, PubSub, Result};

/// One place of a member; leaves when dropped, within moments, or at once and
/// for certain with [`Presence::leave`].
#[derive(Debug)]
#[must_use = "it leaves when this is dropped"]
pub struct Presence {
    keeper: Arc<Keeper>,
    place: Place,
    left: bool,
}

impl Presence {
    pub(crate) async fn join(
        pubsub: &PubSub,
        channel: String,
        member: String,
        meta: Value,
    ) -> Result<Self> {
        let keeper = Arc::clone(&pubsub.inner().keeper);
        let mut place = Place {
            place: 0,
            channel,
            member,
            meta,
        };
        members::check(&place)?;
        keeper.start(pubsub)?;
        {
            let mut held = keeper.held();
            held.next_place += 1;
            place.place = held.next_place;
            // Before it is in the file: whoever takes another lease meanwhile
            // brings it along.
            held.places.insert(place.place, place.clone());
        }
        // Dropped with this future it leaves again.
        let presence = Self {
            keeper,
            place,
            left: false,
        };
        let (keeper, place) = (&presence.keeper, &presence.place);
        keeper
            .with_lease(|lease| keeper.engine.join(lease, vec![place.clone()]))
            .await?;
        keeper.changed.notify_one();
        Ok(presence)
    }

    /// The member's key.
    pub fn member(&self) -> &str {
        &self.place.member
    }

    /// Says something else of the member from now on; those who watch are told.
    ///
    /// # Errors
    /// [`Error::Json`]; [`Error::TooLarge`] over
    /// [`META_MAX_BYTES`](members::META_MAX_BYTES); those of writing.
    pub async fn update(&mut self, meta: impl serde::Serialize) -> Result<()> {
        let mut place = self.place.clone();
        place.meta = json(meta)?;
        members::check(&place)?;
        self.keeper.held().places.insert(place.place, place.clone());
        self.place = place;
        let (keeper, place) = (&self.keeper, &self.place);
        keeper
            .with_lease(|lease| keeper.engine.update(lease, place.clone()))
            .await
    }

    /// Leaves, and answers once that is committed.
    ///
    /// # Errors
    /// Those of writing; it leaves later then.
    pub async fn leave(mut self) -> Result<()> {
        self.go();
        self.keeper.take_out().await
    }

    fn go(&mut self) {
        if !std::mem::replace(&mut self.left, true) {
            let mut held = self.keeper.held();
            held.places.remove(&self.place.place);
            held.leaving.push(self.place.place);
            drop(held);
            self.keeper.changed.notify_one();
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.go();
    }
}

pub(crate) fn json(value: impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|source| Error::Json {
        what: "say something of a member as JSON",
        source,
    })
}
