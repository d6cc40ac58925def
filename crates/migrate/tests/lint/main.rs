//! What lint finds in migrations, and what it does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bounds;
mod common;
mod context;
mod property;
mod rules;
