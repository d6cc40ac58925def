//! Counters in memory that all processes share. They say what may be returned
//! from this process's own memory (`local.rs`) without asking SQLite.
//!
//! A file of counters next to the database is mapped by every process that has
//! the cache open. A write raises the counter of its key's group twice: before its
//! COMMIT, and after it but before its caller is answered. A value read from
//! SQLite is valid as long as the counter is what it was *before* that read:
//! - a value read before the first raise is void from then on;
//! - a value read between the two may be the old one, and is void after the
//!   second.
//!
//! So once a write was answered nobody gets the value before it. If a process is
//! killed between COMMIT and the second raise, others may return what they read in
//! between, for at most [`LOCAL_MAX_AGE_MS`](crate::local::LOCAL_MAX_AGE_MS).

use std::fs::File;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use monolite_platform::path::with_suffix;

use crate::{Error, Result};

/// Groups of keys. One more counter is for all of them.
const GROUPS: usize = 4095;
const BYTES: usize = (GROUPS + 1) * 8;

/// The mapping.
pub(crate) struct Changes {
    start: NonNull<AtomicU64>,
}

/// The counters of a key: of its group, and of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version(u64, u64);

// SAFETY: the mapping is of atomics, lives as long as this value, and is moved
// and shared like any memory.
#[allow(unsafe_code, reason = "a mapping is a pointer")]
unsafe impl Send for Changes {}
// SAFETY: as above.
#[allow(unsafe_code, reason = "a mapping is a pointer")]
unsafe impl Sync for Changes {}

/// Allocates every byte of the file on the disk: touching one that is not, once
/// the disk is full, would end the process.
fn allocate(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;

    let flags = rustix::fs::FallocateFlags::empty();
    match rustix::fs::fallocate(file, flags, 0, BYTES as u64) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    // Not supported: each page is read and written again. That may undo a raise
    // in between; all counters are raised at every opening.
    let mut page = vec![0; 4096];
    for offset in (0..BYTES).step_by(page.len()) {
        let bytes = page.len().min(BYTES - offset);
        let page = page.get_mut(..bytes).unwrap_or_default();
        file.read_exact_at(page, offset as u64)?;
        file.write_all_at(page, offset as u64)?;
    }
    Ok(())
}

impl Changes {
    /// Its name is the database's with this appended.
    pub(crate) const SUFFIX: &str = "-changes";

    #[allow(unsafe_code, reason = "mmap")]
    pub(crate) fn open(database: &Path) -> Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let path = with_suffix(database, Self::SUFFIX);
        let map = || -> std::io::Result<NonNull<AtomicU64>> {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&path)?;
            if file.metadata()?.len() < BYTES as u64 {
                // Never shorter: touching a mapping beyond the end of its file
                // ends the process.
                file.set_len(BYTES as u64)?;
            }
            allocate(&file)?;
            let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
            // SAFETY: a new mapping, at an address of the kernel's choice; the
            // file is as long as it. A process that cuts the file short ends this
            // one, as with the shared memory of SQLite's own WAL.
            let start = unsafe { mmap(std::ptr::null_mut(), BYTES, protection, flags, &file, 0) }?;
            NonNull::new(start.cast()).ok_or_else(|| std::io::ErrorKind::OutOfMemory.into())
        };
        match map() {
            Ok(start) => Ok(Self { start }),
            Err(source) if source.kind() == std::io::ErrorKind::StorageFull => {
                Err(Error::DiskFull { path })
            }
            Err(source) => Err(Error::Io {
                what: "map",
                path,
                source,
            }),
        }
    }

    #[allow(unsafe_code, reason = "a mapping is a pointer")]
    fn counters(&self) -> &[AtomicU64] {
        // SAFETY: page-aligned, of this length, and mapped until `drop`.
        // Others change it through atomics as well, and any bits are valid.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), GROUPS + 1) }
    }

    fn group(&self, id: i64) -> Option<&AtomicU64> {
        let group = id.cast_unsigned() % GROUPS as u64;
        self.counters().get(usize::try_from(group).ok()?)
    }

    fn all(&self) -> Option<&AtomicU64> {
        self.counters().last()
    }

    pub(crate) fn version(&self, id: i64) -> Version {
        let get = |counter: Option<&AtomicU64>| {
            counter.map_or(0, |counter| counter.load(Ordering::SeqCst))
        };
        Version(get(self.group(id)), get(self.all()))
    }

    /// One key changes, or has changed.
    pub(crate) fn raise(&self, id: i64) {
        if let Some(counter) = self.group(id) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Any number of keys change, or have changed.
    pub(crate) fn raise_all(&self) {
        if let Some(counter) = self.all() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Changes {
    #[allow(unsafe_code, reason = "munmap")]
    fn drop(&mut self) {
        // SAFETY: what was mapped, whole; nothing refers to it any more.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_map_it_see_the_same_counters() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("a.sqlite3");
        let (one, two) = (
            Changes::open(&database).unwrap(),
            Changes::open(&database).unwrap(),
        );
        let before = [1, -1, i64::MIN].map(|id| two.version(id));
        one.raise(-1);
        assert_eq!(two.version(1), before[0]);
        assert_ne!(two.version(-1), before[1]);
        one.raise_all();
        assert_ne!(two.version(1), before[0]);
        assert_ne!(two.version(i64::MIN), before[2]);
    }
}
