//! What a migration of any framework did to the databases of a volume, and the
//! way back if it took away what nobody allowed.
//!
//! It looks at the files, not at the framework: before the command a snapshot
//! of every database, after it a comparison table by table through SQLite. A
//! table rebuilt under `ON DELETE CASCADE`, which silently deletes the rows of
//! its children, shows as rows that are gone, whoever wrote the SQL.
//!
//! [`Guard`] is one guarded migration; [`compare()`] alone says what happened
//! between a snapshot and a live database.
//!
//! # What counts as a loss
//! Tables, rows, columns and values that were there and are not any more;
//! triggers, indexes, views, CHECKs, foreign keys, primary keys and STRICT that
//! disappeared; new violations of foreign keys; views that cannot be read and
//! tables that cannot be written any more; new damage. What is there under
//! another name is no loss, nor is what held nothing: an empty table, a column
//! with nothing but its default. What is merely otherwise is a [`Note`].

mod allow;
mod begun;
mod compare;
mod error;
mod facts;
mod files;
mod intent;
mod lock;
mod news;
mod others;
mod pages;
mod parted;
mod put_back;
mod recover;
mod report;
mod session;
mod settle;
mod shelf;
mod site;
pub mod steps;
mod text;
mod there;
mod tree;
mod turn;
mod verdict;
mod watch;

use std::time::Duration;

pub use allow::Allowance;
pub use begun::Begun;
pub use compare::{Depth, compare};
pub use error::{Error, Result};
pub use news::{Cancel, News, Tell};
pub use pages::Prints;
pub use report::{About, Kind, Loss, Note, Report};
pub use session::Guard;
pub use site::{
    Find, Interrupted, NoSnapshot, Options, Others, Remember, SameBlocks, Site, Snapshot, Survived,
    Survivors, SyncFile, Taken,
};
pub use turn::{Turn, holder, interrupted};
pub use verdict::{PutBack, Verdict};

/// How long a lock of another process is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
