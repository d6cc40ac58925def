//! Around every request: refuses forms of other sites, makes failures pages,
//! and says what a browser may do with the answer.

use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::failure::Failure;

/// Nothing but our own files, and no page may frame us.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    // Not `no-referrer`: browsers would send our own forms with `Origin: null`.
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

pub(crate) async fn guard(request: Request, next: Next) -> Response {
    let json = accepts(request.headers(), "application/json");
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = if safe || same_origin(request.headers(), request.uri()) {
        next.run(request).await
    } else {
        Failure::OtherSite.into_response()
    };
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        response = failure.render(json);
    }
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, value);
    }
    let no_cache = HeaderValue::from_static("no-cache");
    headers.entry(header::CACHE_CONTROL).or_insert(no_cache);
    response
}

/// Whether the `Accept` header names this type.
pub(crate) fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let mut values = headers.get_all(header::ACCEPT).iter();
    values.any(|value| value.to_str().is_ok_and(|value| value.contains(kind)))
}

/// Browsers say where a form comes from; callers that say nothing are no
/// browsers, and carry nobody's credentials.
fn same_origin(headers: &HeaderMap, uri: &Uri) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let from = origin.to_str().ok().and_then(|o| o.split_once("://"));
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(|a| a.as_str()));
    matches!((from, host), (Some((_, from)), Some(host)) if from.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(pairs: &[(&'static str, &'static str)]) -> bool {
        let headers = pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        same_origin(&headers, &Uri::from_static("/posts"))
    }

    #[test]
    fn only_our_own_forms() {
        let host = ("host", "blog.example:8080");
        assert!(allowed(&[host]));
        assert!(allowed(&[host, ("origin", "http://blog.example:8080")]));
        assert!(allowed(&[host, ("sec-fetch-site", "same-origin")]));
        for refused in [
            ("origin", "http://evil.example"),
            ("origin", "http://blog.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(!allowed(&[host, refused]), "{refused:?}");
        }
    }
}
