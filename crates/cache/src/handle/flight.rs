//! One computation at a time for each key of this process.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::Key;

/// What came of it: the value, or nothing if its leader gave up.
type Landing = Option<Arc<Vec<u8>>>;

#[derive(Debug, Default)]
pub(crate) struct Flights {
    of: Mutex<HashMap<Key, watch::Receiver<Landing>>>,
}

pub(crate) enum Joined<'f> {
    /// The caller is to compute it.
    Lead(Lead<'f>),
    /// Somebody does.
    Follow(watch::Receiver<Landing>),
}

/// Ends the flight when dropped.
pub(crate) struct Lead<'f> {
    flights: &'f Flights,
    key: Key,
    landing: watch::Sender<Landing>,
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<Landing>>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn join(&self, key: &Key) -> Joined<'_> {
        match self.lock().entry(key.clone()) {
            Entry::Occupied(flight) => Joined::Follow(flight.get().clone()),
            Entry::Vacant(place) => {
                let (landing, receiver) = watch::channel(None);
                place.insert(receiver);
                Joined::Lead(Lead {
                    flights: self,
                    key: key.clone(),
                    landing,
                })
            }
        }
    }
}

impl Lead<'_> {
    pub(crate) fn land(self, value: Arc<Vec<u8>>) {
        self.landing.send_replace(Some(value));
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // Before the sender goes: who finds it gone must not find it here.
        self.flights.lock().remove(&self.key);
    }
}

/// Waits for the end of somebody else's flight.
pub(crate) async fn landed(mut flight: watch::Receiver<Landing>) -> Landing {
    // An error: the sender is gone. What it said last is still there.
    let _ = flight.wait_for(Option::is_some).await;
    flight.borrow().clone()
}
