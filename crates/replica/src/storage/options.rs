//! What a destination is besides its URL.

use std::sync::Arc;
use std::time::Duration;

use super::key::Key;
use super::retry::RetryPolicy;
use monolite_platform::clock::{Clock, SystemClock};

/// What a destination is besides its URL.
#[derive(Debug, Clone)]
pub struct DestinationOptions {
    /// Encrypts what is written, and decrypts what was encrypted.
    pub key: Option<Key>,
    /// What is tried again, and how often.
    pub retry: RetryPolicy,
    /// How long one request may take, a small one as a whole and a large one
    /// between two of its bytes. 10 s.
    pub request_timeout: Duration,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

impl Default for DestinationOptions {
    fn default() -> Self {
        Self {
            key: None,
            retry: RetryPolicy::default(),
            request_timeout: Duration::from_secs(10),
            clock: Arc::new(SystemClock),
        }
    }
}
