//! The blog as its visitors meet it.
// Helpers of tests: clippy excuses only the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod live;
mod pages;
mod refusals;
mod serve;

use std::path::PathBuf;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use monolite_demo::{App, Config};
use tower::ServiceExt;

struct Blog {
    dir: tempfile::TempDir,
    app: App,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Blog {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("app.sqlite3");
        let app = monolite_demo::app(Config { database }).await.unwrap();
        Self { dir, app }
    }

    fn database(&self) -> PathBuf {
        self.dir.path().join("app.sqlite3")
    }

    async fn get(&self, uri: &str) -> Answer {
        send(self.app.router(), Request::get(uri), "").await
    }

    async fn get_as(&self, uri: &str, accept: &str) -> Answer {
        let request = Request::get(uri).header("accept", accept);
        send(self.app.router(), request, "").await
    }

    async fn post(&self, uri: &str, form: &str, headers: &[(&str, &str)]) -> Answer {
        send(self.app.router(), form_to(uri, headers), form).await
    }
}

fn form_to(uri: &str, headers: &[(&str, &str)]) -> axum::http::request::Builder {
    let mut request = Request::post(uri)
        .header("host", "blog.example")
        .header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

async fn send(router: Router, request: axum::http::request::Builder, body: &str) -> Answer {
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap()
    }

    #[track_caller]
    fn shows(&self, text: &str) {
        assert!(self.text.contains(text), "no {text:?} in {}", self.text);
    }

    #[track_caller]
    fn hides(&self, text: &str) {
        assert!(!self.text.contains(text), "{text:?} in {}", self.text);
    }
}
