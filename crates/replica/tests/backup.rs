//! Copies of live databases: that each is one committed state, what becomes of
//! everything that is no database or leaves no room, and that whatever ends the
//! work leaves nothing half done. This program starts itself again as the other
//! processes; see `child` and `backup/other.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, reason = "what the other processes say")]

mod common;
#[path = "backup/kill.rs"]
mod kill;
#[path = "backup/large.rs"]
mod large;
#[path = "backup/live.rs"]
mod live;
#[path = "backup/other.rs"]
mod other;
#[path = "backup/place.rs"]
mod place;
#[path = "backup/readonly.rs"]
mod readonly;
#[path = "backup/reflink.rs"]
mod reflink;
#[path = "backup/snapshots.rs"]
mod snapshots;
#[path = "backup/source.rs"]
mod source;
#[path = "backup/space.rs"]
mod space;
#[path = "backup/target.rs"]
mod target;

/// Runs only when started by a parent test.
#[test]
#[ignore = "the other process of the tests"]
fn child() {
    other::main();
}
