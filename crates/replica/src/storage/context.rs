//! What all handles of one destination share.

use std::sync::Arc;

use super::bucket::Bucket;
use super::key::Key;
use monolite_platform::clock::Clock;

/// One destination: its bucket, and how files are written there.
pub(super) struct Context {
    /// For people, without secrets.
    pub(super) name: String,
    /// As it can be given again on a command line, without secrets.
    pub(super) url: String,
    pub(super) prefix: String,
    pub(super) bucket: Box<dyn Bucket>,
    /// Encrypts what is written, and decrypts what was encrypted.
    pub(super) key: Option<Key>,
    pub(super) clock: Arc<dyn Clock>,
}
