//! The life of `monolite run`: checks and locks the volume, restores what is
//! missing on it, replicates it, migrates, starts the app in a process group of its own, opens the gate when the app is
//! healthy, starts it again when it dies, and ends with it.
//!
//! [`run()`] is the whole of it; [`Config`] is what it is told.

mod app;
mod backoff;
mod begin;
mod children;
mod config;
mod environment;
mod error;
mod exit;
mod guarded;
mod health;
mod keeper;
mod mend;
mod replication;
mod run;
mod signals;
mod tail;

pub use crate::config::{Config, Health, Output, Stream};
pub use crate::error::Error;
pub use crate::exit::Exit;
pub use crate::guarded::{Guarding, migration_environment};
pub use crate::keeper::keep;
pub use crate::replication::{Beside, Replication, Wanted};
pub use crate::run::run;
