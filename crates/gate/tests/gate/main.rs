//! What a gate promises, against an app that is steered byte by byte.

// clippy.toml allows these in test functions, not in what they share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod endless;
mod hold;
mod internal;
mod kept;
mod precondition;
mod proxy;
mod races;
mod responses;
mod slow;
mod support;
mod workers;
mod write_lane;
