//! Plans and policies against models that are too simple to be wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod days;
mod merges;
mod plans;
mod promises;
mod world;

use monolite_ltx::Txid;

use crate::storage::FileInfo;

/// A file as a list says, of one kilobyte.
fn file(level: u8, min: u64, max: u64) -> FileInfo {
    FileInfo {
        level,
        min: Txid(min),
        max: Txid(max),
        size: 1_000,
        stored_ms: 0,
        sealed: false,
    }
}
