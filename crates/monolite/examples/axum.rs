//! A web app: a handler writes a row, enqueues a job and publishes, all in one
//! transaction; the front page is cached; messages are printed as they come.
//!
//! `cargo run -p monolite --example axum -- DIR`, then
//! `curl -X POST localhost:3000/join/Ada`, `curl localhost:3000`. Without a
//! directory it asks itself both, and ends.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use monolite::{EntryOptions, Job, Monolite};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Welcome {
    name: String,
}

impl Job for Welcome {
    const KIND: &'static str = "welcome";
}

/// Whatever goes wrong in a handler is a page 500. `?` makes one of any error.
struct Failure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.0.to_string()).into_response()
    }
}

async fn join(State(app): State<Monolite>, Path(name): Path<String>) -> Result<(), Failure> {
    app.transaction(move |tx| {
        tx.execute("INSERT INTO member (name) VALUES (?1)", [&name])?;
        tx.enqueue(Welcome { name: name.clone() })?;
        tx.publish("members", name)?;
        Ok(())
    })
    .await
}

async fn count_members(app: &Monolite) -> Result<i64, Failure> {
    app.read(|db| Ok(db.query_row("SELECT count(*) FROM member", [], |row| row.get(0))?))
        .await
}

async fn front(State(app): State<Monolite>) -> Result<String, Failure> {
    let options = EntryOptions::new().ttl(Duration::from_secs(1));
    let cache = app.cache();
    let count = cache.get_or_insert_with("members", &options, || count_members(&app));
    Ok(format!("{} members", count.await?))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let dir = std::env::args_os().nth(1);
    let app = Monolite::open(dir.as_deref().unwrap_or(scratch.path().as_os_str())).await?;
    let schema = "CREATE TABLE IF NOT EXISTS member (name TEXT NOT NULL) STRICT";
    app.transaction(|tx| -> monolite::Result<()> { Ok(tx.execute_batch(schema)?) })
        .await?;

    let worker = app.jobs().worker().on(|job: Welcome, _| async move {
        println!("welcome, {}", job.name);
        Ok(())
    });
    let worker = worker.start().await?;

    let mut members = app.pubsub().subscribe("members").await?;
    tokio::spawn(async move {
        while let Ok(message) = members.next_message().await {
            println!("message: {:?}", message.text());
        }
    });

    let router = axum::Router::new()
        .route("/", get(front))
        .route("/join/{name}", post(join))
        .with_state(app.clone());
    let address = if dir.is_some() {
        "127.0.0.1:3000"
    } else {
        "127.0.0.1:0"
    };
    let listener = tokio::net::TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");
    let server = axum::serve(listener, router);
    if dir.is_some() {
        let stop = async { drop(tokio::signal::ctrl_c().await) };
        server.with_graceful_shutdown(stop).await?;
    } else {
        let asking = ask(address);
        tokio::select! { served = server => served?, asked = asking => asked? }
    }
    worker.shutdown(Duration::from_secs(10)).await;
    app.close().await;
    Ok(())
}

/// What `curl` would ask.
async fn ask(address: std::net::SocketAddr) -> anyhow::Result<()> {
    for (method, path, answer) in [("POST", "/join/Ada", "200 OK"), ("GET", "/", "1 members")] {
        let got = request(address, method, path).await?;
        println!("{method} {path}: {:?}", got.lines().next_back());
        anyhow::ensure!(got.contains(answer), "{got}");
    }
    Ok(())
}

async fn request(
    address: std::net::SocketAddr,
    method: &str,
    path: &str,
) -> anyhow::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut got = String::new();
    stream.read_to_string(&mut got).await?;
    Ok(got)
}
