//! What reaches the app, how often, and with what head.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use monolite_gate::Config;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::*;

#[tokio::test]
async fn a_safe_request_survives_the_death_of_the_app_and_a_write_is_never_repeated() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    // Dies under every request: closes without an answer.
    let dying = app(move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { drop(request) }
    })
    .await;
    let (gate, address) = gate(Config::default()).await;
    gate.open(dying);

    let write = raw(address, post("/", "x")).await;
    assert_eq!(status(&write), "502", "{write}");
    assert_eq!(seen.load(Ordering::SeqCst), 1);

    let read = ask(address, get("/"));
    until("seen by the dying app", || seen.load(Ordering::SeqCst) == 2).await;
    gate.hold();
    until("held", || gate.stats().held_now == 1).await;
    gate.open(app(|request| async move { request.answer("again").await }).await);
    assert!(read.await.unwrap().ends_with("again"));
    assert_eq!(gate.stats().replayed, 1);
}

#[tokio::test]
async fn what_two_servers_could_read_differently_is_refused() {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let app = app(move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { request.answer("reached").await }
    })
    .await;
    let (gate, address) = gate(Config::default()).await;
    gate.open(app);
    for lines in [
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Content-Length: 4\r\nTransfer-Encoding: identity",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 5",
        "Content-Length: +4",
        "Content-Length: -1",
        "Content-Length: 0x4",
        "Content-Length: 18446744073709551616",
        "Content-Length : 4",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: \x0bchunked",
        "X: a\r\n Transfer-Encoding: chunked",
        "X: a\0b",
        "X: a\rTransfer-Encoding: chunked",
        "Host: b.example",
        " X: a",
        "no colon here",
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let response = raw(address, request).await;
        assert_eq!(status(&response), "400", "{lines:?}: {response}");
        assert_eq!(
            response.matches("HTTP/1.1").count(),
            1,
            "{lines:?}: {response}"
        );
    }
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET / HTTP/3.1\r\nHost: a\r\n\r\n",
        "G\0T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
    ] {
        let response = raw(address, request).await;
        let refused = matches!(status(&response), "400" | "505") || response.is_empty();
        assert!(refused, "{request:?}: {response}");
    }
    let connect = raw(
        address,
        "CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(status(&connect), "405");
    assert_eq!(reached.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_app_sees_who_asked_and_no_hop_by_hop_headers() {
    let (gate, address) = gate(Config::default()).await;
    gate.open(mirror().await);
    let request = "GET /a?b HTTP/1.1\r\nHost: a.example\r\nConnection: close, X-Drop\r\nX-Drop: 1\r\nX-Keep: 1\r\n\
        Keep-Alive: 1\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\nX_Forwarded_Proto: evil\r\n\r\n";
    let response = raw(address, request).await;
    let head = response.split("\r\n\r\n").nth(1).unwrap();
    assert!(head.starts_with("GET /a?b HTTP/1.1"), "{head}");
    assert_eq!(header(head, "host"), Some("a.example"));
    assert_eq!(
        header(head, "x-forwarded-for"),
        Some("203.0.113.7, 127.0.0.1")
    );
    assert_eq!(header(head, "x-forwarded-proto"), Some("https"));
    assert_eq!(header(head, "x-forwarded-host"), Some("a.example"));
    assert_eq!(
        header(head, "forwarded"),
        Some("for=203.0.113.7;proto=https;host=a.example, for=127.0.0.1")
    );
    assert_eq!(header(head, "x-keep"), Some("1"));
    for gone in ["x-drop", "keep-alive", "x_forwarded_proto"] {
        assert_eq!(header(head, gone), None, "{gone}");
    }
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    // Echoes each chunk as it comes; the client sends the next only then.
    let app = app(|mut request| async move {
        assert_eq!(header(&request.head, "transfer-encoding"), Some("chunked"));
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        request.stream.write_all(head.as_bytes()).await.unwrap();
        loop {
            let mut size = String::new();
            request.stream.read_line(&mut size).await.unwrap();
            let length = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut chunk = vec![0; length + 2];
            request.stream.read_exact(&mut chunk).await.unwrap();
            request.stream.write_all(size.as_bytes()).await.unwrap();
            request.stream.write_all(&chunk).await.unwrap();
            if length == 0 {
                return;
            }
        }
    })
    .await;
    let (gate, address) = gate(Config::default()).await;
    gate.open(app);
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for word in ["one", "two", "three"] {
        stream
            .write_all(format!("{:x}\r\n{word}\r\n", word.len()).as_bytes())
            .await
            .unwrap();
        let mut line = String::new();
        while line.trim() != word {
            line.clear();
            let read = tokio::time::timeout(NEVER, stream.read_line(&mut line));
            read.await.expect("not streamed").unwrap();
        }
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
}

#[tokio::test]
async fn a_slow_upload_is_not_a_slow_app() {
    let config = Config::new().response_time(Duration::from_millis(150));
    let (gate, address) = gate(config).await;
    gate.open(mirror().await);
    let mut client = BufReader::new(TcpStream::connect(address).await.unwrap());
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    // Longer than the limit in all, but never silent so long.
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        client.write_all(b"x").await.unwrap();
    }
    assert_eq!(status(&read_head(&mut client).await.unwrap()), "200");
}
