//! The services of `monolite run`, one file each. To add one: a file here, and a line in the list of
//! [`Stack::services`](crate::Stack).

mod driver_lane;
mod gate;
mod migration;
mod no_replica;
mod replication;
mod volume;

pub(crate) use self::driver_lane::DriverLaneService;
pub(crate) use self::gate::GateService;
pub use self::migration::MigrationError;
pub(crate) use self::migration::{Guarded, Migrations, Recovery};
pub(crate) use self::no_replica::NoReplica;
pub(crate) use self::replication::ReplicationService;
pub use self::volume::NotFit;
pub(crate) use self::volume::VolumeService;
