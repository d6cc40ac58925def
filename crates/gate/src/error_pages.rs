//! Why the gate answers a request instead of the app, and with what page.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

/// The methods that a 405 names: all but CONNECT pass.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE";

/// Why a request was not passed on, or not answered by the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Malformed, ambiguous, or not for a gate; says what.
    Bad(&'static str),
    /// A transfer coding that the gate does not know.
    Coding,
    /// CONNECT: this is no forward proxy.
    Method,
    /// The client sent its body too slowly.
    BodyTooSlow,
    /// The bound of waiting requests, or of their bytes, is reached.
    HoldFull,
    /// The app was not ready within the request's waiting time.
    HeldTooLong,
    /// The gate is closing.
    ShuttingDown,
    /// The app closed the connection without an answer.
    AppFailed,
    /// The app's answer is not HTTP.
    AppNotHttp,
    /// The app took the request and did not answer in time.
    AppSlow,
    /// The app answered, and the right to write was lost meanwhile.
    Unconfirmed,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::Bad(_) => StatusCode::BAD_REQUEST,
            Self::Coding => StatusCode::NOT_IMPLEMENTED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::HoldFull | Self::HeldTooLong | Self::ShuttingDown => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::AppFailed | Self::AppNotHttp | Self::Unconfirmed => StatusCode::BAD_GATEWAY,
            Self::AppSlow => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Bad(what) => what,
            Self::Coding => "no transfer coding but `chunked` is served here",
            Self::Method => "this method is not served here",
            Self::BodyTooSlow => "the request's body did not arrive in time",
            Self::HoldFull => "too many requests are waiting; please try again in a moment",
            Self::HeldTooLong => "the app is not ready yet; please try again in a moment",
            Self::ShuttingDown => "the app is restarting; please try again in a moment",
            Self::AppFailed => "the app stopped before it answered this request",
            Self::AppNotHttp => "the app's answer to this request is not valid HTTP",
            Self::AppSlow => "the app did not answer this request in time",
            Self::Unconfirmed => {
                "another machine serves this app now; what this request did may be lost"
            }
        }
    }

    /// Nothing of the request was passed on: the client may repeat it.
    fn can_be_repeated(self) -> bool {
        matches!(
            self,
            Self::HoldFull | Self::HeldTooLong | Self::ShuttingDown
        )
    }

    /// The answer: HTML if `accept` (the request's `Accept`) names it, else one
    /// line of text.
    pub(crate) fn response(self, accept: Option<&HeaderValue>) -> Response<Full<Bytes>> {
        const RETRY_AFTER: Duration = Duration::from_secs(5);
        let status = self.status();
        let html = accept.is_some_and(|accept| {
            accept
                .to_str()
                .is_ok_and(|accept| accept.contains("text/html"))
        });
        let mut response = if html {
            page(
                status,
                "text/html; charset=utf-8",
                html_page(status, self.text()),
            )
        } else {
            page(
                status,
                "text/plain; charset=utf-8",
                format!("{}\n", self.text()),
            )
        };
        let headers = response.headers_mut();
        if self.can_be_repeated() {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER.as_secs().into());
        }
        if self == Self::Method {
            headers.insert(header::ALLOW, HeaderValue::from_static(METHODS));
        }
        if matches!(
            self,
            Self::Bad(_) | Self::Coding | Self::BodyTooSlow | Self::ShuttingDown
        ) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A page that no cache may keep.
pub(crate) fn page(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.headers_mut() = headers;
    response
}

fn html_page(status: StatusCode, text: &str) -> String {
    let reason = status.canonical_reason().unwrap_or("Error");
    // `text` is one of the constants above: nothing to escape.
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <title>{reason}</title><style>\
         :root{{color-scheme:light dark}}\
         body{{font:1rem/1.6 system-ui,sans-serif;display:grid;place-content:center;\
         min-height:90vh;margin:0 1.5rem;text-align:center}}\
         h1{{font-size:1.4rem;margin:0}}p{{margin:.4rem 0 0;opacity:.75}}</style>\
         <h1>{reason}</h1><p>{sentence}.</p></html>",
        sentence = capitalised(text),
    )
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().collect::<String>());
    first.unwrap_or_default() + chars.as_str()
}
