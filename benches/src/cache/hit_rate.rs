//! How many of the requests of a Zipf trace find their key, at several sizes:
//! whether what is evicted is what is wanted least.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use crate::cache::fifo::Fifo;
use crate::cache::lru::Lru;
use crate::cache::ours::Asked;
use crate::cache::trace::{KEYS, Trace};
use crate::peers::program::Program;
use crate::report::Report;
use crate::rounds::Pace;
use crate::turns::Turns;

/// Requests, once the cache is warm; a fifth as many come before.
const REQUESTS: u64 = 1_000_000;
const QUICK_REQUESTS: u64 = 200_000;

/// Bytes of each value, and what our cache may take on the disk: room for about
/// 1, 4 and 9 % of the keys. What it holds in the end is what the others may.
const VALUE_BYTES: usize = 600;
const BOUNDS_MB: [u64; 3] = [8, 32, 64];

/// One cache on one trace.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// The exponent of Zipf's law.
    pub(crate) s: f64,
    pub(crate) requests: u64,
}

impl Size {
    /// The share of hits, in percent. `ask` takes a key in if it is not held,
    /// and tells whether it was.
    pub(crate) fn hits(self, mut ask: impl FnMut(u32) -> bool) -> f64 {
        let warm_up = self.requests / 5;
        let mut hits = 0_u64;
        for (number, key) in (0..).zip(Trace::new(self.s, warm_up + self.requests)) {
            let hit = ask(key);
            hits += u64::from(hit && number >= warm_up);
        }
        hits as f64 * 100.0 / self.requests as f64
    }
}

pub(crate) fn run(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let moka = Program::build("moka")?;
    let requests = if pace.rounds == 1 {
        QUICK_REQUESTS
    } else {
        REQUESTS
    };
    for s in [0.9, 1.0] {
        for bound_mb in BOUNDS_MB {
            let size = Size { s, requests };
            let capacity = Cell::new(0);
            let case = format!("hits, Zipf {s:.1} over {KEYS} keys, {bound_mb} MiB on disk");
            Turns::new(case)
                .ours(Some(|dir: &Path, _: Duration| {
                    let cache = Asked::open(dir, bound_mb << 20, VALUE_BYTES)?;
                    let hits = size.hits(|key| cache.ask(key).unwrap());
                    capacity.set(cache.entries()?);
                    cache.close();
                    Ok(hits)
                }))
                .peer("LRU, exact, as many entries", ">= 1", |_, _| {
                    let mut lru = Lru::new(capacity.get());
                    Ok(size.hits(|key| lru.ask(key)))
                })
                .peer("FIFO, as many entries", "> 1", |_, _| {
                    let mut fifo = Fifo::new(capacity.get());
                    Ok(size.hits(|key| fifo.ask(key)))
                })
                .peer("moka (TinyLFU), as many", "", |dir, time| {
                    let case = format!("hits {s} {} {requests}", capacity.get());
                    moka.measure(&case, dir, time)
                })
                // The same in every round.
                .rates("%", (1, pace.short), report)?;
        }
    }
    Ok(())
}
