//! The headers a proxy must drop, set or refuse.

use std::net::IpAddr;

use hyper::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri, Version};

use crate::config::TrustForwarded;
use crate::connection::ConnectionInfo;
use crate::error_pages::Refusal;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Meant for one connection, never for the next (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HTTP2_SETTINGS,
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

/// Drops what was meant for this connection only: the known names and those
/// that `Connection` lists.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let listed: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|token| token.trim().parse().ok())
            // Listing these would hide them from the app.
            .filter(|name| !is_end_to_end(name))
            .collect();
        for name in listed {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

fn is_end_to_end(name: &HeaderName) -> bool {
    [
        header::HOST,
        header::CONTENT_LENGTH,
        header::FORWARDED,
        FORWARDED_FOR,
        FORWARDED_HOST,
        FORWARDED_PROTO,
    ]
    .contains(name)
}

/// Checks and normalises host and target: exactly one well-formed `Host`, taken
/// from an absolute target where there is one; the target becomes a path.
pub(crate) fn settle_host(
    uri: &mut Uri,
    method: &Method,
    version: Version,
    headers: &mut HeaderMap,
) -> Result<(), Refusal> {
    if headers.get_all(header::HOST).iter().count() > 1 {
        return Err(Refusal::Bad("more than one Host header"));
    }
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) => {
            let host = HeaderValue::from_str(authority.as_str())
                .map_err(|_| Refusal::Bad("malformed authority"))?;
            headers.insert(header::HOST, host);
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            // `http://host?query` has a path too, the empty one.
            let slash = if path.starts_with('/') { "" } else { "/" };
            *uri = format!("{slash}{path}")
                .parse()
                .map_err(|_| Refusal::Bad("malformed request target"))?;
        }
        (None, None) if uri.path().starts_with('/') => {}
        (None, None) if uri.path() == "*" && *method == Method::OPTIONS => {}
        _ => return Err(Refusal::Bad("malformed request target")),
    }
    match headers.get(header::HOST) {
        Some(host) if !is_host(host.as_bytes()) => Err(Refusal::Bad("malformed Host header")),
        None if version >= Version::HTTP_11 => Err(Refusal::Bad("no Host header")),
        _ => Ok(()),
    }
}

/// A name or address with perhaps a port, and nothing that another reader
/// could take for more (RFC 3986 §3.2.2, without the exotic).
fn is_host(host: &[u8]) -> bool {
    host.iter()
        .all(|b| b.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+=".contains(b))
}

/// Announces an upgrade to `protocol` again, after [`strip_hop_by_hop`].
pub(crate) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::UPGRADE, protocol);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
}

/// Sets `X-Forwarded-*`, `X-Real-IP` and `Forwarded` for a request that came on
/// `connection`, and drops names with `_`, which CGI-like servers cannot
/// distinguish from `-`.
pub(crate) fn set_forwarded(
    headers: &mut HeaderMap,
    connection: &ConnectionInfo,
    trust: TrustForwarded,
) {
    drop_underscores(headers);
    let peer = connection.peer.ip().to_canonical();
    let trusted = match trust {
        TrustForwarded::All => true,
        TrustForwarded::None => false,
        TrustForwarded::Private => is_private(peer),
    };
    if !trusted {
        for name in [
            &FORWARDED_FOR,
            &FORWARDED_HOST,
            &FORWARDED_PROTO,
            &REAL_IP,
            &header::FORWARDED,
        ] {
            headers.remove(name);
        }
    }
    let host = headers.get(header::HOST).cloned();
    let had_forwarded = headers.contains_key(header::FORWARDED);
    append_to_list(headers, FORWARDED_FOR, &peer.to_string());
    if let Some(host) = &host
        && let Entry::Vacant(vacant) = headers.entry(FORWARDED_HOST)
    {
        vacant.insert(host.clone());
    }
    headers
        .entry(FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static(connection.scheme.as_str()));
    let text = |name: &HeaderName| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    // An app reads one of the two families: both must say the same.
    let (chain, proto, host) = (
        text(&FORWARDED_FOR),
        text(&FORWARDED_PROTO),
        text(&FORWARDED_HOST),
    );
    let first = chain
        .split(',')
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned();
    if let Entry::Vacant(vacant) = headers.entry(REAL_IP)
        && let Ok(value) = HeaderValue::from_str(&first)
    {
        vacant.insert(value);
    }
    let nodes = chain.split(',').map(str::trim);
    if had_forwarded {
        append_to_list(
            headers,
            header::FORWARDED,
            &format!("for={}", node(&peer.to_string())),
        );
    } else {
        let mut elements: Vec<String> = nodes.map(|ip| format!("for={}", node(ip))).collect();
        if let Some(element) = elements.first_mut() {
            element.push_str(&format!(";proto={}", quoted(&proto)));
            if !host.is_empty() {
                element.push_str(&format!(";host={}", quoted(&host)));
            }
        }
        append_to_list(headers, header::FORWARDED, &elements.join(", "));
    }
}

/// An address as `Forwarded` writes it (RFC 7239 §6).
fn node(ip: &str) -> String {
    if ip.contains(':') {
        quoted(&format!("[{}]", ip.trim_matches(['[', ']'])))
    } else {
        quoted(ip)
    }
}

