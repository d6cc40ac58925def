//! Headers that are meant for one connection.

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Those of a response, never for the next connection (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// True if the message asks to leave HTTP (WebSocket and the like). `h2c` is
/// not passed on: in such a tunnel requests would reach the app unseen, with
/// whatever they claim of their sender.
pub(crate) fn wants_upgrade(headers: &HeaderMap) -> bool {
    let other_protocol = headers.get(header::UPGRADE).is_some_and(|protocol| {
        let protocol = protocol.as_bytes().to_ascii_lowercase();
        !protocol.windows(3).any(|name| name == b"h2c")
    });
    other_protocol
        && headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
}

/// Makes the headers of the app's response those of the client's: drops what
/// was meant for the app's connection, the known names and those that
/// `Connection` lists. The protocol of a 101 or 426 is announced again.
pub(crate) fn strip_hop_by_hop(status: StatusCode, headers: &mut HeaderMap) {
    let names_protocol = matches!(
        status,
        StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED
    );
    let protocol = match names_protocol {
        true => headers.get(header::UPGRADE).cloned(),
        false => None,
    };
    if headers.contains_key(header::CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|token| token.trim().parse().ok())
            // Listing it would make the body end elsewhere.
            .filter(|name| *name != header::CONTENT_LENGTH)
            .collect();
        for name in listed {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_for_the_connection_to_the_app_ends_here() {
        let response = || {
            let mut map = HeaderMap::new();
            for (name, value) in [
                ("connection", "close, X-Mine, Content-Length"),
                ("keep-alive", "timeout=5"),
                ("trailer", "x"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "websocket"),
                ("x-mine", "1"),
                ("content-length", "5"),
                ("x-kept", "1"),
            ] {
                map.append(name, HeaderValue::from_static(value));
            }
            map
        };
        let mut map = response();
        strip_hop_by_hop(StatusCode::OK, &mut map);
        let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "x-kept"]);
        let mut map = response();
        strip_hop_by_hop(StatusCode::UPGRADE_REQUIRED, &mut map);
        assert_eq!(map["upgrade"], "websocket");
        assert_eq!(map["connection"], "upgrade");
    }
}
