//! The bounds of a gate, and whose forwarding headers it believes.

use std::time::Duration;

/// Whose `X-Forwarded-*` and `Forwarded` headers are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrustForwarded {
    /// Those of peers with a private, loopback or link-local address: the
    /// proxy of the platform or of this machine. All other peers' are replaced.
    #[default]
    Private,
    /// Everybody's: only where nothing but a proxy can reach the port.
    All,
    /// Nobody's: this gate is the edge.
    None,
}

/// The bounds of one gate. A request beyond a bound is answered with 503 and
/// `Retry-After`; none is dropped without an answer.
///
/// ```
/// let config = monolite_gate::Config::new().hold_requests(100).write_concurrency(1);
/// assert_eq!(config.hold_requests, 100);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Requests that may wait at once. Default 1,024.
    pub hold_requests: usize,
    /// Bytes of heads and buffered bodies that the waiting requests may take
    /// together. Default 16 MiB.
    pub hold_bytes: usize,
    /// Longest time a request waits before it is passed on. Default 30 s, at
    /// most a day.
    pub hold_time: Duration,
    /// State-changing requests (not GET, HEAD, OPTIONS or an upgrade) that may
    /// be in the app at once, at least 1; `None`, the default, is no bound.
    /// They enter in the order they came.
    pub write_concurrency: Option<usize>,
    /// Longest wait for the head of the app's response, then 504. Default 60 s;
    /// zero is no bound.
    pub response_time: Duration,
    /// Longest wait for a request's head on a connection. Default 30 s.
    pub head_time: Duration,
    /// Open connections; further ones wait in the kernel. Default 10,000.
    pub connections: usize,
    /// Idle connections to the app that each thread keeps. Default 32.
    pub idle_upstream: usize,
    /// Default [`TrustForwarded::Private`].
    pub trust_forwarded: TrustForwarded,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            hold_requests: 1024,
            hold_bytes: 16 << 20,
            hold_time: Duration::from_secs(30),
            write_concurrency: None,
            response_time: Duration::from_secs(60),
            head_time: Duration::from_secs(30),
            connections: 10_000,
            idle_upstream: 32,
            trust_forwarded: TrustForwarded::default(),
        }
    }
}

/// Sets the field of the same name.
macro_rules! setters {
    ($($field:ident: $kind:ty),* $(,)?) => {$(
        #[doc = concat!("Sets [`Config::", stringify!($field), "`](#structfield.", stringify!($field), ").")]
        #[must_use]
        pub fn $field(mut self, $field: $kind) -> Self {
            self.$field = $field.into();
            self
        }
    )*};
}

impl Config {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        hold_requests: usize,
        hold_bytes: usize,
        hold_time: Duration,
        write_concurrency: usize,
        response_time: Duration,
        head_time: Duration,
        connections: usize,
        idle_upstream: usize,
        trust_forwarded: TrustForwarded,
    }
}
