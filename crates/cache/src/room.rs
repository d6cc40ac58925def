//! The bound.
//!
//! What counts is what the disk counts: the pages of the database, the WAL,
//! its index and the blocks of the blob file. Before anything is put in, room
//! is made for it in the same transaction: first by evicting until what is
//! *live* leaves room, then, where free pages and free blocks take it up, by
//! giving those back.
//!
//! Asking SQLite for its pages at each write would cost more than most
//! evictions, so the answer is kept as [`Slack`]: bytes that may be put in
//! before it has to be asked again. It is only ever too small: it is lowered
//! by each write, rolled back or not, and asked for anew once another process
//! has written.

use rusqlite::Connection;

use crate::blobs::BLOCK_BYTES;
use crate::map::{Map, Totals};
use crate::{Error, Result, Tables};

/// What is about to be put in, at most.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Need {
    pub(crate) bytes: u64,
    pub(crate) blocks: u64,
}

impl Need {
    /// A row of so many bytes: pages are two thirds full on the average.
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

    fn total(self) -> u64 {
        self.bytes + self.blocks * BLOCK_BYTES
    }
}

/// See above.
#[derive(Debug)]
pub(crate) struct Slack {
    /// That may become live.
    live: u64,
    /// In free pages, and in free blocks that take room already.
    pages: u64,
    blocks: u64,
    /// That may be added on the disk.
    disk: u64,
    data_version: i64,
}

impl Slack {
    fn new(usage: Usage, target: u64, data_version: i64) -> Self {
        let spare = usage.blocks.held.saturating_sub(usage.blocks.used);
        // Not more at once, since the WAL is looked at then as well.
        let live = target.saturating_sub(usage.live()).min(target / 64);
        Self {
            live,
            pages: usage.free * usage.page_bytes,
            blocks: spare * BLOCK_BYTES,
            disk: target.saturating_sub(usage.on_disk()),
            data_version,
        }
    }

    /// Takes what is needed, if it is there.
    fn take(&mut self, need: Need) -> bool {
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

/// What a file takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    page_bytes: u64,
    pages: u64,
    free: u64,
    blocks: Totals,
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
            blocks: Map::totals(conn)?,
        })
    }

    pub(crate) fn live(self) -> u64 {
        self.pages.saturating_sub(self.free) * self.page_bytes + self.blocks.used * BLOCK_BYTES
    }

    fn on_disk(self) -> u64 {
        self.pages * self.page_bytes + self.blocks.held * BLOCK_BYTES
    }

    /// On the disk, once `need` was put in.
    fn after(self, need: Need) -> u64 {
        let pages = need.bytes.saturating_sub(self.free * self.page_bytes);
        let spare = self.blocks.held.saturating_sub(self.blocks.used);
        let blocks = need.blocks.saturating_sub(spare) * BLOCK_BYTES;
        self.on_disk() + pages + blocks
    }
}

/// Bytes the WAL may take, of a bound: it is checkpointed at five eighths of that,
/// and cut back to it.
pub(crate) fn wal_bytes(bound: u64) -> u64 {
    (bound / 16).clamp(512 << 10, 16 << 20)
}

/// Bytes left for database and blobs: the WAL, the WAL's index (8 bytes a
/// page, in pieces of 32 KiB), the counters and the map are not for values.
fn target(bound: u64) -> u64 {
    let wal = wal_bytes(bound);
    bound.saturating_sub(wal + wal / 256 + (128 << 10))
}

impl Tables {
    /// Makes room for what is about to be put in.
    pub(crate) fn make_room(
        &self,
        conn: &Connection,
        map: &mut Map<'_>,
        need: Need,
        now_ms: i64,
    ) -> Result<()> {
        let total = need.total();
        if total == 0 {
            return Ok(());
        }
        let version: i64 = conn
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        let mut slack = self.lock_slack();
        if let Some(slack) = &mut *slack
            && slack.data_version == version
            && slack.take(need)
        {
            return Ok(());
        }
        *slack = None;
        self.check_wal()?;
        let target = target(self.bound_bytes());
        // A little more than is needed now, so that not each write comes here.
        let most = target.saturating_sub(total + target / 4096);
        let mut usage = self.evict_to(conn, map, most, now_ms)?;
        let after = usage.after(need);
        if after > target {
            usage = self.trim(conn, map, usage, after - target)?;
        }
        if usage.after(need) > target + target / 32 {
            // Only where the filesystem takes nothing back.
            return Err(Error::NoRoom {
                path: self.path.clone(),
            });
        }
        let mut next = Slack::new(usage, target, version);
        if next.take(need) {
            *slack = Some(next);
        }
        Ok(())
    }

    /// The WAL is cut back by itself, unless a reader holds it.
    fn check_wal(&self) -> Result<()> {
        let mut wal = self.path.as_os_str().to_owned();
        wal.push("-wal");
        let wal_bytes = std::fs::metadata(wal).map_or(0, |wal| wal.len());
        let bound = self.bound_bytes();
        if wal_bytes <= self::wal_bytes(bound) + bound / 32 {
            return Ok(());
        }
        Err(Error::WalHeld {
            path: self.path.clone(),
            wal_bytes,
        })
    }

    /// Gives about `bytes` of free pages and free blocks back to the disk.
    fn trim(
        &self,
        conn: &Connection,
        map: &mut Map<'_>,
        usage: Usage,
        bytes: u64,
    ) -> Result<Usage> {
        let spare = usage.blocks.held.saturating_sub(usage.blocks.used);
        let blocks = spare.min(bytes.div_ceil(BLOCK_BYTES));
        if blocks > 0 {
            map.trim(&self.blobs, blocks)?;
        }
        let rest = bytes.saturating_sub(blocks * BLOCK_BYTES);
        let pages = rest.div_ceil(usage.page_bytes.max(1)).min(usage.free);
        if pages > 0 {
            vacuum(conn, pages)?;
        }
        Usage::of(conn)
    }

    /// A bounded step towards the bound, for when it was lowered: evicts and
    /// gives back. True if there is more to do.
    ///
    /// # Errors
    /// SQLite's, or the blob file's.
    pub fn shrink(&self, conn: &Connection, now_ms: i64) -> Result<bool> {
        let target = target(self.bound_bytes());
        let before = Usage::of(conn)?;
        if before.on_disk() <= target {
            return Ok(false);
        }
        let mut map = Map::new(conn);
        let usage = self.evict_to(conn, &mut map, target, now_ms)?;
        let step = (usage.on_disk().saturating_sub(target)).min(SHRINK_STEP_BYTES);
        let after = self.trim(conn, &mut map, usage, step)?;
        map.flush()?;
        *self.lock_slack() = None;
        // No progress: what is left cannot be given back here.
        Ok(after.on_disk() > target
            && (after.on_disk() < before.on_disk() || after.live() < before.live()))
    }

    /// Bytes of entries, with what is kept about them.
    ///
    /// # Errors
    /// SQLite's.
    pub fn live_bytes(&self, conn: &Connection) -> Result<u64> {
        Ok(Usage::of(conn)?.live())
    }
}

/// Pages and blocks given back in one step: about a millisecond.
const SHRINK_STEP_BYTES: u64 = 512 << 10;

fn vacuum(conn: &Connection, pages: u64) -> Result<()> {
    // A row for each page it moves: all are to be asked for.
    let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
