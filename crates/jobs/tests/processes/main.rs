//! What jobs promise when processes are killed, stopped, starved and set back
//! in time: with real processes. This program starts itself again as the
//! workers; see `child` and `worker.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod check;
mod clock;
mod cron;
mod disk;
mod fixture;
mod idle;
mod kill;
mod load;
mod open;
mod shutdown;
mod stop;
mod two;
mod worker;

/// Runs only when started by a parent test.
#[test]
#[ignore = "the other process of the tests"]
fn child() {
    worker::main();
}
