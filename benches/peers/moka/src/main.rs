//! The cases of the cache bench, through moka: a cache that lives and dies with
//! its process. Started by `monolite-bench cache`.

#[path = "../../../src/peers/asked.rs"]
mod asked;
#[path = "../../../src/cache"]
mod cache {
    pub(crate) mod load;
    pub(crate) mod trace;
}
#[path = "../../../src/random.rs"]
mod random;
#[allow(dead_code)]
#[path = "../../../src/rounds.rs"]
mod rounds;

use std::sync::Arc;
use std::sync::Barrier;
use std::time::Duration;

use moka::sync::Cache;

use crate::asked::{Asked, answer};
use crate::cache::load::{Load, key};
use crate::cache::trace::Trace;
use crate::random::Random;
use crate::rounds::rate;

type Pages = Cache<String, Arc<[u8]>>;

fn main() -> anyhow::Result<()> {
    let asked = Asked::from_arguments()?;
    let words: Vec<&str> = asked.case.split(' ').collect();
    match words.as_slice() {
        [verb @ ("get" | "set"), value_bytes, callers] => {
            let load = Load {
                value_bytes: value_bytes.parse()?,
                callers: callers.parse()?,
            };
            answer(&speed(*verb == "get", load, asked.time))
        }
        ["hits", s, capacity, requests] => {
            answer(&hits(s.parse()?, capacity.parse()?, requests.parse()?))
        }
        other => anyhow::bail!("no such case: {other:?}"),
    }
}

/// The callers' rates together.
fn speed(get: bool, load: Load, time: Duration) -> f64 {
    let pages = Pages::new(load.keys() * 2);
    let value: Arc<[u8]> = load.value().into();
    for number in 0..load.keys() {
        pages.insert(key(number), value.clone());
    }
    let start = Barrier::new(load.callers);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..load.callers)
            .map(|seed| {
                let (pages, value, start) = (&pages, &value, &start);
                scope.spawn(move || {
                    let mut random = Random::new(seed as u64);
                    let mut ask = || {
                        let key = key(random.below(load.keys()));
                        if get {
                            assert_eq!(pages.get(&key).map(|it| it.len()), Some(value.len()));
                        } else {
                            // New bytes each time, as an app has them.
                            pages.insert(key, Arc::from(&value[..]));
                        }
                    };
                    start.wait();
                    rate(time / 10, 64, &mut ask);
                    rate(time, 64, ask)
                })
            })
            .collect();
        callers.into_iter().map(|it| it.join().unwrap()).sum()
    })
}

/// In percent, as the bench counts it for everyone.
fn hits(s: f64, capacity: u64, requests: u64) -> f64 {
    let held: Cache<u32, ()> = Cache::new(capacity);
    let warm_up = requests / 5;
    let mut hits = 0_u64;
    for (number, key) in (0..).zip(Trace::new(s, warm_up + requests)) {
        let hit = held.get(&key).is_some();
        if !hit {
            held.insert(key, ());
        }
        hits += u64::from(hit && number >= warm_up);
    }
    hits as f64 * 100.0 / requests as f64
}
