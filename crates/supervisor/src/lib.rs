//! Runs an app and the services around it: starts the services, then the app's processes in process
//! groups of their own, opens the gate when the app is healthy, starts again what dies, and stops all
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
mod framework;
mod groups;
mod health;
mod lifecycle;
mod run;
mod service;
mod signals;
mod tail;
mod watchdog;
mod workers;

pub use crate::config::{CommandLine, Config, HealthCheck, Output, Restart, Stream, WEB, Worker};
pub use crate::environment::{database_variables, wants_a_database_file};
pub use crate::error::Error;
pub use crate::exit::Exit;
pub use crate::lifecycle::run;
pub use crate::run::{Ended, Run};
pub use crate::service::{Service, Started};
pub use crate::watchdog::watch_parent;
