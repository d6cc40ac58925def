//! Rows whose parent is missing.

pub use crate::schema::Orphans;
