//! Asks an app once whether it answers.

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{StatusCode, Uri};

use crate::request_body::RequestBody;
use crate::upstream::{AppAddress, Asked, ExchangeError, NotHttp, Sending, Upstream};

/// Why a [`probe`] got no status.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The path or the host cannot stand in a request.
    #[error("not a path: {0}")]
    Request(String),
    /// Nobody accepts connections, or not in 5 s.
    #[error("nothing listens on {address}")]
    Connect {
        /// Where the app should be.
        address: AppAddress,
        /// What the system says.
        source: std::io::Error,
    },
    /// The connection ended without an answer.
    #[error("it closed the connection without an answer")]
    Broken(#[source] std::io::Error),
    /// The answer is not HTTP.
    #[error("not HTTP: {0}")]
    NotHttp(NotHttp),
}

/// GETs `path` from the app at `address`, on a connection of its own, and says
/// what status it answered. `host` is the request's `Host`.
///
/// Bounded in time by the caller. The request claims to have come by HTTPS, so
/// that an app that redirects plain HTTP answers it as it answers its users.
///
/// # Errors
/// When no answer came. See [`ProbeError`].
pub async fn probe(
    address: impl Into<AppAddress>,
    path: &str,
    host: &str,
) -> Result<StatusCode, ProbeError> {
    let address = address.into();
    let uri = path
        .parse::<Uri>()
        .ok()
        .filter(|uri| uri.scheme().is_none());
    let target = uri.as_ref().and_then(Uri::path_and_query);
    let (Some(target), Ok(_)) = (target, HeaderValue::from_str(host)) else {
        return Err(ProbeError::Request(format!("{path} of {host}")));
    };
    let head = format!(
        "GET {target} HTTP/1.1\r\nhost: {host}\r\nuser-agent: monolite-health\r\n\
         connection: close\r\nx-forwarded-proto: https\r\n\r\n"
    );
    let connection = Upstream::new(address.clone(), 0).fresh().await;
    let mut connection = connection.map_err(|source| ProbeError::Connect { address, source })?;
    let request = Sending::new(Bytes::from(head), RequestBody::empty(), false);
    let head = connection.exchange(request, Asked::default()).await;
    head.map(|head| head.status).map_err(|failed| match failed {
        ExchangeError::NotHttp(error) => ProbeError::NotHttp(error),
        ExchangeError::Broken(error) | ExchangeError::Unread(_, error) => ProbeError::Broken(error),
        // There is no body.
        ExchangeError::Body(_) => ProbeError::Broken(std::io::ErrorKind::Other.into()),
    })
}
