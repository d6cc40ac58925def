//! What bounds a gate.

use std::time::Duration;

/// Whose `X-Forwarded-*` and `Forwarded` headers are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrustForwarded {
    /// Those of peers with a private, loopback or link-local address: the
    /// proxy of the platform or of this machine. Others' are replaced.
    #[default]
    Private,
    /// Everybody's: only where nothing but a proxy can reach the port.
    All,
    /// Nobody's: this gate is the edge.
    None,
}

/// The bounds of one gate. A request beyond one of them is answered with 503
/// and `Retry-After`, never dropped in silence.
#[derive(Debug, Clone)]
pub struct Config {
    /// Requests that may wait at once. Default 1,024.
    pub hold_requests: usize,
    /// Bytes of heads and buffered bodies the waiting requests may take
    /// together. Default 16 MiB.
    pub hold_bytes: usize,
    /// Longest a request waits before it is passed on. Default 30 s.
    pub hold_time: Duration,
    /// Most state-changing requests (not GET, HEAD, OPTIONS or an upgrade) in
    /// the app at once; `None` is no limit. They enter in the order they came.
    pub write_concurrency: Option<usize>,
    /// Longest wait for the head of the app's response, then 504. Default 60 s;
    /// zero is for ever.
    pub response_time: Duration,
    /// Longest wait for a request's head on a connection. Default 30 s.
    pub head_time: Duration,
    /// Open connections; further ones wait in the kernel. Default 10,000.
    pub connections: usize,
    /// Idle connections kept to the app by each thread. Default 32.
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
