//! What a migration did to a database, and the way back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "guard/compare.rs"]
mod compare;
#[path = "guard/constraints.rs"]
mod constraints;
#[path = "guard/damage.rs"]
mod damage;
#[path = "guard/kept.rs"]
mod kept;
#[path = "guard/kill.rs"]
mod kill;
#[path = "guard/known.rs"]
mod known;
#[path = "guard/pair.rs"]
mod pair;
#[path = "guard/rows.rs"]
mod rows;
#[path = "guard/session.rs"]
mod session;
#[path = "guard/volume.rs"]
mod volume;
