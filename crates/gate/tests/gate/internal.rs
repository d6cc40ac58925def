//! What the gate answers itself, and connections that come from elsewhere.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use monolite_gate::health::{Report, Severity};
use monolite_gate::internal_routes::{Body, InternalRoutes, page};
use monolite_gate::{Config, ConnectionInfo, Gate, Scheme, probe};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

#[tokio::test]
async fn health_answers_without_waiting() {
    let (gate, address) = gate(Config::default()).await;
    let holding = raw(address, get("/_monolite/health")).await;
    assert_eq!(status(&holding), "503");
    assert!(holding.contains("\"status\":\"holding\""));
    gate.open("127.0.0.1:9".parse().unwrap());
    let open = raw(address, get("/_monolite/health")).await;
    assert_eq!(status(&open), "200");
    assert!(open.contains("\"status\":\"ok\""));
    gate.refuse();
    assert_eq!(status(&raw(address, get("/")).await), "503");
    assert_eq!(status(&raw(address, get("/_monolite/other")).await), "404");
}

#[tokio::test]
async fn health_says_what_its_parts_say() {
    let (gate, address) = gate(Config::default()).await;
    gate.open("127.0.0.1:9".parse().unwrap());
    gate.health().register("replica", Severity::Advisory, || {
        Report::failing("no byte stored yet: \"access denied\"").fact("stored_bytes", 0)
    });
    let page = raw(address, get("/_monolite/health")).await;
    assert_eq!(status(&page), "200");
    assert!(page.contains("{\"status\":\"degraded\",\"reasons\":[\"replica: no byte"));
    assert!(page.contains(
        r#""parts":{"replica":{"status":"failing","reason":"no byte stored yet: \"access denied\"","facts":{"stored_bytes":0}}}}"#
    ), "{page}");
    gate.health()
        .register("app", Severity::Critical, || Report::failing("stuck"));
    let page = raw(address, get("/_monolite/health")).await;
    assert_eq!(status(&page), "503");
    assert!(page.contains("\"status\":\"failing\"") && page.contains("retry-after: 1"));
    // Whether requests pass comes first.
    gate.hold();
    let page = raw(address, get("/_monolite/health")).await;
    assert!(page.contains("\"status\":\"holding\""), "{page}");
}

/// Answers with what is known of the request and its connection, and its body.
async fn describe(request: hyper::Request<Body>) -> hyper::Response<Body> {
    let info = *request.extensions().get::<ConnectionInfo>().unwrap();
    let (path, method) = (request.uri().to_string(), request.method().to_string());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let (scheme, ip) = (info.scheme.as_str(), info.peer.ip());
    let body = String::from_utf8_lossy(&body);
    page(
        hyper::StatusCode::OK,
        "text/plain",
        format!("{method} {path} {scheme} {ip} {body}"),
    )
}

#[tokio::test]
async fn a_mounted_handler_answers_even_while_requests_wait() {
    let routes = InternalRoutes::new().mount("hub", describe);
    let (gate, address) = serve(Gate::with_routes(Config::default(), routes)).await;
    let response = raw(address, post("/_monolite/hub/a?b=c", "hello")).await;
    assert_eq!(status(&response), "200");
    assert!(
        response.ends_with("\r\n\r\nPOST /_monolite/hub/a?b=c http 127.0.0.1 hello"),
        "{response}"
    );
    for path in ["/_monolite/hubx", "/_monolite/", "/_monolite/health/x"] {
        assert_eq!(status(&raw(address, get(path)).await), "404", "{path}");
    }
    assert_eq!(gate.stats().requests, 0);
    // Nothing under the prefix reaches the app; all else does.
    gate.open(mirror().await);
    assert_eq!(status(&raw(address, get("/_monolite/hubx")).await), "404");
    assert!(
        raw(address, get("/_monolitehub"))
            .await
            .contains("GET /_monolitehub ")
    );
}

#[tokio::test]
async fn an_internal_route_gets_no_request_whose_length_is_given_twice() {
    let routes = InternalRoutes::new().mount("hub", describe);
    let (_gate, address) = serve(Gate::with_routes(Config::default(), routes)).await;
    let request = "POST /_monolite/hub HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\
        Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(status(&raw(address, request).await), "400");
}

#[tokio::test]
async fn an_internal_route_may_switch_protocols() {
    let routes = InternalRoutes::new().mount("echo", |mut request| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        });
        let mut response = page(hyper::StatusCode::SWITCHING_PROTOCOLS, "text/plain", "");
        let headers = response.headers_mut();
        headers.insert("connection", "upgrade".parse().unwrap());
        headers.insert("upgrade", "echo".parse().unwrap());
        response
    });
    let (_gate, address) = serve(Gate::with_routes(Config::default(), routes)).await;
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    let request =
        "GET /_monolite/echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(status(&read_head(&mut stream).await.unwrap()), "101");
    // What was a smuggled request in HTTP is only bytes now.
    let bytes = "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n";
    stream.write_all(bytes.as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut stream).await.unwrap(), bytes);
}

/// One event, then none for ever.
struct Events(Option<Bytes>);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(event) => Poll::Ready(Some(Ok(Frame::data(event)))),
            None => Poll::Pending,
        }
    }
}

#[tokio::test]
async fn an_internal_event_stream_ends_with_the_gate() {
    let routes = InternalRoutes::new().mount("events", |_| async {
        let events = Events(Some(Bytes::from_static(b"data: 1\n\n")));
        let mut response =
            hyper::Response::new(events.map_err(|never| match never {}).boxed_unsync());
        let kind = "text/event-stream".parse().unwrap();
        response.headers_mut().insert("content-type", kind);
        response
    });
    let (gate, address) = serve(Gate::with_routes(Config::default(), routes)).await;
    let mut client = BufReader::new(TcpStream::connect(address).await.unwrap());
    client
        .write_all(get("/_monolite/events").as_bytes())
        .await
        .unwrap();
    assert_eq!(status(&read_head(&mut client).await.unwrap()), "200");
    let mut event = String::new();
    while event != "data: 1\n" {
        event.clear();
        assert!(client.read_line(&mut event).await.unwrap() > 0);
    }
    gate.stop_accepting();
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
    assert!(gate.closed(NEVER).await);
}

#[tokio::test]
async fn a_connection_from_elsewhere_is_served_with_its_own_facts() {
    let gate = Gate::new(Config::default());
    gate.open(mirror().await);
    let info = ConnectionInfo::new("203.0.113.9:5000".parse().unwrap(), Scheme::Https, 443);
    let (client, server) = tokio::io::duplex(64);
    let serving = tokio::spawn({
        let gate = gate.clone();
        async move { gate.serve_connection(server, info).await }
    });
    let response = raw_on(client, get("/")).await;
    let head = response.split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(header(head, "x-forwarded-proto"), Some("https"));
    assert_eq!(header(head, "x-forwarded-for"), Some("203.0.113.9"));
    serving.await.unwrap();
    assert!(gate.closed(Duration::ZERO).await);
}

#[tokio::test]
async fn a_probe_says_what_an_app_answers() {
    let app = mirror().await;
    assert_eq!(probe(app, "/up", "localhost").await.unwrap(), 200);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let error = probe(address, "/", "localhost").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("nothing listens on port {}", address.port())
    );
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = other.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    });
    let error = probe(address, "/", "localhost").await.unwrap_err();
    assert!(error.to_string().starts_with("not HTTP: "), "{error}");
    let error = probe(app, "no path", "localhost").await.unwrap_err();
    assert!(error.to_string().starts_with("not a path: "), "{error}");
}
