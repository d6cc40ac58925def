//! What is known of a client's connection apart from the bytes on it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::admission::ConnectionPermit;
use crate::error_pages::Refusal;
use crate::forwarded::Forwarding;
use crate::framing::Marks;

/// The scheme of the URLs that a client uses on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP inside TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The facts of one client connection. The handler of an internal route finds
/// them in the extensions of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The other end: the client, or a proxy in front of this gate.
    pub peer: SocketAddr,
    /// How the bytes came to this gate. A proxy in front may have taken them
    /// by another scheme.
    pub scheme: Scheme,
    /// The port on this machine that accepted the connection.
    pub local_port: u16,
    /// The peer is a client that a trusted proxy's PROXY protocol header named.
    pub(crate) is_named: bool,
}

impl ConnectionInfo {
    /// The facts of a connection from `peer` to `local_port`.
    pub fn new(peer: SocketAddr, scheme: Scheme, local_port: u16) -> Self {
        Self {
            peer,
            scheme,
            local_port,
            is_named: false,
        }
    }
}

/// A client's connection while it is served.
pub(crate) struct Client {
    pub(crate) info: ConnectionInfo,
    pub(crate) forwarding: Forwarding,
    pub(crate) marks: Arc<Marks>,
    pub(crate) permit: ConnectionPermit,
}

impl Client {
    /// Refuses what was read last if its length is given in two ways.
    pub(crate) fn check_framing(&self) -> Result<(), Refusal> {
        if self.marks.is_ambiguous() {
            return Err(Refusal::Bad("both Content-Length and Transfer-Encoding"));
        }
        Ok(())
    }
}
