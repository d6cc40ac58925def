//! Keeping the bound: which entries are evicted, and what is returned to the
//! filesystem.
//!
//! Rows lie in the order of their hashes, which is a random order: a few
//! consecutive rows are a fair sample, and those of the lowest priority are
//! deleted. Rows deleted together share pages, so that the deletes cost few page
//! writes and free whole pages.

use std::sync::atomic::Ordering;

use monolite_platform::path::with_suffix;
use rusqlite::Connection;

use crate::blobs::BLOCK_BYTES;
use crate::block_map::BlockMap;
use crate::capacity::{self, Need, Slack, Usage, target};
use crate::lrfu::priority;
use crate::removal::remove;
use crate::row::{deadline, int};
use crate::tables::Tables;
use crate::{Error, Result};

/// Rows looked at for each choice of what to evict.
const SAMPLE: usize = 48;
/// Rows of a sample that are evicted.
const VICTIMS: usize = 12;
/// Most rows looked at in one transaction, unless the bound is reached: about half
/// a millisecond.
const LOOKS_MAX: usize = 12 * SAMPLE;
/// Most rows whose hits are written in one step: about a millisecond.
const HITS_MAX: usize = 512;
/// Bytes of pages and blocks returned to the filesystem in one step: about a
/// millisecond.
const SHRINK_STEP_BYTES: u64 = 512 << 10;

impl Tables {
    /// Reserves space for what is about to be added.
    pub(crate) fn reserve(
        &self,
        conn: &Connection,
        map: &mut BlockMap<'_>,
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
        // A little more than is needed now, so that not every write comes here.
        let most = target.saturating_sub(total + target / 4096);
        let mut usage = self.evict_to(conn, map, most, now_ms)?;
        let after = usage.after(need);
        if after > target {
            usage = self.trim(conn, map, usage, after - target)?;
        }
        if usage.after(need) > target + target / 32 {
            // Only where the filesystem supports no holes.
            return Err(Error::CannotShrink {
                path: self.path.clone(),
            });
        }
        let mut next = Slack::new(usage, target, version);
        if next.take(need) {
            *slack = Some(next);
        }
        Ok(())
    }

    /// Fails if the WAL is too large: a reader keeps it from being reset.
    fn check_wal(&self) -> Result<()> {
        let wal = std::fs::metadata(with_suffix(&self.path, "-wal"));
        let wal_bytes = wal.map_or(0, |wal| wal.len());
        let bound = self.bound_bytes();
        if wal_bytes <= capacity::wal_bytes(bound) + bound / 32 {
            return Ok(());
        }
        Err(Error::WalHeld {
            path: self.path.clone(),
            wal_bytes,
        })
    }

