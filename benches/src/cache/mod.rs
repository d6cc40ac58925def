//! The cache beside Redis, beside moka, and beside exact LRU and FIFO.

mod fifo;
mod hit_rate;
mod load;
mod lru;
mod ours;
mod redis;
mod speed;
mod trace;

use crate::Choice;

pub(crate) fn run(choice: &Choice) -> anyhow::Result<()> {
    choice.run(
        "cache",
        &[
            ("speed", &speed::run),
            ("eviction", &speed::while_evicting),
            ("hit-rate", &hit_rate::run),
        ],
    )
}
