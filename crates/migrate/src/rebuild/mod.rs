//! The safe rebuild: SQLite's documented procedure for changes of a table that
//! `ALTER TABLE` cannot do, as one statement and as one call.
//!
//! ```sql
//! REBUILD TABLE posts (
//!   id INTEGER PRIMARY KEY,
//!   title TEXT NOT NULL DEFAULT '',   -- comments stay
//!   total INTEGER NOT NULL CHECK (total >= 0)
//! ) STRICT
//!   RENAME COLUMN name TO title
//!   SET total = coalesce(price, 0) * count
//!   DROP COLUMN price, DROP COLUMN count;
//! ```
//!
//! ```
//! # use monolite_migrate::rebuild::Rebuild;
//! # let db = rusqlite::Connection::open_in_memory()?;
//! db.execute_batch("CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT)")?;
//! Rebuild::table("posts")
//!     .column("title", |title| title.not_null(true).default("''"))
//!     .strict(true)
//!     .run(&db)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Rows keep their rowids; indexes, triggers, the counter of `AUTOINCREMENT` and the
//! statistics of `ANALYZE` are kept; views and foreign keys of other tables are not
//! touched. The table's definition is stored byte for byte as it was given.
//!
//! **Everything is one transaction** (or a savepoint in the caller's): a crash or an
//! error at any point leaves the database as it was. Foreign keys are off during it,
//! as `DROP TABLE` otherwise deletes the rows of `ON DELETE CASCADE` children. That
//! setting has no effect inside a transaction: a rebuild within one that was begun
//! with foreign keys on is refused.

mod checks;
mod column_names;
mod compiled;
mod copy;
mod dependents;
mod edit;
mod error;
mod fulltext;
mod move_aside;
mod plan;
mod run;
mod session;
mod statement;
mod values;

pub(crate) use column_names::broken_object;
pub(crate) use compiled::Compiled;
pub use edit::ColumnEdit;
pub use error::{Error, Result};
pub(crate) use plan::needs_value;
pub use run::{Rebuilt, Step};
pub use statement::Rebuild;
