//! Numbered SQL files, applied in order, each once.
//!
//! A file runs in one transaction together with its record in
//! `_monolite_migration`, so that at whatever moment the process dies the
//! database is as it was before the file, or after it with its record. The
//! record holds the file's checksum: a file that was applied is never edited.
//!
//! Everything that can be known before is known before: [`up()`] reads every
//! file, compares all of them with what is recorded, and only then runs the
//! first one. Processes that start at once take turns by SQLite's own write
//! lock; each looks again when it has it, and finds done what the other did.
//!
//! # Foreign keys
//! A file runs with foreign keys enforced, as the app does. A file that drops
//! or rebuilds a table runs without: `DROP TABLE` deletes the rows first, and
//! with them, by `ON DELETE CASCADE`, those of other tables. Either way, a file
//! that leaves rows whose parent is missing is rolled back.
//!
//! ```
//! use monolite_migrate::files::{Migrations, Options, up};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let migrations = Migrations::new([
//!     ("0001_add_posts.sql", "CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT);"),
//!     ("0002_index_titles.sql", "CREATE INDEX posts_title ON posts (title);"),
//! ])?;
//! let db = rusqlite::Connection::open_in_memory()?;
//! let done = up(&db, &migrations, &Options::at(1_763_735_405_250), &mut |_| {})?;
//! assert_eq!(done.len(), 2);
//! assert_eq!(up(&db, &migrations, &Options::at(1_763_735_409_000), &mut |_| {})?.len(), 0);
//! # Ok(()) }
//! ```

mod baseline;
mod differs;
mod error;
mod file;
mod new;
mod rebuild;
mod record;
mod redo;
mod refused;
mod script;
mod session;
mod set;
mod state;
mod turn;
mod up;

pub use crate::schema::Orphans;
pub use baseline::{Baseline, baseline};
pub use error::{Error, Result};
pub use file::{File, text_of};
pub use new::{new, new_with};
pub use record::{Applied, TABLE, applied};
pub use redo::{Undone, undo, would_undo};
pub use set::{Embedded, Migrations};
pub use state::{Entry, State, pending, status};
pub use up::{Done, Event, Options, Step, up};

pub(crate) use rebuild::run as run_rebuild;
pub(crate) use script::{Refusals, first_words};
pub(crate) use turn::temporary;
