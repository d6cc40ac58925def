//! The head that the app gets: what the client sent, checked, without what was
//! meant for its connection only, and with what a proxy must add. It is written
//! as bytes at once: the same bytes serve for sending it again.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Version};

use crate::error_pages::Refusal;
use crate::forwarded::{Forwarding, TrustedProxies, is_host};

/// What the client asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'r> {
    /// From an absolute target, else from `Host`; `None` if neither is there.
    pub(crate) host: Option<&'r [u8]>,
    path: Cow<'r, str>,
}

/// Checks host and target: at most one well-formed `Host`; the target becomes a
/// path.
pub(crate) fn target(parts: &Parts) -> Result<Target<'_>, Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let named = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Refusal::Bad("more than one Host header"));
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let target = match (parts.uri.scheme_str(), parts.uri.authority()) {
        (Some("http" | "https"), Some(authority)) => Target {
            host: Some(authority.as_str().as_bytes()),
            // `http://host?query` has a path too, the empty one.
            path: match path.starts_with('/') {
                true => path.into(),
                false => format!("/{path}").into(),
            },
        },
        (None, None) if parts.uri.path().starts_with('/') => Target {
            host: named,
            path: path.into(),
        },
        (None, None) if parts.uri.path() == "*" && parts.method == Method::OPTIONS => Target {
            host: named,
            path: path.into(),
        },
        _ => return Err(Refusal::Bad("malformed request target")),
    };
    let malformed = |host: Option<&[u8]>| host.is_some_and(|host| !is_host(host));
    if malformed(target.host) || malformed(named) {
        return Err(Refusal::Bad("malformed Host header"));
    }
    if named.is_none() && parts.version >= Version::HTTP_11 {
        return Err(Refusal::Bad("no Host header"));
    }
    Ok(target)
}

/// Refuses every transfer coding but a single `chunked`. A coding that is
/// dropped would give the app compressed bytes as if they were plain.
pub(crate) fn check_codings(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| {
        coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    };
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if is_chunked(only) => Ok(()),
        _ => Err(Refusal::Coding),
    }
}

/// What the gate knows when it writes a head.
pub(crate) struct Surroundings<'g> {
    pub(crate) forwarding: &'g Forwarding,
    pub(crate) proxies: &'g TrustedProxies,
    /// `X-Forwarded-Host` of trusted proxies is believed.
    pub(crate) believes_host: bool,
    /// The host of a request that names none, as HTTP/1.0 allows.
    pub(crate) default_host: &'g str,
    pub(crate) request_id: &'g HeaderValue,
}