/// A token as it is, anything else in quotes.
fn quoted(text: &str) -> String {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if !text.is_empty() && text.chars().all(is_token) {
        return text.to_owned();
    }
    let safe: String = text.chars().filter(|c| !matches!(c, '"' | '\\')).collect();
    format!("\"{safe}\"")
}

fn drop_underscores(headers: &mut HeaderMap) {
    let ambiguous = |name: &&HeaderName| name.as_str().contains('_');
    if headers.keys().any(|name| ambiguous(&name)) {
        let names: Vec<_> = headers.keys().filter(ambiguous).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}

/// Joins all values of a list header and `last` in one line.
fn append_to_list(headers: &mut HeaderMap, name: HeaderName, last: &str) {
    let mut list: Vec<&str> = headers
        .get_all(&name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    list.push(last);
    if let Ok(value) = HeaderValue::from_str(&list.join(", ")) {
        headers.insert(name, value);
    }
}

fn is_private(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(peer) => {
            let [a, b, ..] = peer.octets();
            // 100.64/10: the shared space of carriers and of some platforms.
            let shared = a == 100 && (64..128).contains(&b);
            peer.is_private() || peer.is_loopback() || peer.is_link_local() || shared
        }
        IpAddr::V6(peer) => {
            peer.is_loopback() || peer.is_unique_local() || peer.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Scheme;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    fn connection(peer: &str, scheme: Scheme) -> ConnectionInfo {
        ConnectionInfo::new(peer.parse().unwrap(), scheme, 443)
    }

    #[test]
    fn hop_by_hop_headers_end_here() {
        let mut map = headers(&[
            ("connection", "close, X-Mine, host"),
            ("connection", "keep-alive"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-mine", "1"),
            ("host", "a"),
            ("x-kept", "1"),
        ]);
        strip_hop_by_hop(&mut map);
        let mut left: Vec<_> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-kept"]);
    }

    #[test]
    fn the_headers_of_an_untrusted_peer_are_replaced() {
        let lies = [
            ("host", "shop.example"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x_forwarded_for", "10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
        ];
        let stranger = connection("203.0.113.9:1", Scheme::Http);
        let mut map = headers(&lies);
        set_forwarded(&mut map, &stranger, TrustForwarded::Private);
        assert_eq!(map["x-forwarded-for"], "203.0.113.9");
        assert_eq!(map["x-real-ip"], "203.0.113.9");
        assert_eq!(map["x-forwarded-proto"], "http");
        assert_eq!(map["x-forwarded-host"], "shop.example");
        assert_eq!(
            map["forwarded"],
            "for=203.0.113.9;proto=http;host=shop.example"
        );
        assert!(!map.contains_key("x_forwarded_for"));
    }

    #[test]
    fn the_headers_of_a_private_proxy_are_kept() {
        let mut map = headers(&[
            ("host", "a"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
        ]);
        let proxy = connection("[::ffff:172.16.0.2]:1", Scheme::Http);
        set_forwarded(&mut map, &proxy, TrustForwarded::Private);
        assert_eq!(map["x-forwarded-for"], "203.0.113.9, 172.16.0.2");
        assert_eq!(map["x-forwarded-proto"], "https");
        assert_eq!(map["x-real-ip"], "203.0.113.9");
        assert_eq!(
            map["forwarded"],
            "for=203.0.113.9;proto=https;host=a, for=172.16.0.2"
        );
    }

    #[test]
    fn the_scheme_is_that_of_the_connection() {
        let mut map = headers(&[("host", "a")]);
        let client = connection("203.0.113.9:1", Scheme::Https);
        set_forwarded(&mut map, &client, TrustForwarded::None);
        assert_eq!(map["x-forwarded-proto"], "https");
        assert_eq!(map["forwarded"], "for=203.0.113.9;proto=https;host=a");
    }

    #[test]
    fn the_target_names_the_host() {
        let mut uri: Uri = "http://b.example/x?y".parse().unwrap();
        let mut map = headers(&[("host", "a.example")]);
        settle_host(&mut uri, &Method::GET, Version::HTTP_11, &mut map).unwrap();
        assert_eq!(
            (uri.to_string().as_str(), &map["host"]),
            ("/x?y", &"b.example".parse().unwrap())
        );

        let mut two = headers(&[("host", "a"), ("host", "b")]);
        assert!(settle_host(&mut uri, &Method::GET, Version::HTTP_11, &mut two).is_err());
        assert!(
            settle_host(
                &mut uri,
                &Method::GET,
                Version::HTTP_11,
                &mut HeaderMap::new()
            )
            .is_err()
        );
        assert!(
            settle_host(
                &mut uri,
                &Method::GET,
                Version::HTTP_10,
                &mut HeaderMap::new()
            )
            .is_ok()
        );
        for host in ["a b", "a/b", "a@b", "a, b", "a\";for=1.1.1.1", "a?b#c"] {
            let mut odd = headers(&[]);
            odd.insert("host", HeaderValue::from_str(host).unwrap());
            let settled = settle_host(&mut uri, &Method::GET, Version::HTTP_11, &mut odd);
            assert!(settled.is_err(), "{host}");
        }
        for target in [
            "http://u:p@good.example/x",
            "evil.example:80",
            "ftp://a/",
            "*",
        ] {
            let mut uri: Uri = target.parse().unwrap();
            let mut map = headers(&[("host", "a")]);
            let settled = settle_host(&mut uri, &Method::GET, Version::HTTP_11, &mut map);
            assert!(settled.is_err(), "{target}");
        }
    }
}
