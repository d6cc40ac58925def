//! What `monolite run` consists of: the [settings], and the list of services that they make.
//!
//! A caller reads the process's environment and the file, resolves [`Settings`], and runs a
//! [`Stack`]. Nothing here prints or reads the environment by itself; log lines go through
//! `tracing`.

mod database_filter;
mod destinations;
mod environment;
mod guard_host;
mod processes;
pub mod replication;
mod services;
pub mod settings;
mod stack;

pub use crate::database_filter::{find, find_guarded, guarded, is_replicated, name_in};
pub use crate::destinations::{
    KEY_VARIABLE, ReplicaError, destination, destinations, follow_options, is_on_disk_of, key,
    state,
};
pub use crate::environment::{Environment, listen, volume};
pub use crate::guard_host::{Guarding, migration_environment};
pub use crate::services::{MigrationError, NotFit};
pub use crate::settings::Settings;
pub use crate::stack::{Launch, Stack, all_guardable, exit_code, guarding};

/// File name of the app's database, unless it is set.
pub use monolite_volume::layout::APP as DATABASE;
