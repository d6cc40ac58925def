//! The store beside raw rusqlite, on the same file with the same settings.

pub(crate) mod commits;
mod idle;
pub(crate) mod raw;
mod reads;
pub(crate) mod wakeup;

use crate::{Choice, contest};

pub(crate) fn run(choice: &Choice) -> anyhow::Result<()> {
    choice.run(
        "store",
        &[
            ("commits", &commits::run),
            ("reads", &reads::run),
            ("contention", &contest::run),
            ("wake-up", &wakeup::run),
            ("idle", &idle::run),
        ],
    )
}
