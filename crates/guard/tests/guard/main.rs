//! What a migration did to a database, and the way back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod checksums;
mod command;
mod common;
mod compare;
mod constraints;
mod copies;
mod damage;
mod disks;
mod generated;
mod kill;
mod pair;
mod recovery;
mod rows;
mod session;
mod volume;
