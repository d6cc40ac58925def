//! Why an answer of the app is not HTTP.

/// What is wrong with it, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotHttp(pub(crate) &'static str);
