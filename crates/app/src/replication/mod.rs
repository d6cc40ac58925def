//! Every commit of the volume in other places, and back from there.
//!
//! ```text
//! inventory ─▶ restore what is missing ─▶ follow ─────────────▶ last sync ─▶ end
//!                        ▲                  │ deletion_monitor: a file is gone
//!                        └── store the rest ◀┘ (the app is stopped meanwhile)
//! ```
//!
//! All of it works on a runtime of its own, which exists only if there is a replica.

mod candidate;
mod catch_up;
mod context;
mod deletion_monitor;
mod error;
pub(crate) mod health;
mod heartbeat;
mod inventory;
mod lease;
mod maintenance;
mod open_files;
mod options;
mod progress;
mod record;
mod replicated;
mod report;
mod restore;
mod restore_deleted;

pub use self::error::ReplicationError;
pub use self::heartbeat::Heartbeat;
pub use self::options::Replication;
pub(crate) use self::replicated::{Forget, Replicated};
pub use self::report::{last_sync, watch};