    /// Returns about `bytes` of free pages and free blocks to the filesystem.
    fn trim(
        &self,
        conn: &Connection,
        map: &mut BlockMap<'_>,
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

    /// One bounded step towards a bound that was lowered: evicts, and returns
    /// space to the filesystem. True if there is more to do.
    ///
    /// # Errors
    /// SQLite's, or the blob file's.
    pub fn shrink(&self, conn: &Connection, now_ms: i64) -> Result<bool> {
        let target = target(self.bound_bytes());
        let before = Usage::of(conn)?;
        if before.on_disk() <= target {
            return Ok(false);
        }
        let mut map = BlockMap::new(conn);
        let usage = self.evict_to(conn, &mut map, target, now_ms)?;
        let step = (usage.on_disk().saturating_sub(target)).min(SHRINK_STEP_BYTES);
        let after = self.trim(conn, &mut map, usage, step)?;
        map.flush()?;
        *self.lock_slack() = None;
        // Without progress: what is left cannot be returned here.
        Ok(after.on_disk() > target
            && (after.on_disk() < before.on_disk() || after.live() < before.live()))
    }

    /// Bytes of the entries and their metadata.
    ///
    /// # Errors
    /// SQLite's.
    pub fn live_bytes(&self, conn: &Connection) -> Result<u64> {
        Ok(Usage::of(conn)?.live())
    }

    /// Evicts until at most `most` bytes are live.
    fn evict_to(
        &self,
        conn: &Connection,
        map: &mut BlockMap<'_>,
        most: u64,
        now_ms: i64,
    ) -> Result<Usage> {
        let mut usage = Usage::of(conn)?;
        let mut looks = 0;
        let limit = most.saturating_add(most / 64);
        while usage.live() > most && (looks < LOOKS_MAX || usage.live() > limit) {
            if !self.evict_some(conn, map, now_ms)? {
                break;
            }
            looks += SAMPLE;
            map.flush()?;
            usage = Usage::of(conn)?;
        }
        if looks > 0 {
            self.note_written(conn)?;
        }
        Ok(usage)
    }

    /// Evicts the entries of the lowest priority of the next sample. False if there
    /// are no entries.
    fn evict_some(&self, conn: &Connection, map: &mut BlockMap<'_>, now_ms: i64) -> Result<bool> {
        struct Candidate {
            id: i64,
            priority: i64,
            expired: bool,
            /// The new score, if there were hits.
            score: Option<i64>,
            runs: Option<Vec<u8>>,
            tags: Option<Vec<u8>>,
        }
        let now = self.lrfu_clock();
        let mut next = conn.prepare_cached(
            "SELECT id, expires_ms, ttl_ms, heat, size, runs, tags
             FROM _monolite_cache_entry WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let mut candidates: Vec<Candidate> = Vec::with_capacity(SAMPLE);
        let hand = self.hand.load(Ordering::Relaxed);
        for from in [hand, i64::MIN] {
            let mut rows = next.query((from, int(SAMPLE - candidates.len())))?;
            while let Some(row) = rows.next()? {
                let id = row.get(0)?;
                let hits = self.hits.take(id);
                let score = now.after_hits(row.get(3)?, hits);
                candidates.push(Candidate {
                    id,
                    priority: priority(score, row.get::<_, i64>(4)?.unsigned_abs()),
                    expired: deadline(row, 1)?.has_expired(now_ms),
                    score: (hits > 0).then_some(score),
                    runs: row.get(5)?,
                    tags: row.get(6)?,
                });
            }
            if candidates.len() == SAMPLE || from == i64::MIN {
                break;
            }
        }
        // Beginning again from the start it may meet the same rows.
        if let Some(last) = candidates.last() {
            self.hand.store(last.id, Ordering::Relaxed);
        }
        candidates.sort_unstable_by_key(|candidate| candidate.id);
        candidates.dedup_by_key(|candidate| candidate.id);
        candidates.sort_unstable_by_key(|candidate| (!candidate.expired, candidate.priority));
        for (index, candidate) in candidates.iter().enumerate() {
            if candidate.expired || index < VICTIMS {
                let counter = if candidate.expired {
                    &self.counts.expirations
                } else {
                    &self.counts.evictions
                };
                Self::count(counter, 1);
                remove(
                    conn,
                    map,
                    candidate.id,
                    candidate.runs.as_deref(),
                    candidate.tags.as_deref(),
                )?;
            } else if let Some(score) = candidate.score {
                self.set_score(conn, candidate.id, score)?;
            }
        }
        Ok(!candidates.is_empty())
    }

    fn set_score(&self, conn: &Connection, id: i64, score: i64) -> Result<()> {
        conn.prepare_cached("UPDATE _monolite_cache_entry SET heat = ?2 WHERE id = ?1")?
            .execute((id, score))?;
        Ok(())
    }

    /// Advances the clock of scores for all processes.
    fn note_written(&self, conn: &Connection) -> Result<()> {
        let mine = self.written.load(Ordering::Relaxed);
        let mut set = conn.prepare_cached(
            "UPDATE _monolite_cache_state SET written = max(written, ?1) RETURNING written",
        )?;
        let all: i64 =
            set.query_row([i64::try_from(mine).unwrap_or(i64::MAX)], |row| row.get(0))?;
        self.written
            .fetch_max(all.unsigned_abs(), Ordering::Relaxed);
        Ok(())
    }

    /// Adds the hits counted in memory to the rows of the most used entries, so
    /// that other processes know of them.
    ///
    /// # Errors
    /// SQLite's.
    pub fn write_hits(&self, conn: &Connection) -> Result<()> {
        let now = self.lrfu_clock();
        let mut ids = self.hits.drain(HITS_MAX);
        ids.sort_unstable();
        let mut get =
            conn.prepare_cached("SELECT heat FROM _monolite_cache_entry WHERE id = ?1")?;
        for id in ids {
            let mut rows = get.query([id])?;
            let Some(row) = rows.next()? else {
                self.hits.take(id);
                continue;
            };
            let score: i64 = row.get(0)?;
            drop(rows);
            let after = now.after_hits(score, self.hits.take(id));
            // Less than a doubling is not worth a page write.
            if after > score + 64 {
                self.set_score(conn, id, after)?;
            }
        }
        Ok(())
    }
}

fn vacuum(conn: &Connection, pages: u64) -> Result<()> {
    // It answers a row for each page it moves: all must be read.
    let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}
