//! Upgrades and event streams, which no restart waits for.

use std::time::Duration;

use monolite_gate::Config;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::*;

#[tokio::test]
async fn upgrades_pass_and_end_with_the_app() {
    let app = app(|mut request| async move {
        assert_eq!(header(&request.head, "upgrade"), Some("echo"));
        assert_eq!(header(&request.head, "connection"), Some("upgrade"));
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        request.stream.write_all(head.as_bytes()).await.unwrap();
        let mut line = String::new();
        while request.stream.read_line(&mut line).await.unwrap() > 0 {
            request.stream.write_all(line.as_bytes()).await.unwrap();
            line.clear();
        }
    })
    .await;
    let (gate, address) = gate(Config::default()).await;
    gate.open(app);
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    stream
        .write_all(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n")
        .await
        .unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        stream.read_line(&mut head).await.unwrap();
    }
    assert_eq!(status(&head), "101");
    for word in ["ping\n", "pong\n"] {
        stream.write_all(word.as_bytes()).await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert_eq!(line, word);
    }
    // A restart neither waits for it nor leaves it standing.
    gate.hold();
    assert!(gate.drain(NEVER).await);
    let mut rest = Vec::new();
    let end = tokio::time::timeout(NEVER, stream.read_to_end(&mut rest));
    let _ = end.await.expect("the tunnel stands");
}

#[tokio::test]
async fn an_upgrade_to_h2c_is_passed_as_a_plain_request() {
    let (gate, address) = gate(Config::default()).await;
    gate.open(mirror().await);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let response = raw(address, request).await;
    assert_eq!(status(&response), "200");
    let head = response.split("\r\n\r\n").nth(1).unwrap();
    for gone in ["upgrade", "http2-settings"] {
        assert_eq!(header(head, gone), None, "{head}");
    }
}

#[tokio::test]
async fn a_restart_ends_event_streams_and_waits_for_other_requests() {
    let (release, _) = tokio::sync::broadcast::channel::<()>(1);
    let released = release.clone();
    let app = app(move |mut request| {
        let mut released = released.subscribe();
        async move {
            if request.head.starts_with("GET /events") {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n7\r\ndata: 1\r\n";
                request.stream.write_all(head.as_bytes()).await.unwrap();
                let mut rest = Vec::new();
                let _ = request.stream.read_to_end(&mut rest).await;
            } else {
                released.recv().await.unwrap();
                request.answer("slow").await;
            }
        }
    })
    .await;
    let (gate, address) = gate(Config::default()).await;
    gate.open(app);
    let events = ask(address, get("/events"));
    let slow = ask(address, get("/slow"));
    until("both asked", || gate.stats().requests == 2).await;
    until("one counted", || gate.stats().in_flight == 1).await;
    gate.hold();
    assert!(
        !gate.drain(Duration::from_millis(50)).await,
        "drained too early"
    );
    let events = events.await.unwrap();
    assert!(
        events.contains("data: 1") && events.ends_with("0\r\n\r\n"),
        "{events}"
    );
    release.send(()).unwrap();
    assert!(gate.drain(NEVER).await);
    assert!(slow.await.unwrap().ends_with("slow"));
}
