//! Why a request got no page: carried in the response's extensions, and made
//! a page or JSON by [`crate::guard`], which knows what the caller accepts.

use axum::extract::rejection::FormRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use monolite::{cache, pubsub, store};

use crate::pages;

/// One line for the visitor each; the cause is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    NotFound,
    WrongMethod,
    /// A form sent from another site.
    OtherSite,
    Unreadable,
    TooLarge,
    /// Too many open streams, or too many requests at once.
    Full,
    Internal,
}

impl Failure {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::OtherSite => StatusCode::FORBIDDEN,
            Self::Unreadable => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::NotFound => "Nothing stands here",
            Self::WrongMethod => "That does not work here",
            Self::OtherSite => "Not from over there",
            Self::Unreadable => "That could not be read",
            Self::TooLarge => "That is a lot",
            Self::Full => "A full house",
            Self::Internal => "A crack in the slab",
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NotFound => {
                "There is no page at this address. It may have been moved, or it never was."
            }
            Self::WrongMethod => "This address does not answer that kind of request.",
            Self::OtherSite => {
                "This form was sent from another site, so it was not accepted. Open the page here and send it again."
            }
            Self::Unreadable => "The form did not arrive in one piece. Go back and send it again.",
            Self::TooLarge => {
                "More than 64 KiB arrived in one form. Make it shorter and send it again."
            }
            Self::Full => "Everyone is here at once. Try again in a moment.",
            Self::Internal => "Something went wrong on our side. The log of the server knows more.",
        }
    }

    /// The page, or JSON for a script.
    pub(crate) fn render(self, json: bool) -> Response {
        let status = self.status();
        let mut response = if json {
            let body = serde_json::json!({ "error": self.text() });
            (status, axum::Json(body)).into_response()
        } else {
            match pages::failure(self) {
                Ok(html) => (status, axum::response::Html(html)).into_response(),
                Err(_) => (status, self.text()).into_response(),
            }
        };
        if self == Self::Full {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<monolite::Error> for Failure {
    fn from(error: monolite::Error) -> Self {
        use monolite::Error::{Cache, PubSub, Store};
        match error {
            Store(store::Error::QueueFull { .. } | store::Error::Closed)
            | Cache(cache::Error::Closed)
            | PubSub(pubsub::Error::Closed) => Self::Full,
            error => {
                tracing::error!(%error, "request failed");
                Self::Internal
            }
        }
    }
}

impl From<cache::Error> for Failure {
    fn from(error: cache::Error) -> Self {
        monolite::Error::from(error).into()
    }
}

impl From<pubsub::Error> for Failure {
    fn from(error: pubsub::Error) -> Self {
        monolite::Error::from(error).into()
    }
}

impl From<askama::Error> for Failure {
    fn from(error: askama::Error) -> Self {
        tracing::error!(%error, "page not rendered");
        Self::Internal
    }
}

impl From<FormRejection> for Failure {
    fn from(rejection: FormRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            _ => Self::Unreadable,
        }
    }
}
