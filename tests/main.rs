//! End to end: the real binary, real apps, real signals.
//!
//! One program, one module a subject. `cargo xtask test` installs what these
//! need; a test that misses something says so and fails.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod accounted;
mod apps;
mod checks;
mod clumsy;
mod devtools;
mod django;
mod driver_lane;
mod life;
mod live_blog;
mod lost_volume;
mod migrate_diff;
mod migrate_files;
mod migrate_found;
mod migrate_guard;
mod processes;
mod replica_run;
mod replica_verbs;
mod two_machines;
