//! What every component (`cache`, `jobs`, `pubsub`) has, whatever it does:
//! tables with a version ([`Schema`]) and an idea of time ([`Clock`]).
//!
//! It knows neither an async runtime nor how SQLite came into the program, so
//! that the loadable extension can use it too.

mod clock;
mod schema;

pub use crate::clock::{Clock, ManualClock, SystemClock};
pub use crate::schema::{Schema, SchemaError};
