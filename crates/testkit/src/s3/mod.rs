//! A real S3 server in the test's own process: signatures are checked, writes
//! may be conditional, uploads come in parts, and everything is in memory.
//! What goes wrong with one in production can be made to go wrong here
//! ([`Faults`]), and what was asked of it is counted ([`Counts`]).
//!
//! ```
//! use monolite_testkit::s3::{Fault, Operation, Rule, S3Server};
//!
//! let server = S3Server::start();
//! let slow_down = server
//!     .faults()
//!     .add(Rule::new(Fault::Status(503)).operation(Operation::PutObject).next(2));
//! // … the code under test puts objects to server.url() …
//! assert_eq!(slow_down.hits(), 0);
//! assert_eq!(server.counts().of(Operation::PutObject), 0);
//! ```

mod api;
mod body;
mod conditions;
mod content;
mod faults;
mod front;
mod listing;
mod objects;
mod options;
mod request;
mod server;
mod traffic;
mod wire;

pub use faults::{Fault, Faults, Rule, Standing};
pub use listing::View;
pub use options::S3Options;
pub use request::Operation;
pub use server::S3Server;
pub use traffic::{Counts, Logged};
