//! Migration files: applied once, in order, whole or not at all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod applied;
mod baseline;
mod common;
mod foreign_keys;
mod property;
mod race;
mod redo;
mod refused;
