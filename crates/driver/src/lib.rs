//! The driver lane: SQLite drivers of an app that is not changed begin their write transactions
//! `IMMEDIATE` and wait in order for the lock, because of what is in the app's environment.
//!
//! Two means, always given together:
//!
//! - a small library, preloaded by `LD_PRELOAD`, for drivers that link `libsqlite3` dynamically
//!   (`preload/lane.c` says how it works and what it never does);
//! - hooks for languages whose drivers have SQLite compiled in, or whose driver itself writes
//!   `BEGIN DEFERRED`: Ruby (`RUBYOPT`), Python (`PYTHONPATH`), Node (`NODE_OPTIONS`).
//!
//! Both are compiled into this crate; [`Lane::install`] writes them to a directory and
//! [`Lane::variables`] says what to add to an environment, as long as the lane lives. [`Counters`] reads what the processes
//! have counted.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! use monolite_driver::Lane;
//!
//! let lane = Lane::install(&dir.path().join("driver"))?;
//! let mut app = std::process::Command::new("true");
//! app.envs(lane.variables(|name| std::env::var_os(name)));
//! app.status()?;
//! let counted = lane.counters()?.read();
//! assert_eq!(counted.timeouts, 0);
//! # Ok(())
//! # }
//! ```

mod app_output;
mod counters;
mod install;
mod needs;

pub use self::app_output::LockedWatch;
pub use self::counters::{Counted, Counters, Database, Event, EventKind, file_of};
pub use self::install::{Error, Lane};
pub use self::needs::{Need, need};
