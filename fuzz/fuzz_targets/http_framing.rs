//! Any bytes on a client's connection: the gate answers or closes, never
//! panics, and lets no request pass whose length is given in two ways.
//!
//! hyper, which parses the requests, resolves such a request silently, but
//! closes its connection: a request with `Transfer-Encoding` that was answered
//! by a handler, in full and with `connection: close` although it did not ask
//! for that, is one that the gate's own scan has missed.
//!
//! `cargo fuzz run http_framing fuzz/corpus/http_framing fuzz/seeds/http_framing`
#![no_main]

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{Request, Response, StatusCode, header};
use libfuzzer_sys::fuzz_target;
use monolite_gate::internal_routes::{Body, InternalRoutes, page};
use monolite_gate::{Config, ConnectionInfo, Gate, Scheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longer than every timeout of the gate; the clock stands still until all
/// tasks wait, and then jumps.
const IDLE: Duration = Duration::from_secs(700);
/// Set by the handler when nothing asks for the connection to be closed.
const KEEPS: &str = "x-keeps";

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let answers = runtime.block_on(answers(bytes, usize::from(*cut) + 1));
    let answers = String::from_utf8_lossy(&answers);
    for head in answers.split("\r\n\r\n") {
        let missed = head.contains(KEEPS) && head.contains("connection: close");
        assert!(!missed, "an ambiguous request reached a handler:\n{answers}");
    }
});

/// All that comes back for `bytes`, sent in pieces of `cut`.
async fn answers(bytes: &[u8], cut: usize) -> Vec<u8> {
    let gate = Gate::with_routes(Config::new(), InternalRoutes::new().mount("", handle));
    // What is not for the handler is answered 503: there is no app.
    gate.refuse();
    let address = "203.0.113.9:5000".parse().expect("an address");
    let info = ConnectionInfo::new(address, Scheme::Http, 80);
    let (client, server) = tokio::io::duplex(64 << 10);
    let serving = tokio::spawn(async move { gate.serve_connection(server, info).await });
    let (mut read, mut write) = tokio::io::split(client);
    let mut answers = Vec::new();
    let sending = async {
        for piece in bytes.chunks(cut) {
            if write.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        std::future::pending::<()>().await;
    };
    let reading = tokio::time::timeout(IDLE, read.read_to_end(&mut answers));
    tokio::select! {
        () = sending => {}
        _ = reading => {}
    }
    serving.abort();
    if let Err(error) = serving.await {
        assert!(!error.is_panic(), "the gate panicked");
    }
    answers
}

async fn handle(request: Request<Body>) -> Response<Body> {
    let headers = request.headers();
    let keeps = headers.contains_key(header::TRANSFER_ENCODING)
        && !headers.contains_key(header::CONNECTION);
    let body = tokio::time::timeout(IDLE / 10, request.into_body().collect()).await;
    let mut response = page(StatusCode::OK, "text/plain", "");
    if keeps && matches!(body, Ok(Ok(_))) {
        let yes = header::HeaderValue::from_static("1");
        response.headers_mut().insert(KEEPS, yes);
    }
    response
}
