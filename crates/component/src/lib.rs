//! What every component (`cache`, `jobs`, `pubsub`) shares: tables with a
//! version ([`Schema`]) and an injectable [`Clock`]. It depends neither on an
//! async runtime nor on the way SQLite came into the program, so that the
//! loadable extension can use it.
//!
//! With the feature `handle` it also has what a component with a file of its
//! own needs: opening, checking and replacing that file ([`OwnFile`]), and a
//! thread for upkeep ([`Background`], [`upkeep`]).

#[cfg(feature = "handle")]
mod background;
#[cfg(feature = "handle")]
pub mod file;
mod schema;

#[cfg(feature = "handle")]
pub use crate::background::{Background, SpawnError, Upkeep, upkeep};
#[cfg(feature = "handle")]
pub use crate::file::{
    AfterCrash, FileError, FileRules, InUse, OpenError, OpenFile, Opened, OwnFile, WhileInUse,
};
pub use crate::schema::{Schema, SchemaError};
/// The clock of a component, which its tests steer.
pub use monolite_platform::clock::{Clock, ManualClock, SystemClock};
