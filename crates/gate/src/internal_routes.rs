//! What Monolite serves itself, under `/_monolite/`, and how a service mounts
//! pages there.
//!
//! ```
//! use monolite_gate::internal_routes::{InternalRoutes, page};
//! use monolite_gate::{Config, Gate};
//!
//! let routes = InternalRoutes::new().mount("version", |_request| async {
//!     page(hyper::StatusCode::OK, "text/plain; charset=utf-8", "0.1.0\n")
//! });
//! let gate = Gate::with_routes(Config::default(), routes);
//! # let _ = gate;
//! ```
//!
//! # Who may reach them
//! Everybody who can reach the port. The gate authenticates nobody: a handler
//! that shows or changes what is not public checks its requests itself. The
//! peer's address proves nothing, since with a proxy in front every client has
//! the proxy's. And the app and these pages share an origin: browsers send
//! the app's cookies here, and scripts of the app may read what is answered.
//!
//! # What the gate does and does not do
//! A path under `/_monolite/` never reaches the app, whether something is
//! mounted there or not. Requests for it do not wait, are not counted in
//! [`Stats`](crate::Stats), and a drain of the app does not wait for them. A
//! handler bounds the size and the time of the body that it reads. A response
//! of the type `text/event-stream` is ended when the gate stops.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, header};

use crate::admission::Admission;
use crate::connection::Client;
use crate::error_pages;
use crate::response::{self, ResponseBody};

/// Every path that begins so is Monolite's own.
const PREFIX: &str = "/_monolite/";

/// The body of a request to an internal route, and of its response.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a body ended before its end.
pub type BodyError = crate::request_body::BodyError;

/// The answer of a [`Handler`], to wait for.
pub type HandlerFuture = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Answers the requests below one prefix. Closures `Fn(Request<Body>) -> impl
/// Future<Output = Response<Body>>` are handlers.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Its target is as the client sent it, prefix
    /// included; its extensions hold the
    /// [`ConnectionInfo`](crate::ConnectionInfo). To switch protocols, take
    /// [`hyper::upgrade::on`] the request and answer 101.
    fn handle(&self, request: Request<Body>) -> HandlerFuture;
}

impl<F, R> Handler for F
where
    F: Fn(Request<Body>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    fn handle(&self, request: Request<Body>) -> HandlerFuture {
        Box::pin(self(request))
    }
}

/// The handlers of one gate, by prefix.
#[derive(Clone, Default)]
pub struct InternalRoutes {
    /// Longest prefix first.
    mounted: Vec<(String, Arc<dyn Handler>)>,
}

impl InternalRoutes {
    /// Nothing mounted. A gate adds its own `health`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `/_monolite/PREFIX` and all paths below it to `handler`, except
    /// those below a longer prefix. The empty prefix is `/_monolite/` with all
    /// that nobody else has. Slashes at the ends of `prefix` do not count. A
    /// second handler of the same prefix replaces the first; `health` is
    /// always the gate's.
    #[must_use]
    pub fn mount(mut self, prefix: &str, handler: impl Handler) -> Self {
        let prefix = prefix.trim_matches('/');
        self.mounted.retain(|(mounted, _)| mounted != prefix);
        self.mounted.push((prefix.to_owned(), Arc::new(handler)));
        self.mounted
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        self
    }

    /// The handler of what follows [`PREFIX`] in a path.
    fn find(&self, path: &str) -> Option<&dyn Handler> {
        let is_below = |prefix: &str| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
        };
        let found = self.mounted.iter().find(|(prefix, _)| is_below(prefix));
        found.map(|(_, handler)| handler.as_ref())
    }
}

/// True if the request is not for the app.
pub(crate) fn is_internal<B>(request: &Request<B>) -> bool {
    request.uri().path().starts_with(PREFIX)
}

/// Answers a request for which [`is_internal`] holds.
pub(crate) async fn serve(
    routes: &InternalRoutes,
    admission: &Arc<Admission>,
    client: &Client,
    mut request: Request<Incoming>,
) -> Response<ResponseBody> {
    if let Err(refusal) = client.check_framing() {
        let accept = request.headers().get(header::ACCEPT);
        return refusal.response(accept).map(ResponseBody::Own);
    }
    let path = request.uri().path();
    let response = match routes.find(path.strip_prefix(PREFIX).unwrap_or_default()) {
        Some(handler) => {
            request.extensions_mut().insert(client.info);
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            handler.handle(request).await
        }
        None => not_found(),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        client.marks.leaves_http();
    }
    response::from_internal(admission, response)
}

/// A page of one piece that no cache may keep.
pub fn page(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    error_pages::page(status, content_type, body)
        .map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

pub(crate) fn not_found() -> Response<Body> {
    page(
        StatusCode::NOT_FOUND,
        "text/plain; charset=utf-8",
        "no such page; paths under /_monolite/ are monolite's own\n",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &'static str) -> impl Handler {
        move |_| async move { page(StatusCode::OK, "text/plain", name) }
    }

    async fn found(routes: &InternalRoutes, path: &str) -> Option<Bytes> {
        let body = http_body_util::Empty::new().map_err(|never| match never {});
        let handler = routes.find(path)?;
        let response = handler.handle(Request::new(body.boxed_unsync())).await;
        let body = response.into_body().collect().await.unwrap();
        Some(body.to_bytes())
    }

    #[tokio::test]
    async fn the_longest_prefix_wins() {
        let routes = InternalRoutes::new()
            .mount("hub", named("hub"))
            .mount("/hub/admin/", named("admin"))
            .mount("hubris", named("hubris"));
        for (path, name) in [
            ("hub", "hub"),
            ("hub/", "hub"),
            ("hub/adm", "hub"),
            ("hub/admin", "admin"),
            ("hub/admin/x", "admin"),
            ("hubris", "hubris"),
        ] {
            assert_eq!(found(&routes, path).await.unwrap(), name, "{path}");
        }
        for path in ["", "hu", "hubx", "health", "Hub"] {
            assert!(found(&routes, path).await.is_none(), "{path}");
        }
        let routes = routes.mount("", named("rest")).mount("hub", named("new"));
        for (path, name) in [("", "rest"), ("hubx", "rest"), ("hub/x", "new")] {
            assert_eq!(found(&routes, path).await.unwrap(), name, "{path}");
        }
    }
}
