//! Eviction: which entries go.
//!
//! Rows lie in the order of their hashes, which is no order at all: a few that
//! lie side by side are a fair sample, and what is worth least of them goes.
//! Those deleted together share pages, so that the deletes cost few, and the
//! pages come free.

use std::sync::atomic::Ordering;

use rusqlite::Connection;

use crate::heat::worth;
use crate::map::Map;
use crate::read::{expiry, int};
use crate::room::Usage;
use crate::write::remove;
use crate::{Result, Tables};

/// Rows looked at for each choice of what to evict.
const SAMPLE: usize = 48;
/// Of those, the ones that go.
const VICTIMS: usize = 12;
/// Most rows looked at in one transaction, unless there is no room at all:
/// about half a millisecond.
const LOOKS_MAX: usize = 12 * SAMPLE;
/// Rows warmed in one step: about a millisecond.
const FOLD_MAX: usize = 512;

impl Tables {
    /// Evicts until no more than `most` bytes are live.
    pub(crate) fn evict_to(
        &self,
        conn: &Connection,
        map: &mut Map<'_>,
        most: u64,
        now_ms: i64,
    ) -> Result<Usage> {
        let mut usage = Usage::of(conn)?;
        let mut looks = 0;
        let at_last = most.saturating_add(most / 64);
        while usage.live() > most && (looks < LOOKS_MAX || usage.live() > at_last) {
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

    /// Evicts what is worth least of the next entries. False if there are none.
    fn evict_some(&self, conn: &Connection, map: &mut Map<'_>, now_ms: i64) -> Result<bool> {
        struct Candidate {
            id: i64,
            worth: i64,
            over: bool,
            warmed: Option<i64>,
            runs: Option<Vec<u8>>,
            tags: Option<Vec<u8>>,
        }
        let now = self.now();
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
                let (heat, hits) = (row.get(3)?, self.hits.take(id));
                let heat: i64 = heat;
                let warmed = now.warmed(heat, hits);
                candidates.push(Candidate {
                    id,
                    worth: worth(warmed, row.get::<_, i64>(4)?.unsigned_abs()),
                    over: expiry(row, 1)?.is_over(now_ms),
                    warmed: (hits > 0).then_some(warmed),
                    runs: row.get(5)?,
                    tags: row.get(6)?,
                });
            }
            if candidates.len() == SAMPLE || from == i64::MIN {
                break;
            }
        }
        // Round the corner it may meet the same ones again.
        if let Some(last) = candidates.last() {
            self.hand.store(last.id, Ordering::Relaxed);
        }
        candidates.sort_unstable_by_key(|candidate| candidate.id);
        candidates.dedup_by_key(|candidate| candidate.id);
        candidates.sort_unstable_by_key(|candidate| (!candidate.over, candidate.worth));
        for (index, candidate) in candidates.iter().enumerate() {
            if candidate.over || index < VICTIMS {
                let counter = if candidate.over {
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
            } else if let Some(heat) = candidate.warmed {
                self.set_heat(conn, candidate.id, heat)?;
            }
        }
        Ok(!candidates.is_empty())
    }

    fn set_heat(&self, conn: &Connection, id: i64, heat: i64) -> Result<()> {
        conn.prepare_cached("UPDATE _monolite_cache_entry SET heat = ?2 WHERE id = ?1")?
            .execute((id, heat))?;
        Ok(())
    }

    /// The clock of heat goes on for all processes.
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

    /// Adds the hits counted in memory to the rows of the most used entries,
    /// so that other processes know of them.
    ///
    /// # Errors
    /// SQLite's.
    pub fn fold_hits(&self, conn: &Connection) -> Result<()> {
        let now = self.now();
        let mut ids = self.hits.drain(FOLD_MAX);
        ids.sort_unstable();
        let mut get =
            conn.prepare_cached("SELECT heat FROM _monolite_cache_entry WHERE id = ?1")?;
        for id in ids {
            let mut rows = get.query([id])?;
            let Some(row) = rows.next()? else {
                self.hits.take(id);
                continue;
            };
            let heat: i64 = row.get(0)?;
            drop(rows);
            let warmed = now.warmed(heat, self.hits.take(id));
            // Less than a doubling is not worth a page.
            if warmed > heat + 64 {
                self.set_heat(conn, id, warmed)?;
            }
        }
        Ok(())
    }
}
