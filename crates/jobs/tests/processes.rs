//! What jobs promise when processes are killed, stopped, starved and set back
//! in time: with real processes. This program starts itself again as the
//! workers; see `child` and `processes/worker.rs`.

#[path = "processes/check.rs"]
mod check;
#[path = "processes/clock.rs"]
mod clock;
#[path = "processes/cron.rs"]
mod cron;
#[path = "processes/disk.rs"]
mod disk;
#[path = "processes/idle.rs"]
mod idle;
#[path = "processes/kill.rs"]
mod kill;
#[path = "processes/load.rs"]
mod load;
#[path = "processes/open.rs"]
mod open;
#[path = "processes/place.rs"]
mod place;
#[path = "processes/shutdown.rs"]
mod shutdown;
#[path = "processes/stop.rs"]
mod stop;
#[path = "processes/two.rs"]
mod two;
#[path = "processes/worker.rs"]
mod worker;

/// Runs only when started by a parent test.
#[test]
#[ignore = "the other process of the tests"]
fn child() {
    worker::main();
}
