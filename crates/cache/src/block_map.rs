//! Which blocks of the blob file are in use: one row of bitmaps for each 32 MiB.
//!
//! A [`BlockMap`] lives as long as one part of one transaction: it reads the rows
//! it needs, and [`BlockMap::flush`] writes those that changed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rusqlite::{Connection, OptionalExtension};

use crate::Result;
use crate::blobs::{Blobs, Run};

/// Blocks of one row: 32 MiB of the file.
const SEGMENT: u32 = 8192;

struct Segment {
    used: Bits,
    held: Bits,
    dirty: bool,
}

pub(crate) struct BlockMap<'c> {
    conn: &'c Connection,
    segments: BTreeMap<u32, Segment>,
}

/// Numbers of blocks of the whole file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// They belong to an entry.
    pub(crate) used: u64,
    /// They may take space on the disk: used, or used before and not returned.
    pub(crate) held: u64,
}

impl<'c> BlockMap<'c> {
    pub(crate) fn new(conn: &'c Connection) -> Self {
        Self {
            conn,
            segments: BTreeMap::new(),
        }
    }

    /// As of the last flush.
    pub(crate) fn totals(conn: &Connection) -> Result<Totals> {
        let mut sum = conn.prepare_cached(
            "SELECT coalesce(sum(used_count), 0), coalesce(sum(held_count), 0)
             FROM _monolite_cache_map",
        )?;
        Ok(sum.query_row([], |row| {
            Ok(Totals {
                used: row.get::<_, i64>(0)?.unsigned_abs(),
                held: row.get::<_, i64>(1)?.unsigned_abs(),
            })
        })?)
    }

    fn segment(&mut self, number: u32) -> Result<&mut Segment> {
        match self.segments.entry(number) {
            Entry::Occupied(there) => Ok(there.into_mut()),
            Entry::Vacant(entry) => {
                let mut get = self.conn.prepare_cached(
                    "SELECT used, held FROM _monolite_cache_map WHERE segment = ?1",
                )?;
                let found = get
                    .query_row([number], |row| {
                        Ok(Segment {
                            used: Bits::read(row.get_ref(0)?.as_blob()?),
                            held: Bits::read(row.get_ref(1)?.as_blob()?),
                            dirty: false,
                        })
                    })
                    .optional()?;
                Ok(entry.insert(found.unwrap_or(Segment {
                    used: Bits([0; WORDS]),
                    held: Bits([0; WORDS]),
                    dirty: false,
                })))
            }
        }
    }

    /// Allocates `count` blocks: those that take space already before others, and
    /// low ones before high ones, so that the end of the file becomes free.
    pub(crate) fn allocate(&mut self, count: u32) -> Result<Vec<Run>> {
        let mut runs: Vec<Run> = Vec::new();
        let mut left = count;
        for held in [true, false] {
            if left == 0 {
                break;
            }
            for number in self.candidates(held, left)? {
                self.take(number, held, &mut left, &mut runs)?;
                if left == 0 {
                    break;
                }
            }
        }
        Ok(runs)
    }

