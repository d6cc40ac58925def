//! What was replicated comes back, byte for byte; what was not, never.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "restore/damage.rs"]
mod damage;
#[path = "restore/handmade.rs"]
mod handmade;
#[path = "restore/places.rs"]
mod places;
#[path = "restore/states.rs"]
mod states;
#[path = "restore/tending.rs"]
mod tending;
#[path = "restore/world.rs"]
mod world;
