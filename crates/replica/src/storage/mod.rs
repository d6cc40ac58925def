//! Where replicas are kept: S3 and compatibles, Google Cloud Storage, Azure
//! Blob Storage, or a local folder; with or without encryption of our own.
//!
//! A [`Destination`] is a bucket or a folder, a [`Replica`] one database's files
//! in it, and a [`Lease`] the right to write there. All of them stand on one
//! narrow interface, [`bucket::Bucket`], which [`folder`] and [`object`] fulfil.

mod body;
mod bucket;
mod context;
mod destination;
mod encryption;
mod error;
mod file_info;
mod folder;
mod holder;
mod key;
mod lease;
mod object;
mod options;
mod permit;
mod replica;
mod retry;
#[cfg(test)]
pub(crate) mod sim;
mod upload_body;
mod url;

pub use body::Body;
pub use destination::Destination;
pub use error::StorageError;
pub use file_info::{FileInfo, SNAPSHOT_LEVEL};
pub use holder::{Holder, Node};
pub use key::Key;
pub use lease::{Lease, LeaseStore};
pub use options::DestinationOptions;
pub use permit::{Permission, Permit};
pub use replica::Replica;
pub use retry::RetryPolicy;
