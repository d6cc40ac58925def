//! Migrations: the safe rebuild beside what must be done at least, and beside
//! Rails and sqlite-utils; the guard beside `cp`.

mod guard;
mod peers;
mod rebuild;

use crate::Choice;

/// Rows of the table that is rebuilt.
const ROWS: u32 = 1_000_000;
const QUICK_ROWS: u32 = 50_000;
/// Bytes of the database whose migration is guarded.
const BYTES: u64 = 1 << 30;
const QUICK_BYTES: u64 = 100 << 20;

pub(crate) fn run(choice: &Choice) -> anyhow::Result<()> {
    let rows = if choice.quick { QUICK_ROWS } else { ROWS };
    let rebuild = |pace, report: &mut _| rebuild::run(pace, rows, report);
    let bytes = if choice.quick { QUICK_BYTES } else { BYTES };
    let guard = |pace, report: &mut _| guard::run(pace, bytes, report);
    choice.run("migrate", &[("rebuild", &rebuild), ("guard", &guard)])
}
