//! Every commit of a SQLite database to object storage, and back.

pub mod backup;
mod class;
mod clock;
mod error;
mod follow;
pub mod history;
mod map;
mod progress;
mod restore;
pub mod steps;
mod storage;
mod wal;

pub use class::ErrorClass;
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, Result};
pub use follow::{Failure, Find, FollowOptions, Follower, State, Status, leads_on};
pub use history::{Catalog, History, Plan, PlanError, Policy, Target, Tended, history};
pub use map::PageMap;
pub use progress::Progress;
pub use restore::{
    Integrity, IntegrityCheck, RestoreError, RestoreOptions, Restored, VerifyOptions, put_in_place,
    restore, verify,
};
pub use storage::{
    Body, Destination, DestinationOptions, FileInfo, Holder, Key, Lease, LeaseStore, Node,
    Permission, Permit, Replica, RetryPolicy, SNAPSHOT_LEVEL, StorageError,
};
