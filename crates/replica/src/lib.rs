//! Every commit of a SQLite database to object storage, and back.

pub mod backup;
mod class;
mod difference;
mod error;
mod follow;
pub mod history;
mod map;
mod progress;
mod restore;
mod storage;
mod wal;

pub use class::ErrorClass;
pub use difference::Difference;
pub use error::{Error, Result};
pub use follow::{
    Failure, Find, FollowOptions, Follower, Leases, Repair, Sending, Standing, State, Status,
    record_restored, standing, stored_txid,
};
pub use history::{Catalog, History, Maintained, Plan, PlanError, Policy, Target, history};
pub use map::PageMap;
pub use monolite_platform::clock::{Clock, ManualClock, SystemClock};
pub use progress::Progress;
pub use restore::{
    Existing, Integrity, IntegrityCheck, RestoreError, RestoreOptions, Restored, VerifyOptions,
    keep_database, replace_database, restore, verify,
};
pub use storage::{
    Body, Destination, DestinationOptions, FileInfo, Holder, Key, Lease, LeaseStore, Node,
    Permission, Permit, Replica, RetryPolicy, SNAPSHOT_LEVEL, StorageError,
};
