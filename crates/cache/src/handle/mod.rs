//! The async handle, and what runs behind it.

mod cache;
mod claims;
mod engine;
mod files;
mod maintenance;
mod options;
mod single_flight;
mod sqlite;
mod stats;

pub use cache::Cache;
pub use options::{CacheOptions, EntryOptions};
pub use stats::Stats;
