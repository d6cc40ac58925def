//! The async handle.

mod blocking;
mod cache;
mod chores;
mod compute;
pub(crate) mod engine;
mod files;
mod flight;
mod janitor;
pub(crate) mod options;
mod shared;
mod sqlite;
mod sqlite_engine;
pub(crate) mod stats;
mod typed;
mod wait;

pub use cache::Cache;
pub use engine::{Engine, Reply};
pub use files::Rebuilt;
pub use options::{CacheOptions, EntryOptions};
pub use stats::Stats;
