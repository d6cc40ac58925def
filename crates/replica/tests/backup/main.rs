//! Copies of live databases: that each is one committed state, what becomes of
//! everything that is no database or leaves no room, and that whatever ends the
//! work leaves nothing half done. This program starts itself again as the other
//! processes; see `child` and `backup/other.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, reason = "what the other processes say")]

#[path = "../common/mod.rs"]
mod common;
mod kill;
mod large;
mod live;
mod other;
mod place;
mod readonly;
mod reflink;
mod snapshots;
mod source;
mod space;
mod target;

/// Runs only when started by a parent test.
#[test]
#[ignore = "the other process of the tests"]
fn child() {
    other::main();
}
