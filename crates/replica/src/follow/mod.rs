//! Follows databases: each commit to every destination, for as long as it runs.
//!
//! ```text
//!  watch ── a file was written ──▶ database ── reads what was committed
//!                                     │
//!                   pending ◀─────────┴─────────▶ pending     one a destination
//!                      │                             │
//!                  uploader                      uploader     LTX file, lease, map
//!                      ▼                             ▼
//!               s3://bucket/shop              file:///backup
//! ```

mod background;
mod blocking;
mod database;
mod encode;
mod flusher;
mod leaser;
mod leases;
mod litestream;
mod node;
mod pending;
mod restored;
mod resume;
mod sent_record;
#[cfg(test)]
mod sim;
mod space;
mod standing;
mod state_files;
mod status;
mod uploader;
mod volume;
mod watch;

pub use leases::Leases;
pub use restored::{record_restored, stored_txid};
pub use standing::{Standing, standing};
pub use status::{Failure, Repair, Sending, State, Status};
pub use volume::{Find, FollowOptions, Follower};
