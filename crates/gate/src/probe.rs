//! Asks an app once whether it answers.

use std::net::SocketAddr;

use hyper::{Request, StatusCode, header};

use crate::request_body::RequestBody;
use crate::upstream::Upstream;

/// Why a [`probe`] got no status.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The path or the host cannot stand in a request.
    #[error("not a path: {0}")]
    Request(hyper::http::Error),
    /// Nobody accepts connections, or not in 5 s.
    #[error("nothing listens on port {}", .address.port())]
    Connect {
        /// Where the app should be.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The connection ended without an answer, or the answer is not HTTP.
    #[error("not HTTP: {0}")]
    Exchange(hyper::Error),
}

/// GETs `path` from the app at `address`, on a connection of its own, and says
/// what status it answered. `host` is the request's `Host`.
///
/// Bounded in time by the caller. The request claims to have come by HTTPS, so
/// that an app that redirects plain HTTP answers it as it answers its users.
///
/// # Errors
/// When no answer came. See [`ProbeError`].
pub async fn probe(address: SocketAddr, path: &str, host: &str) -> Result<StatusCode, ProbeError> {
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "monolite-health")
        .header(header::CONNECTION, "close")
        .header("x-forwarded-proto", "https")
        .body(RequestBody::empty())
        .map_err(ProbeError::Request)?;
    let connection = Upstream::new(address, 0).fresh().await;
    let mut connection = connection.map_err(|source| ProbeError::Connect { address, source })?;
    let response = connection.exchange(request).await;
    response
        .map(|response| response.status())
        .map_err(|failed| ProbeError::Exchange(failed.into_error()))
}
