//! What a store with a watch costs while nothing happens.

use std::time::Duration;

use monolite_store::{Options, Store};

use crate::clock::own_cpu;
use crate::place;
use crate::report::Report;
use crate::rounds::Pace;

pub(crate) fn run(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let dir = place::scratch()?;
    let store = Store::open(dir.path().join("idle.sqlite3"), Options::default())?;
    let watch = store.watch()?;
    // Idle as it is in life: after some work.
    store.write_blocking(|tx| Ok(tx.execute_batch("CREATE TABLE t (n)")?))?;
    std::thread::sleep(Duration::from_secs(1));
    let before = own_cpu();
    std::thread::sleep(pace.long);
    let spent = own_cpu() - before;
    report
        .alone(
            "store with a watch, CPU over 10 s idle (lower is better)",
            "ms",
            spent.as_secs_f64() * 1000.0,
        )
        .wanted("< 1");
    drop(watch);
    store.close_blocking();
    Ok(())
}
