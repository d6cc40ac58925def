//! The bounds of a gate, and whose forwarding headers it believes.

use std::path::PathBuf;
use std::time::Duration;

use crate::access_log::AccessLog;
use crate::forwarded::TrustedProxies;

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
    /// Bytes that the heads of the waiting requests may take together. Default
    /// 16 MiB.
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
    /// Longest time from the first byte of a request's head to its last, and
    /// from accepting a connection to its first request. Default 30 s.
    pub head_time: Duration,
    /// Longest time that a client's connection stays open without a request.
    /// Default 620 s: longer than any load balancer keeps one, so that no
    /// request of it meets the closing of its connection.
    pub keep_alive: Duration,
    /// Open connections; further ones wait in the kernel. Default 10,000, and
    /// never more than half of the process's file descriptors allow.
    pub connections: usize,
    /// Idle connections to the app that each thread keeps. Default 32.
    pub idle_upstream: usize,
    /// Bytes of request and response bodies in memory, of all requests
    /// together. Beyond it they go into files. Default 64 MiB.
    pub buffer_memory: usize,
    /// The directory of files for bodies that are too long for memory; the
    /// files have no names. `None`, the default: such bodies are passed on as
    /// they come.
    pub buffer_dir: Option<PathBuf>,
    /// Bytes in these files, all together. Default 4 GiB.
    pub buffer_files: u64,
    /// Read request bodies of unknown length (`Transfer-Encoding: chunked`),
    /// too, before the app is asked. Default false: their clients may wait for
    /// what the app answers meanwhile.
    pub buffer_unknown: bool,
    /// Whose `X-Forwarded-*` and `Forwarded` headers are believed. Default
    /// `private`.
    pub trusted_proxies: TrustedProxies,
    /// Believe `X-Forwarded-Host` of trusted proxies. Default false: many
    /// proxies pass on what the client says in it.
    pub trust_forwarded_host: bool,
    /// Connections of trusted proxies begin with a PROXY protocol header,
    /// version 1 or 2; others are closed. Default false.
    pub proxy_protocol: bool,
    /// A line for each request goes there. Default `None`.
    pub access_log: Option<AccessLog>,
    /// Add `Server-Timing` to the app's responses: how long the request was held,
    /// and how long the app took for the head of its answer. Default false.
    pub server_timing: bool,
    /// The `Host` that the app gets for a request of HTTP/1.0 without one.
    /// Default `localhost`.
    pub default_host: String,
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
            keep_alive: Duration::from_secs(620),
            connections: 10_000,
            idle_upstream: 32,
            buffer_memory: 64 << 20,
            buffer_dir: None,
            buffer_files: 4 << 30,
            buffer_unknown: false,
            trusted_proxies: TrustedProxies::default(),
            trust_forwarded_host: false,
            proxy_protocol: false,
            access_log: None,
            server_timing: false,
            default_host: "localhost".into(),
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
        keep_alive: Duration,
        connections: usize,
        idle_upstream: usize,
        buffer_memory: usize,
        buffer_dir: PathBuf,
        buffer_files: u64,
        buffer_unknown: bool,
        trusted_proxies: TrustedProxies,
        trust_forwarded_host: bool,
        proxy_protocol: bool,
        access_log: AccessLog,
        server_timing: bool,
        default_host: String,
    }
}
