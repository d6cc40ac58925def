//! Counters in memory that all processes share: what may be answered from
//! this process's own memory (`near.rs`) without asking SQLite.
//!
//! A file of counters stands beside the database, mapped by everyone who has
//! the cache open. A write raises the counter of its key's group twice: before
//! its COMMIT, and after it before its caller is answered. What a reader took
//! from SQLite is good for as long as the counter says what it said *before*
//! that read:
//! - a value read before the first raise is void from then on;
//! - one read between the two may be the old one, and is void after the second.
//!
//! So once a write was answered nobody is told of the value before it. A
//! process killed between COMMIT and the second raise leaves others with what
//! they read in between; they keep nothing for longer than
//! [`NEAR_MS`](crate::near::NEAR_MS).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Groups of keys; beside them stands one counter for all.
const GROUPS: usize = 4095;
const BYTES: usize = (GROUPS + 1) * 8;

/// The mapping.
pub(crate) struct Changes {
    start: NonNull<AtomicU64>,
}

/// What the counters said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version(u64, u64);

// SAFETY: the mapping is of atomics, lives as long as this value, and is moved
// and shared like any memory.
#[allow(unsafe_code, reason = "a mapping is a pointer")]
unsafe impl Send for Changes {}
// SAFETY: as above.
#[allow(unsafe_code, reason = "a mapping is a pointer")]
unsafe impl Sync for Changes {}

/// Gives every byte of the file its place on the disk: to touch one that has
/// none, once the disk is full, would end the process.
fn occupy(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;

    let flags = rustix::fs::FallocateFlags::empty();
    match rustix::fs::fallocate(file, flags, 0, BYTES as u64) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    // By hand: what is there is put where it was. A counter that is raised in
    // between may be set back by that; all are raised at every opening.
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
    pub(crate) fn path(database: &Path) -> PathBuf {
        let mut name = database.as_os_str().to_owned();
        name.push("-changes");
        name.into()
    }

    #[allow(unsafe_code, reason = "mmap")]
    pub(crate) fn open(database: &Path) -> Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let path = Self::path(database);
        let map = || -> std::io::Result<NonNull<AtomicU64>> {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&path)?;
            if file.metadata()?.len() < BYTES as u64 {
                // Only ever longer: a mapping of less than it maps ends the
                // process that touches it.
                file.set_len(BYTES as u64)?;
            }
            occupy(&file)?;
            let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
            // SAFETY: a new mapping, at an address of the kernel's choice; the
            // file is as long as it. Who cuts the file short makes us fail, as
            // with the shared memory of SQLite's own WAL.
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

    /// Any number of them.
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
    fn those_who_map_it_see_each_other() {
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
