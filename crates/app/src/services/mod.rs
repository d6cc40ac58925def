//! The services of `monolite run`, one file each. To add one: a file here, and a line in the list of
//! [`Stack::services`](crate::Stack).

mod database_file;
mod driver_lane;
mod gate;
mod journal_mode;
mod migration;
mod no_replica;
mod replication;
mod volume;

pub(crate) use self::database_file::DatabaseFile;
pub(crate) use self::driver_lane::DriverLaneService;
pub(crate) use self::gate::GateService;
pub(crate) use self::journal_mode::JournalMode;
pub use self::migration::MigrationError;
pub(crate) use self::migration::{Guarded, Migrations, Recovery};
pub(crate) use self::no_replica::NoReplica;
pub(crate) use self::replication::ReplicationService;
pub use self::volume::NotFit;
pub(crate) use self::volume::VolumeService;
