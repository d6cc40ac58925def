//! Small values that were read lately, in this process's own memory.
//!
//! Even a read transaction that finds nothing to wait for costs two system
//! calls, for its locks: most of a get. What is here is answered without, as
//! long as the shared counters (`changes.rs`) say that it has not changed.
//!
//! Each id has one set of a few places, of which the oldest is given up:
//! bounded, with nothing to keep in order.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Key;
use crate::changes::Version;
use crate::expiry::Expiry;

/// Longest an entry is answered from here before SQLite is asked again.
pub(crate) const NEAR_MS: i64 = 1000;
/// Largest value kept, in bytes.
const VALUE_MAX: usize = 1024;
/// What a place is reckoned to take, in bytes.
const PLACE_BYTES: usize = 1024;
/// Places of a set.
const PLACES: usize = 4;

struct Entry {
    id: i64,
    key: Key,
    value: Vec<u8>,
    expiry: Expiry,
    version: Version,
    read_ms: i64,
}

/// In the order they were put in.
type Set = Mutex<Vec<Entry>>;

pub(crate) struct Near {
    sets: Box<[Set]>,
}

fn lock(set: &Set) -> MutexGuard<'_, Vec<Entry>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

/// More than this is not kept in memory, whatever was asked for: 4 GiB.
const NEAR_MAX_BYTES: usize = 4 << 30;

impl Near {
    pub(crate) fn new(bytes: usize) -> Self {
        let sets = bytes.min(NEAR_MAX_BYTES) / (PLACE_BYTES * PLACES);
        Self {
            sets: (0..sets).map(|_| Mutex::default()).collect(),
        }
    }

    fn set(&self, id: i64) -> Option<&Set> {
        // The high bits: the low ones have chosen the counter.
        let index = (id.cast_unsigned() >> 16).checked_rem(self.sets.len() as u64)?;
        self.sets.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn get(
        &self,
        id: i64,
        key: &Key,
        version: Version,
        now_ms: i64,
    ) -> Option<(Vec<u8>, Expiry)> {
        let set = lock(self.set(id)?);
        let entry = set.iter().find(|entry| entry.id == id)?;
        let good = entry.version == version
            && entry.key == *key
            && (0..NEAR_MS).contains(&now_ms.saturating_sub(entry.read_ms))
            && !entry.expiry.is_over(now_ms)
            // Or it would never be renewed.
            && entry.expiry.renewed(now_ms).is_none();
        good.then(|| (entry.value.clone(), entry.expiry))
    }

    /// Keeps what was read after `version` was.
    pub(crate) fn put(
        &self,
        id: i64,
        key: &Key,
        value: &[u8],
        expiry: Expiry,
        version: Version,
        now_ms: i64,
    ) {
        if value.len() > VALUE_MAX {
            return;
        }
        let Some(set) = self.set(id) else {
            return;
        };
        let entry = Entry {
            id,
            key: key.clone(),
            value: value.into(),
            expiry,
            version,
            read_ms: now_ms,
        };
        let mut set = lock(set);
        if let Some(old) = set.iter_mut().find(|old| old.id == id) {
            *old = entry;
            return;
        }
        if set.len() == PLACES {
            set.remove(0);
        }
        set.push(entry);
    }
}
