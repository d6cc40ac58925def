//! How many bytes the files take, and how many may be added before the bound is
//! reached.
//!
//! What counts is what the disk counts: the pages of the database, the WAL, its
//! index and the blocks of the blob file. Before anything is set, space is reserved
//! for it in the same transaction (`evict.rs`): first by evicting until the *live*
//! bytes leave enough, then, where free pages and free blocks take it up, by
//! returning those to the filesystem.
//!
//! Asking SQLite for its pages at each write would cost more than most evictions,
//! so the answer is kept as [`Slack`]: bytes that may be added before SQLite is
//! asked again. It is only ever too small: each write lowers it, rolled back or
//! not, and it is computed again once another process has written.

use rusqlite::Connection;

use crate::Result;
use crate::blobs::BLOCK_BYTES;
use crate::block_map::{BlockMap, Totals};

/// What is about to be added, at most.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Need {
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
}

impl Need {
    /// A row of this many bytes: pages are two thirds full on average.
    pub(crate) fn row(bytes: usize) -> Self {
        Self {
            bytes: (bytes as u64 + 48) * 3 / 2,
            blocks: 0,
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            blocks: self.blocks + other.blocks,
        }
    }

    pub(crate) fn total(self) -> u64 {
        self.bytes + self.blocks * BLOCK_BYTES
    }
}

/// What may be added before SQLite is asked again.
#[derive(Debug)]
pub(crate) struct Slack {
    /// Bytes that may become live.
    live: u64,
    /// Bytes of free pages, and of free blocks that take space already.
    pages: u64,
    blocks: u64,
    /// Bytes that may be added on the disk.
    disk: u64,
    pub(crate) data_version: i64,
}

impl Slack {
    pub(crate) fn new(usage: Usage, target: u64, data_version: i64) -> Self {
        let spare = usage.blocks.held.saturating_sub(usage.blocks.used);
        // Limited, since the size of the WAL is looked at then as well.
        let live = target.saturating_sub(usage.live()).min(target / 64);
        Self {
            live,
            pages: usage.free * usage.page_bytes,
            blocks: spare * BLOCK_BYTES,
            disk: target.saturating_sub(usage.on_disk()),
            data_version,
        }
    }

    /// Takes what is needed, if there is enough.
    pub(crate) fn take(&mut self, need: Need) -> bool {
        let blocks = need.blocks * BLOCK_BYTES;
        let more = need.bytes.saturating_sub(self.pages) + blocks.saturating_sub(self.blocks);
        if need.total() > self.live || more > self.disk {
            return false;
        }
        self.live -= need.total();
        self.disk -= more;
        self.pages = self.pages.saturating_sub(need.bytes);
        self.blocks = self.blocks.saturating_sub(blocks);
        true
    }
}

/// What the files take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) page_bytes: u64,
    pages: u64,
    /// Pages of the freelist.
    pub(crate) free: u64,
    pub(crate) blocks: Totals,
}

impl Usage {
    pub(crate) fn of(conn: &Connection) -> Result<Self> {
        let pragma = |name: &str| -> Result<u64> {
            let mut get = conn.prepare_cached(name)?;
            Ok(get
                .query_row([], |row| row.get::<_, i64>(0))?
                .unsigned_abs())
        };
        Ok(Self {
            page_bytes: pragma("PRAGMA page_size")?,
            pages: pragma("PRAGMA page_count")?,
            free: pragma("PRAGMA freelist_count")?,
            blocks: BlockMap::totals(conn)?,
        })
    }

    pub(crate) fn live(self) -> u64 {
        self.pages.saturating_sub(self.free) * self.page_bytes + self.blocks.used * BLOCK_BYTES
    }

    pub(crate) fn on_disk(self) -> u64 {
        self.pages * self.page_bytes + self.blocks.held * BLOCK_BYTES
    }

    /// Bytes on the disk, once `need` was added.
    pub(crate) fn after(self, need: Need) -> u64 {
        let pages = need.bytes.saturating_sub(self.free * self.page_bytes);
        let spare = self.blocks.held.saturating_sub(self.blocks.used);
        let blocks = need.blocks.saturating_sub(spare) * BLOCK_BYTES;
        self.on_disk() + pages + blocks
    }
}

/// Bytes of a bound that the WAL may take: it is checkpointed at five eighths of
/// that, and cut back to it.
pub(crate) fn wal_bytes(bound: u64) -> u64 {
    (bound / 16).clamp(512 << 10, 16 << 20)
}

/// Bytes of a bound that are left for database and blobs, without the WAL, the
/// WAL's index (8 bytes for each page, in parts of 32 KiB) and the counters.
pub(crate) fn target(bound: u64) -> u64 {
    let wal = wal_bytes(bound);
    bound.saturating_sub(wal + wal / 256 + (128 << 10))
}
