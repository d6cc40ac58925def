//! How many of the requests of a Zipf trace find their key, at several sizes:
//! whether what is evicted is what is wanted least.

use std::time::Duration;

use crate::cache::fifo::Fifo;
use crate::cache::lru::Lru;
use crate::cache::ours;
use crate::cache::trace::{KEYS, Trace};
use crate::peers::program::Program;
use crate::report::Report;
use crate::rounds::Pace;
use crate::turns::Turns;

/// Requests, once the cache is warm; a fifth as many come before.
const REQUESTS: u64 = 5_000_000;
const QUICK_REQUESTS: u64 = 500_000;

/// One cache on one trace.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// The exponent of Zipf's law.
    pub(crate) s: f64,
    /// Entries it may hold, all of one size.
    #[allow(dead_code, reason = "for our side, which is still to come")]
    pub(crate) capacity: usize,
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
        for percent in [1, 5, 10] {
            let capacity = KEYS as usize * percent / 100;
            let size = Size {
                s,
                capacity,
                requests,
            };
            let case = format!("hits, Zipf {s:.1} over {KEYS} keys, room for {percent} %");
            let (mut lru, mut fifo) = (Lru::new(capacity), Fifo::new(capacity));
            let mokas = format!("hits {s} {capacity} {requests}");
            Turns::new(case)
                .ours(ours::HITS.map(|hits| move |dir: &_, _: Duration| hits(dir, size)))
                .peer("LRU, exact", ">= 1", |_, _| {
                    Ok(size.hits(|key| lru.ask(key)))
                })
                .peer("FIFO", "> 1", |_, _| Ok(size.hits(|key| fifo.ask(key))))
                .peer("moka (TinyLFU)", "", |dir, time| {
                    moka.measure(&mokas, dir, time)
                })
                // The same in every round.
                .rates("%", (1, pace.short), report)?;
        }
    }
    Ok(())
}
