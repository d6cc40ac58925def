//! What was replicated comes back, byte for byte; what was not, never.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod damage;
mod handmade;
mod places;
mod states;
mod tending;
mod world;
