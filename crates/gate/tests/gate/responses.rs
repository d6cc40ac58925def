//! What clients get of answers that are odd or wrong, and what comes with the
//! address of the client.

use monolite_gate::{AccessLog, AccessLogFormat, Config, TrustedProxies};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::*;

/// An app that answers with these bytes, and closes.
async fn odd_app(answer: &'static str) -> std::net::SocketAddr {
    app(move |mut request| async move {
        let _ = request.stream.write_all(answer.as_bytes()).await;
    })
    .await
}

#[tokio::test]
async fn an_answer_is_framed_again_whatever_the_app_sends() {
    let (gate, address) = gate(Config::default()).await;
    for (answer, body) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "hello",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
            "hello",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more",
            "hello",
        ),
        ("HTTP/1.0 200 OK\r\n\r\nhello", "hello"),
        (
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nTransfer-Encoding: identity\r\n\r\nhello",
            "hello",
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
        ),
    ] {
        gate.open(odd_app(answer).await);
        // HTTP/1.0, so that no chunks are in the way.
        let response = raw(address, "GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
        assert_eq!(status(&response), "200", "{answer:?}: {response}");
        assert!(
            response.ends_with(&format!("\r\n\r\n{body}")),
            "{answer:?}: {response}"
        );
        let response = raw(address, get("/")).await;
        assert!(response.contains("hello"), "{response}");
        assert!(!response.contains("more"), "{response}");
        let both = header(&response, "content-length").is_some()
            && header(&response, "transfer-encoding").is_some();
        assert!(!both, "{response}");
    }
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX A: b\r\n\r\n",
        "SSH-2.0-x\r\n",
    ] {
        gate.open(odd_app(answer).await);
        let response = raw(address, post("/", "x")).await;
        assert_eq!(status(&response), "502", "{answer:?}: {response}");
        assert!(response.contains("is not valid HTTP"), "{response}");
    }
    gate.open(
        odd_app("HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.2\r\nContent-Length: 0\r\n\r\n")
            .await,
    );
    let response = raw(address, get("/")).await;
    assert_eq!(header(&response, "upgrade"), Some("TLS/1.2"), "{response}");
    gate.open(odd_app("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n").await);
    let response = raw(
        address,
        "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(status(&response), "200");
    assert_eq!(header(&response, "content-length"), None, "{response}");
}

#[tokio::test]
async fn a_truncated_answer_does_not_look_whole() {
    let (gate, address) = gate(Config::default()).await;
    gate.open(odd_app("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel").await);
    let response = raw(address, get("/")).await;
    assert!(!response.ends_with("0\r\n\r\n"), "{response}");
    gate.open(odd_app("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello").await);
    let response = raw(address, get("/")).await;
    let whole = status(&response) == "200" && header(&response, "content-length") != Some("50");
    assert!(!whole, "{response}");
}

#[tokio::test]
async fn codings_but_chunked_are_refused_and_old_requests_get_a_host() {
    let (gate, address) = gate(Config::default()).await;
    gate.open(mirror().await);
    for coding in [
        "gzip, chunked",
        "identity, chunked",
        "chunked, chunked",
        ",chunked",
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let response = raw(address, request).await;
        let refused = matches!(status(&response), "400" | "501");
        assert!(refused, "{coding}: {response}");
        assert_eq!(response.matches("HTTP/1.1").count(), 1, "{response}");
    }
    let response = raw(address, "GET / HTTP/1.0\r\n\r\n").await;
    let head = response.split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(header(head, "host"), Some("localhost"), "{response}");
    let response = raw(
        address,
        "CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(status(&response), "405");
    assert!(header(&response, "allow").is_some(), "{response}");
}

#[tokio::test]
async fn a_load_balancer_names_the_client_in_the_proxy_protocol() {
    let (gate_open, address) = gate(Config::new().proxy_protocol(true)).await;
    gate_open.open(mirror().await);
    let client = "PROXY TCP4 203.0.113.9 127.0.0.1 4711 80\r\n";
    let response = raw(address, format!("{client}{}", get("/"))).await;
    let head = response.split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(header(head, "x-real-ip"), Some("203.0.113.9"), "{response}");
    // Whom it names is no proxy: what it says of itself does not count.
    let request =
        "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n";
    let response = raw(address, format!("{client}{request}")).await;
    let head = response.split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(header(head, "x-forwarded-for"), Some("203.0.113.9"));
    for (without, config) in [
        (get("/"), Config::new().proxy_protocol(true)),
        (
            format!("{client}{}", get("/")),
            Config::new()
                .proxy_protocol(true)
                .trusted_proxies(TrustedProxies::none()),
        ),
    ] {
        let (gate_open, address) = gate(config).await;
        gate_open.open(mirror().await);
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(without.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response).await;
        assert!(
            response.is_empty(),
            "{}",
            String::from_utf8_lossy(&response)
        );
        assert_eq!(gate_open.stats().requests, 0);
    }
}

#[tokio::test]
async fn a_request_has_one_id_in_the_app_the_answer_and_the_log() {
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    let log = AccessLog::to(AccessLogFormat::Json, move |lines| {
        sender.send(lines.to_owned()).map_err(std::io::Error::other)
    });
    let config = Config::new().access_log(log.unwrap()).server_timing(true);
    let (gate, address) = gate(config).await;
    gate.open(mirror().await);
    let request = "GET /a?secret HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nConnection: close\r\n\r\n";
    let response = raw(address, request).await;
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let id = header(head, "x-request-id").unwrap();
    assert_eq!(header(body, "x-request-id"), Some(id));
    let timing = header(head, "server-timing").unwrap();
    assert!(
        timing.starts_with("held;dur=") && timing.contains(", app;dur="),
        "{timing}"
    );
    let line = lines.recv().await.unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["id"], id);
    assert_eq!(line["client"], "203.0.113.9");
    assert_eq!(line["path"], "/a");
    assert_eq!(line["status"], 200);
    assert_eq!(line["bytes"], body.len());
    // What the gate answers itself is logged, too.
    gate.refuse();
    assert_eq!(status(&raw(address, get("/b")).await), "503");
    let line: serde_json::Value = serde_json::from_str(&lines.recv().await.unwrap()).unwrap();
    assert_eq!(
        (&line["path"], &line["status"]),
        (&"/b".into(), &503.into())
    );
}
