//! How long what is kept, and what may go.
//!
//! A file may be deleted once another one **covers** it: is of a higher level,
//! begins no later and ends no earlier. What is lost with it are the states
//! *inside* the other file, all of them older than its end. So a file goes when
//! the end of the one that covers it is older than what its level promises.
//! That is enough for every state that is promised to stay restorable: a plan
//! that went through the deleted file to a state beyond the covering one can go
//! through that one, and a plan to a state inside it is to one no longer
//! promised.

use std::time::Duration;

use monolite_ltx::Txid;

use crate::storage::{FileInfo, SNAPSHOT_LEVEL};

/// What is promised, and how changes are merged to keep it with few files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Every state is kept for so long. Default: 1 hour.
    pub every: Duration,
    /// One state of each hour is kept for so long. Default: 24 hours.
    pub hourly: Duration,
    /// The daily snapshots are kept for so long; the newest always. Default:
    /// 5 days.
    pub daily: Duration,
    /// Files are deleted so much later than they could be, for whoever is
    /// reading them. Default: 10 minutes.
    pub grace: Duration,
    /// The changes of so much time are merged into a file of level 1. Default:
    /// 5 minutes.
    pub short: Duration,
    /// The changes of so much time are merged into a file of level 2. Default:
    /// 1 hour.
    pub long: Duration,
    /// At most so many files are merged into one. Default: 500.
    pub merge_files: usize,
    /// At most so many bytes are merged into one file: as many are needed on the
    /// local disk meanwhile, and once more for the outcome. Default: 256 MiB.
    pub merge_bytes: u64,
}

impl Default for Policy {
    fn default() -> Self {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        Self {
            every: Duration::from_secs(HOUR),
            hourly: Duration::from_secs(24 * HOUR),
            daily: Duration::from_secs(5 * 24 * HOUR),
            grace: Duration::from_secs(10 * MINUTE),
            short: Duration::from_secs(5 * MINUTE),
            long: Duration::from_secs(HOUR),
            merge_files: 500,
            merge_bytes: 256 << 20,
        }
    }
}

impl Policy {
    /// How long the states that only files of `level` and below hold are
    /// promised. It never falls as the level rises.
    fn window(&self, level: u8) -> Duration {
        match level {
            0 | 1 => self.every,
            _ => self.hourly.max(self.every),
        }
    }

    /// Which of `files` may be deleted at `now_ms`.
    ///
    /// A file is as old as its [`stored_ms`](FileInfo::stored_ms), which is
    /// never before the time of the state it leads to. So what is promised is
    /// kept, and a file that was written late lasts longer.
    #[must_use]
    pub fn deletable(&self, files: &[FileInfo], now_ms: i64) -> Vec<FileInfo> {
        let covers: Vec<Covers> = (0..=SNAPSHOT_LEVEL)
            .map(|level| self.covers(files, level, now_ms))
            .collect();
        let may_go = |file: &&FileInfo| match file.level {
            SNAPSHOT_LEVEL.. => {
                // Until the next snapshot is that old, states between the two
                // are promised that need this one.
                let next = Txid(file.max.0.saturating_add(1));
                file.stored_ms < before(now_ms, self.daily + self.grace)
                    && covers.last().is_some_and(|all| all.any(file.min, next))
            }
            level => {
                let higher = covers.iter().skip(usize::from(level) + 1);
                file.stored_ms < before(now_ms, self.window(level) + self.grace)
                    && higher
                        .into_iter()
                        .any(|of_level| of_level.any(file.min, file.max))
            }
        };
        files.iter().filter(may_go).cloned().collect()
    }

    /// The files of a level that are old enough for what they cover to go.
    fn covers(&self, files: &[FileInfo], level: u8, now_ms: i64) -> Covers {
        // The states inside are promised by the levels below.
        let window = self.window(level.saturating_sub(1));
        let since = before(now_ms, window + self.grace);
        let old = |file: &&FileInfo| file.level == level && file.stored_ms < since;
        let mut ranges: Vec<(Txid, Txid)> = files
            .iter()
            .filter(old)
            .map(|file| (file.min, file.max))
            .collect();
        ranges.sort_unstable();
        let mut most = Txid(0);
        for range in &mut ranges {
            most = most.max(range.1);
            range.1 = most;
        }
        Covers(ranges)
    }
}

fn before(now_ms: i64, by: Duration) -> i64 {
    now_ms.saturating_sub(millis(by))
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Ranges by where they begin, each with the furthest end up to there.
struct Covers(Vec<(Txid, Txid)>);

impl Covers {
    fn any(&self, min: Txid, max: Txid) -> bool {
        let at = self.0.partition_point(|(begin, _)| *begin <= min);
        let best = at.checked_sub(1).and_then(|at| self.0.get(at));
        best.is_some_and(|(_, end)| *end >= max)
    }
}
