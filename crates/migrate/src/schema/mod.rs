//! The schema of a SQLite database, as SQLite itself describes it: tables,
//! columns with declared type and affinity, indexes, foreign keys, triggers and
//! views, and where each is stored.
//!
//! This is the one model of a schema in Monolite. Migration files, lint, rebuild
//! and diff read `main`; the guard compares `main` with an attached copy. The
//! structs are `#[non_exhaustive]`: they are made by [`Schema::read`] and
//! [`Schema::read_from`] only.

mod collations;
mod model;
mod orphans;
mod read;

pub use collations::stand_in_collations;
pub(crate) use collations::{StandIns, is_builtin_collation};
pub(crate) use model::ROWID_NAMES;
pub use model::{
    Affinity, Column, Entry, EntryKind, ForeignKey, Generated, Index, IndexColumn, IndexOrigin,
    Schema, Table, TableKind, Trigger, View,
};
pub use orphans::Orphans;