    /// Segments with free blocks of the kind; new ones come last.
    fn candidates(&mut self, held: bool, blocks: u32) -> Result<Vec<u32>> {
        let mut find = self.conn.prepare_cached(
            "SELECT segment FROM _monolite_cache_map
             WHERE CASE ?1 WHEN 1 THEN held_count > used_count ELSE held_count < ?2 END
             ORDER BY segment",
        )?;
        let mut numbers = find
            .query_map((held, SEGMENT), |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<u32>>>()?;
        // What was changed since the last flush counts as well.
        numbers.extend(self.segments.keys());
        if !held {
            let mut last = self
                .conn
                .prepare_cached("SELECT coalesce(max(segment), -1) FROM _monolite_cache_map")?;
            let last: i64 = last.query_row([], |row| row.get(0))?;
            let next = u32::try_from(last + 1).unwrap_or(0);
            let next = self
                .segments
                .keys()
                .last()
                .map_or(next, |known| next.max(known + 1));
            // A value may be larger than one segment.
            numbers.extend(next..=next + blocks / SEGMENT + 1);
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }

    fn take(&mut self, number: u32, held: bool, left: &mut u32, runs: &mut Vec<Run>) -> Result<()> {
        let segment = self.segment(number)?;
        let mut free = [0; WORDS];
        for ((free, used), there) in free.iter_mut().zip(segment.used.0).zip(segment.held.0) {
            *free = !used & if held { there } else { !there };
        }
        let mut from = 0;
        while *left > 0
            && let Some(run) = next_run(&free, from, *left)
        {
            from = run.first + run.count;
            *left -= run.count;
            segment.used.set(run.first, run.count, true);
            segment.held.set(run.first, run.count, true);
            segment.dirty = true;
            let first = number * SEGMENT + run.first;
            match runs.last_mut() {
                Some(last) if last.first + last.count == first => last.count += run.count,
                _ => runs.push(Run {
                    first,
                    count: run.count,
                }),
            }
        }
        Ok(())
    }

    /// Frees blocks; they still take space on the disk.
    pub(crate) fn free(&mut self, runs: impl Iterator<Item = Run>) -> Result<()> {
        for mut run in runs {
            while run.count > 0 {
                let (number, inside) = (run.first / SEGMENT, run.first % SEGMENT);
                let count = run.count.min(SEGMENT - inside);
                let segment = self.segment(number)?;
                segment.used.set(inside, count, false);
                segment.dirty = true;
                run.first += count;
                run.count -= count;
            }
        }
        Ok(())
    }

    /// Returns about `blocks` free blocks to the filesystem.
    pub(crate) fn trim(&mut self, blobs: &Blobs, mut blocks: u64) -> Result<()> {
        let mut numbers = self.candidates(true, 0)?;
        numbers.reverse();
        for number in numbers {
            let segment = self.segment(number)?;
            let mut from = 0;
            while blocks > 0 {
                let mut spare = [0; WORDS];
                for ((spare, used), held) in
                    spare.iter_mut().zip(segment.used.0).zip(segment.held.0)
                {
                    *spare = held & !used;
                }
                let Some(run) = next_run(&spare, from, SEGMENT) else {
                    break;
                };
                from = run.first + run.count;
                let whole = Run {
                    first: number * SEGMENT + run.first,
                    count: run.count,
                };
                if !blobs.punch(whole)? {
                    return Ok(());
                }
                segment.held.set(run.first, run.count, false);
                segment.dirty = true;
                blocks = blocks.saturating_sub(run.count.into());
            }
        }
        self.flush()?;
        self.shorten(blobs)
    }

    /// Cuts unused segments off the end of the file.
    fn shorten(&mut self, blobs: &Blobs) -> Result<()> {
        let mut last = self.conn.prepare_cached(
            "SELECT segment, held FROM _monolite_cache_map ORDER BY segment DESC LIMIT 1",
        )?;
        loop {
            let found: Option<(u32, Vec<u8>)> = last
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((number, held)) = found else {
                return blobs.truncate(0);
            };
            let held = Bits::read(&held);
            let highest = held.0.iter().rposition(|word| *word != 0);
            if let Some(word) = highest {
                return blobs
                    .truncate(u64::from(number) * u64::from(SEGMENT) + word as u64 * 64 + 64);
            }
            self.segments.remove(&number);
            self.conn
                .prepare_cached("DELETE FROM _monolite_cache_map WHERE segment = ?1")?
                .execute([number])?;
        }
    }

    /// Writes the rows that changed. Nothing counts until then.
    pub(crate) fn flush(&mut self) -> Result<()> {
        for (number, segment) in &mut self.segments {
            if !segment.dirty {
                continue;
            }
            let row = (
                number,
                segment.used.count(),
                segment.held.count(),
                segment.used.bytes(),
                segment.held.bytes(),
            );
            // Two statements: see `write.rs`.
            let mut update = self.conn.prepare_cached(
                "UPDATE _monolite_cache_map SET used_count = ?2, held_count = ?3,
                     used = ?4, held = ?5 WHERE segment = ?1",
            )?;
            if update.execute((row.0, row.1, row.2, &row.3, &row.4))? == 0 {
                self.conn
                    .prepare_cached("INSERT INTO _monolite_cache_map VALUES (?1, ?2, ?3, ?4, ?5)")?
                    .execute(row)?;
            }
            segment.dirty = false;
        }
        Ok(())
    }
}

const WORDS: usize = SEGMENT as usize / 64;

/// One bit for each block of a segment.
#[derive(Clone, Copy)]
struct Bits([u64; WORDS]);

impl Bits {
    fn read(bytes: &[u8]) -> Self {
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self(words)
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    fn set(&mut self, first: u32, count: u32, to: bool) {
        for bit in first..first + count {
            if let Some(word) = self.0.get_mut(bit as usize / 64) {
                let mask = 1 << (bit % 64);
                *word = if to { *word | mask } else { *word & !mask };
            }
        }
    }
}

/// The first run of set bits of `words` from `from` on, at most `most` long.
fn next_run(words: &[u64; WORDS], from: u32, most: u32) -> Option<Run> {
    let mut first = from;
    loop {
        let word = words.get(first as usize / 64)? >> (first % 64);
        if word == 0 {
            first = (first / 64 + 1) * 64;
            continue;
        }
        first += word.trailing_zeros();
        break;
    }
    let mut end = first;
    while end - first < most
        && let Some(word) = words.get(end as usize / 64)
    {
        let ones = (!(word >> (end % 64))).trailing_zeros();
        // Past the top of the word come zeros, which are not its bits.
        let ones = ones.min(64 - end % 64);
        end += ones;
        if ones == 0 || !end.is_multiple_of(64) {
            break;
        }
    }
    Some(Run {
        first,
        count: (end - first).min(most),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_across_words() {
        let mut bits = Bits([0; WORDS]);
        bits.set(60, 140, true);
        bits.set(SEGMENT - 1, 1, true);
        let run = |first, count| Some(Run { first, count });
        assert_eq!(next_run(&bits.0, 0, SEGMENT), run(60, 140));
        assert_eq!(next_run(&bits.0, 0, 70), run(60, 70));
        assert_eq!(next_run(&bits.0, 130, 3), run(130, 3));
        assert_eq!(next_run(&bits.0, 200, 9), run(SEGMENT - 1, 1));
        assert_eq!(next_run(&bits.0, SEGMENT, 9), None);
        assert_eq!(bits.count(), 141);
        bits.set(61, 138, false);
        assert_eq!(next_run(&bits.0, 0, 9), run(60, 1));
        assert_eq!(Bits::read(&bits.bytes()).0, bits.0);
    }
}
