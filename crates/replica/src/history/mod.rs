//! The files of a replica over time: which of them make a state, which are
//! merged, which may go.

mod catalog;
mod due;
mod merge;
mod plan;
mod retention;
mod summary;
mod times;

#[cfg(test)]
mod tests;

pub use catalog::{Catalog, Maintained};
pub use due::{Merge, Timed};
pub(crate) use plan::states;
pub use plan::{Plan, PlanError, Target, plan};
pub use retention::Policy;
pub use summary::{History, Point, Range, Snapshot, history};
pub(crate) use times::time_of;
