//! Numbered SQL files, applied in order, each once.
//!
//! A file runs in one transaction together with its record in
//! `_monolite_migration`: whenever the process dies, the database is either as it
//! was before the file, or as it is after it with its record. The record holds the
//! file's checksum: a file that was applied must not be edited.
//!
//! [`up()`] reads every file and compares all of them with the records before it
//! runs the first one. Processes that start at the same time wait for SQLite's write
//! lock; each reads the records again when it has the lock, and skips what another
//! one has applied.
//!
//! # Foreign keys
//! A file runs with foreign keys enforced, as in the app. A file that drops or
//! rebuilds a table runs without: `DROP TABLE` deletes the rows first, and with
//! them, by `ON DELETE CASCADE`, rows of other tables. Either way, a file that leaves
//! rows without a parent is rolled back.
//!
//! ```
//! use monolite_migrate::files::{Migrations, Options, up};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let migrations = Migrations::new([
//!     ("0001_add_posts.sql", "CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT);"),
//!     ("0002_index_titles.sql", "CREATE INDEX posts_title ON posts (title);"),
//! ])?;
//! let db = rusqlite::Connection::open_in_memory()?;
//! let done = up(&db, &migrations, &Options::new(1_763_735_405_250), &mut |_| {})?;
//! assert_eq!(done.len(), 2);
//! assert_eq!(up(&db, &migrations, &Options::new(1_763_735_409_000), &mut |_| {})?.len(), 0);
//! # Ok(()) }
//! ```

mod baseline;
mod error;
mod file;
mod forbidden;
mod migrations;
mod new;
mod record;
mod redo;
mod script;
mod status;
mod up;

pub use crate::schema::Orphans;
pub use baseline::{BaselineOptions, baseline};
pub use error::{Error, Result};
pub use file::{File, text_of};
pub use migrations::{Embedded, Migrations};
pub use new::{new, new_with};
pub use record::{Applied, TABLE, applied};
pub use redo::{Undone, undo, would_undo};
pub use status::{Entry, State, pending, status};
pub use up::{Done, Event, Options, Step, up};

pub(crate) use script::{Refusals, first_words, run_rebuild, sqlite_message};
pub(crate) use up::temporary;
