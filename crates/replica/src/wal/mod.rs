//! The write-ahead log of a database that somebody else writes.

mod changes;
mod pin;
mod scan;
mod snapshot;
mod tail;

pub(crate) use changes::{Budget, Changes};
pub(crate) use snapshot::{Opened, Snapshot};
pub(crate) use tail::{Slide, Tail};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]
mod tests;
