//! The blog as its visitors meet it.
// Helpers of tests: clippy excuses only the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod background;
mod crash;
mod front;
mod live;
mod loss;
mod pages;
mod refusals;
mod serve;
mod upgrade;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use monolite::rusqlite::Connection;
use monolite::{Monolite, store};
use monolite_demo::{App, Config};
use tower::ServiceExt;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

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
        Self::at(tempfile::tempdir().unwrap()).await
    }

    async fn at(dir: tempfile::TempDir) -> Self {
        let app = open(dir.path()).await;
        Self { dir, app }
    }

    /// The same blog a second time, as another process has it.
    async fn again(&self) -> App {
        open(self.dir.path()).await
    }

    /// Its files, without an app.
    async fn files(&self) -> Monolite {
        Monolite::open(self.dir.path()).await.unwrap()
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

async fn open(data: &std::path::Path) -> App {
    monolite_demo::app(Config::new(data)).await.unwrap()
}

/// Waits for commits until there is what `read` looks for.
async fn until<T: Send + 'static>(
    app: &Monolite,
    read: impl Fn(&Connection) -> store::Result<Option<T>> + Clone + Send + 'static,
) -> T {
    let mut commits = app.db().watch().unwrap();
    let wait = async {
        loop {
            if let Some(found) = app.db().read(read.clone()).await.unwrap() {
                return found;
            }
            commits.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("in time")
}

/// A test of this program, marked as ignored, in a process of its own.
fn process(test: &str, data: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("DEMO_DATA", data)
        .stdout(Stdio::null());
    command
}

/// In such a process: its directory.
fn data() -> Option<PathBuf> {
    std::env::var_os("DEMO_DATA").map(PathBuf::from)
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
