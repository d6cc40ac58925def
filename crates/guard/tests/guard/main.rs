//! What a migration did to a database, and the way back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod compare;
mod constraints;
mod damage;
mod kept;
mod kill;
mod known;
mod pair;
mod rows;
mod session;
mod volume;
