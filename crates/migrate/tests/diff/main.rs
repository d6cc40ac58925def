//! The migration from a live schema to a wanted one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod changes;
mod common;
#[path = "../corpus/mod.rs"]
mod corpus;
mod drops;
mod pairs;
mod refusals;
mod renames;
