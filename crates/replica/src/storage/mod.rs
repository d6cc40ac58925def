//! Where replicas are kept: S3 and compatibles, Google Cloud Storage, Azure
//! Blob Storage, or a local folder; with or without encryption of our own.
//!
//! A [`Destination`] is one such place, a [`Replica`] one database's files in
//! it, and a [`Lease`] the right to write there.

mod body;
mod destination;
mod error;
mod file_info;
mod folder;
mod key;
mod lease;
mod object;
mod place;
mod replica;
mod retry;
mod seal;
mod source;
mod url;

pub use body::Body;
pub use destination::{Destination, DestinationOptions};
pub use error::StorageError;
pub use file_info::{FileInfo, SNAPSHOT_LEVEL};
pub use key::Key;
pub use lease::{Holder, Lease, LeaseStore, Node};
pub use place::{Permission, Permit};
pub use replica::Replica;
pub use retry::RetryPolicy;
