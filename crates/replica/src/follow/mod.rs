//! Follows databases: each commit to every destination, for as long as it runs.
//!
//! ```text
//!  watch ── a file was written ──▶ database ── slide: what was committed
//!                                     │
//!                    inbox ◀──────────┴──────────▶ inbox      one a destination
//!                      │                             │
//!                   shipper                       shipper     LTX file, lease, map
//!                      ▼                             ▼
//!               s3://bucket/shop              file:///backup
//! ```

mod aside;
mod beside;
mod database;
mod encode;
mod flusher;
mod inbox;
mod intent;
mod keeper;
mod node;
mod restored;
mod shipper;
mod start;
mod status;
mod volume;
mod watch;

pub use restored::leads_on;
pub use status::{Failure, State, Status};
pub use volume::{Find, FollowOptions, Follower};