/// How the body is framed towards the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Writes the head. `upgrade` is whether the request asks to leave HTTP.
pub(crate) fn write(
    parts: &Parts,
    target: &Target<'_>,
    framing: Framing,
    upgrade: bool,
    around: &Surroundings<'_>,
) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    let host = target.host.unwrap_or(around.default_host.as_bytes());
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(host);
    out.extend_from_slice(b"\r\n");
    let listed = listed_in_connection(&parts.headers);
    let is_trusted = around.forwarding.is_trusted;
    for (name, value) in &parts.headers {
        if goes_on(name.as_str(), is_trusted) && !listed.contains(name) {
            write_line(&mut out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    let headers = &parts.headers;
    let (proxies, believes_host) = (around.proxies, around.believes_host);
    around
        .forwarding
        .write(&mut out, headers, host, proxies, believes_host);
    write_line(&mut out, b"x-request-id", around.request_id.as_bytes());
    if upgrade && let Some(protocol) = headers.get(header::UPGRADE) {
        write_line(&mut out, b"connection", b"upgrade");
        write_line(&mut out, b"upgrade", protocol.as_bytes());
    }
    match framing {
        Framing::None => {}
        Framing::Length(length) => {
            write_line(&mut out, b"content-length", length.to_string().as_bytes());
        }
        Framing::Chunked => write_line(&mut out, b"transfer-encoding", b"chunked"),
    }
    out.extend_from_slice(b"\r\n");
    out.into()
}

fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// False for what is meant for one connection (RFC 9110 §7.6.1), for what the
/// gate writes itself, and for names with `_`, which CGI-like servers cannot
/// distinguish from `-`.
fn goes_on(name: &str, is_trusted: bool) -> bool {
    match name {
        "host" | "content-length" | "connection" | "http2-settings" | "keep-alive"
        | "proxy-connection" | "te" | "trailer" | "transfer-encoding" | "upgrade" => false,
        // The gate answers 100 itself when it begins to read the body.
        "expect" => false,
        "forwarded" | "x-real-ip" | "x-request-id" | "x-forwarded-for" | "x-forwarded-host"
        | "x-forwarded-proto" => false,
        // Other words for the scheme: one of them, unset by the proxy, would
        // contradict the others.
        "front-end-https"
        | "x-forwarded-protocol"
        | "x-forwarded-scheme"
        | "x-forwarded-ssl"
        | "x-url-scheme" => false,
        // What only a proxy may say.
        "cf-connecting-ip"
        | "fly-client-ip"
        | "true-client-ip"
        | "x-client-ip"
        | "x-cluster-client-ip" => is_trusted,
        name if name.starts_with("x-forwarded-") => is_trusted,
        name => !name.contains('_'),
    }
}

/// The headers that `Connection` says are for this connection only.
fn listed_in_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut listed = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        for token in value.as_bytes().split(|byte| *byte == b',') {
            let token = token.trim_ascii();
            // The usual ones name no header of ours.
            if token.eq_ignore_ascii_case(b"keep-alive") || token.eq_ignore_ascii_case(b"close") {
                continue;
            }
            listed.extend(HeaderName::from_bytes(token));
        }
    }
    listed
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use hyper::{Request, Uri};

    use super::*;
    use crate::connection::{ConnectionInfo, Scheme};

    fn parts(method: Method, uri: &str, lines: &[(&'static str, &'static str)]) -> Parts {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse::<Uri>().unwrap();
        for (name, value) in lines {
            let value = HeaderValue::from_static(value);
            request.headers_mut().append(*name, value);
        }
        request.into_parts().0
    }

    fn written(parts: &Parts, framing: Framing, upgrade: bool) -> String {
        let peer: SocketAddr = "203.0.113.9:1".parse().unwrap();
        let proxies = TrustedProxies::default();
        let info = ConnectionInfo::new(peer, Scheme::Http, 80);
        let around = Surroundings {
            forwarding: &Forwarding::new(&info, &proxies),
            proxies: &proxies,
            believes_host: false,
            default_host: "localhost",
            request_id: &HeaderValue::from_static("7"),
        };
        let head = write(parts, &target(parts).unwrap(), framing, upgrade, &around);
        String::from_utf8(head.to_vec()).unwrap()
    }

    #[test]
    fn what_was_meant_for_one_connection_ends_here() {
        let parts = parts(
            Method::GET,
            "/a?b",
            &[
                ("connection", "close, X-Mine, host"),
                ("connection", "keep-alive, content-length"),
                ("keep-alive", "5"),
                ("te", "trailers"),
                ("transfer-encoding", "chunked"),
                ("upgrade", "h2c"),
                ("expect", "100-continue"),
                ("x-mine", "1"),
                ("x_kept", "1"),
                ("host", "a"),
                ("x-forwarded-ssl", "on"),
                ("x-forwarded-prefix", "/evil"),
                ("fly-client-ip", "6.6.6.6"),
                ("x-kept", "1"),
                ("x-kept", "2"),
            ],
        );
        assert_eq!(
            written(&parts, Framing::Length(3), false),
            "GET /a?b HTTP/1.1\r\nhost: a\r\nx-kept: 1\r\nx-kept: 2\r\n\
             x-real-ip: 203.0.113.9\r\nx-forwarded-proto: http\r\nx-forwarded-for: 203.0.113.9\r\n\
             forwarded: for=203.0.113.9;proto=http;host=a\r\nx-forwarded-host: a\r\n\
             x-request-id: 7\r\n\
             content-length: 3\r\n\r\n"
        );
        let chunked = written(&parts, Framing::Chunked, false);
        assert!(chunked.ends_with("\r\ntransfer-encoding: chunked\r\n\r\n"));
    }

    #[test]
    fn an_upgrade_is_announced_again() {
        let lines = [
            ("host", "a"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
        ];
        let head = written(&parts(Method::GET, "/", &lines), Framing::None, true);
        assert!(
            head.ends_with("\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"),
            "{head}"
        );
    }

    #[test]
    fn the_target_names_the_host() {
        let host = [("host", "a.example")];
        let absolute = parts(Method::GET, "http://b.example/x?y", &host);
        let head = written(&absolute, Framing::None, false);
        assert!(
            head.starts_with("GET /x?y HTTP/1.1\r\nhost: b.example\r\n"),
            "{head}"
        );
        let queried = parts(Method::GET, "http://b.example?y", &host);
        let head = written(&queried, Framing::None, false);
        assert!(head.starts_with("GET /?y HTTP/1.1\r\n"), "{head}");
        let mut old = parts(Method::GET, "/", &[]);
        assert!(target(&old).is_err());
        old.version = Version::HTTP_10;
        let head = written(&old, Framing::None, false);
        assert!(
            head.starts_with("GET / HTTP/1.1\r\nhost: localhost\r\n"),
            "{head}"
        );
        assert!(target(&parts(Method::GET, "/", &[("host", "a"), ("host", "b")])).is_err());
        for host in ["a b", "a/b", "a@b", "a, b", "a\";for=1.1.1.1", "a?b#c"] {
            assert!(
                target(&parts(Method::GET, "/", &[("host", host)])).is_err(),
                "{host}"
            );
        }
        for uri in [
            "http://u:p@good.example/x",
            "evil.example:80",
            "ftp://a/",
            "*",
        ] {
            let odd = parts(Method::GET, uri, &[("host", "a")]);
            assert!(target(&odd).is_err(), "{uri}");
        }
        assert!(target(&parts(Method::OPTIONS, "*", &[("host", "a")])).is_ok());
    }

    #[test]
    fn only_chunked_is_a_coding() {
        let check = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("transfer-encoding", HeaderValue::from_static(value));
            }
            check_codings(&headers)
        };
        assert!(check(&[]).is_ok());
        assert!(check(&["chunked"]).is_ok() && check(&["CHUNKED"]).is_ok());
        for wrong in [
            &["gzip, chunked"][..],
            &["identity, chunked"],
            &["chunked, chunked"],
            &[",chunked"],
            &["chunked,"],
            &["chunked;a=b"],
            &["cow", "chunked"],
            &["chunked", "chunked"],
            &["identity"],
            &[""],
        ] {
            assert_eq!(check(wrong), Err(Refusal::Coding), "{wrong:?}");
        }
    }
}
