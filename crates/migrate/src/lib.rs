//! Migrations of SQLite databases that cannot lose data.
//!
//! - [`files`]: numbered SQL files, applied in order, once;
//! - [`rebuild`]: SQLite's whole procedure for changing a table, as one call;
//! - [`lint`]: what a file of migrations would do to people;
//! - [`diff`]: from the schema that is to the one that is wanted.
//!
//! Below them: [`sql`] (text into statements and definitions, nothing lost) and
//! [`schema`] (what a database has).

pub mod allowance;
pub mod diff;
pub mod files;
pub mod lint;
pub mod rebuild;
pub mod schema;
pub mod sql;
