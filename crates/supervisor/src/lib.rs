//! Runs an app and the services around it: starts the services, then the app in a process group of
//! its own, opens the gate when the app is healthy, starts the app again when it dies, and stops all
//! in the opposite order.
//!
//! [`run()`] is the whole of it; [`Config`] is about the processes, a [`Service`] is any other part.

mod app;
mod backoff;
mod children;
mod config;
mod environment;
mod error;
mod exit;
mod guarded;
mod health;
mod lifecycle;
mod processes;
mod run;
mod service;
mod signals;
mod tail;
mod watchdog;

pub use crate::config::{Config, Forget, HealthCheck, Output, Stream};
pub use crate::error::Error;
pub use crate::exit::Exit;
pub use crate::guarded::{
    Cancel, GUARDED, Guarding, Migrated, Recovered, migration_environment, site,
};
pub use crate::lifecycle::run;
pub use crate::processes::{Descendants, called, called_by_shell, end_guarded};
pub use crate::run::Run;
pub use crate::service::{Service, Started};
pub use crate::watchdog::watch_parent;
