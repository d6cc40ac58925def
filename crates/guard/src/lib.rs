//! Judges what a migration of any framework did to the databases of a volume, and rolls it back if
//! something was lost that nobody allowed.
//!
//! It looks at the files, not at the framework: before the command a snapshot of every database,
//! after it a comparison table by table through SQLite. A table rebuilt under `ON DELETE CASCADE`,
//! which silently deletes the rows of its children, shows as rows that are gone, whoever wrote the
//! SQL.
//!
//! [`Guard`] is one guarded migration; [`compare()`] alone says what happened between a snapshot and
//! a live database.
//!
//! # What counts as a loss
//! Tables, rows, columns and values that were there and are not any more;
//! triggers, indexes, views, CHECKs, foreign keys, primary keys and STRICT that
//! disappeared; new violations of foreign keys; views that cannot be read and
//! tables that cannot be written any more; new damage. What is there under
//! another name is no loss, nor is what held nothing: an empty table, a column
//! with nothing but its default. What is merely otherwise is a [`Note`].

mod active;
mod command;
mod compare;
mod error;
mod files;
mod finalize;
mod guard;
mod host;
mod journal;
mod listing;
pub mod messages;
pub mod migration;
mod migration_lock;
mod open_files;
mod options;
mod pages;
mod processes;
mod progress;
mod recover;
mod report;
mod rollback;
mod snapshots;
mod tree;
mod verdict;
mod volume;
mod write_check;

use std::time::Duration;

/// Ends what waits for a migration to begin; what comes after the command is never cut short.
pub use monolite_replica::backup::Cancel;

pub use active::Active;
pub use command::{CommandStatus, run_command};
pub use compare::{Depth, compare};
pub use error::{Error, Result};
pub use guard::Guard;
pub use host::{Host, NoSnapshot, Taken};
pub use migration_lock::{ExclusiveLock, holder, interrupted};
/// One loss that is meant, with the words for it.
pub use monolite_migrate::allowance::Allowance;
pub use options::{IfOpen, Interrupted, Options};
pub use pages::Checksums;
pub use processes::{
    Descendants, GUARDED, Survivors, command_name, end_survivors, shell_command_name,
};
pub use progress::{DatabaseProgress, Progress};
pub use report::{About, Kind, Loss, Note, Report};
pub use rollback::Rollback;
pub use verdict::Verdict;

/// How long to wait for a lock of another process on a database.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);
