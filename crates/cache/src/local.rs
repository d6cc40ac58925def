//! Small values that were read recently, in this process's own memory.
//!
//! Even a read transaction that waits for nothing costs two system calls for its
//! locks: most of a get. A value here is returned without them, as long as the
//! shared counters (`changes.rs`) say that it has not changed.
//!
//! Each id belongs to one set of a few entries, of which the oldest is replaced:
//! bounded, with nothing to keep in order.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Key;
use crate::changes::Version;
use crate::expiry::Deadline;

/// Longest time, in ms, that a value is returned from here before SQLite is asked
/// again.
pub(crate) const LOCAL_MAX_AGE_MS: i64 = 1000;
/// Largest value kept, in bytes.
const VALUE_MAX_BYTES: usize = 1024;
/// What an entry counts for, in bytes.
const ENTRY_BYTES: usize = 1024;
/// Entries of a set.
const SET_ENTRIES: usize = 4;

struct Entry {
    id: i64,
    key: Key,
    value: Vec<u8>,
    deadline: Deadline,
    version: Version,
    read_ms: i64,
}

/// In the order in which they were read.
type Set = Mutex<Vec<Entry>>;

pub(crate) struct LocalCache {
    sets: Box<[Set]>,
}

fn lock(set: &Set) -> MutexGuard<'_, Vec<Entry>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Most memory used, whatever the options say: 4 GiB.
const LOCAL_MAX_BYTES: usize = 4 << 30;

impl LocalCache {
    pub(crate) fn new(bytes: usize) -> Self {
        let sets = bytes.min(LOCAL_MAX_BYTES) / (ENTRY_BYTES * SET_ENTRIES);
        Self {
            sets: (0..sets).map(|_| Mutex::default()).collect(),
        }
    }

    fn set(&self, id: i64) -> Option<&Set> {
        // The high bits: the low ones choose the counter.
        let index = (id.cast_unsigned() >> 16).checked_rem(self.sets.len() as u64)?;
        self.sets.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn get(
        &self,
        id: i64,
        key: &Key,
        version: Version,
        now_ms: i64,
    ) -> Option<(Vec<u8>, Deadline)> {
        let set = lock(self.set(id)?);
        let entry = set.iter().find(|entry| entry.id == id)?;
        let valid = entry.version == version
            && entry.key == *key
            && (0..LOCAL_MAX_AGE_MS).contains(&now_ms.saturating_sub(entry.read_ms))
            && !entry.deadline.has_expired(now_ms)
            // Otherwise it would never be renewed.
            && entry.deadline.renewed(now_ms).is_none();
        valid.then(|| (entry.value.clone(), entry.deadline))
    }

    /// Keeps a value that was read after `version` was.
    pub(crate) fn put(
        &self,
        id: i64,
        key: &Key,
        value: &[u8],
        deadline: Deadline,
        version: Version,
        now_ms: i64,
    ) {
        if value.len() > VALUE_MAX_BYTES {
            return;
        }
        let Some(set) = self.set(id) else {
            return;
        };
        let entry = Entry {
            id,
            key: key.clone(),
            value: value.into(),
            deadline,
            version,
            read_ms: now_ms,
        };
        let mut set = lock(set);
        if let Some(old) = set.iter_mut().find(|old| old.id == id) {
            *old = entry;
            return;
        }
        if set.len() == SET_ENTRIES {
            set.remove(0);
        }
        set.push(entry);
    }
}
