//! Migration files: applied once, in order, whole or not at all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "files/applied.rs"]
mod applied;
#[path = "files/baseline.rs"]
mod baseline;
#[path = "files/common.rs"]
mod common;
#[path = "files/foreign_keys.rs"]
mod foreign_keys;
#[path = "files/property.rs"]
mod property;
#[path = "files/race.rs"]
mod race;
#[path = "files/redo.rs"]
mod redo;
#[path = "files/refused.rs"]
mod refused;
