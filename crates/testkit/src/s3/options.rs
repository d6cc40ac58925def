//! How a server is set up.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// How the server is.
#[derive(Clone)]
pub struct S3Options {
    /// The one access key it knows.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// The bucket it has from the start.
    pub bucket: String,
    /// What the objects' `LastModified` is taken from.
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// Most keys on a page of a listing.
    pub page: usize,
    /// Threads that serve.
    pub threads: usize,
}

impl Default for S3Options {
    fn default() -> Self {
        Self {
            access_key: "test-access-key".into(),
            secret_key: "test-secret-key".into(),
            bucket: "test".into(),
            clock: Arc::new(SystemTime::now),
            page: 1000,
            threads: 2,
        }
    }
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options")
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}
