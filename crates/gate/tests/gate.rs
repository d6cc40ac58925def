//! What a gate promises, against an app that is steered byte by byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use monolite_gate::health::{Report, Severity};
use monolite_gate::{Config, Gate};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Long enough to mean "never" where a test must not hang.
const NEVER: Duration = Duration::from_secs(20);

async fn gate(config: Config) -> (Gate, SocketAddr) {
    let gate = Gate::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(gate.clone().serve(listener));
    (gate, address)
}

/// An app of one handler per connection, which gets each request's head.
async fn app<F, R>(handler: F) -> SocketAddr
where
    F: Fn(Request) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handler = Arc::new(handler);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let handler = Arc::clone(&handler);
            tokio::spawn(async move {
                if let Some(request) = Request::read(stream).await {
                    handler(request).await;
                }
            });
        }
    });
    address
}

struct Request {
    head: String,
    body: Vec<u8>,
    stream: BufReader<TcpStream>,
}

impl Request {
    /// Reads a head, and the body if its length is given.
    async fn read(stream: TcpStream) -> Option<Self> {
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let length = header(&head, "content-length").map_or(0, |l| l.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        Some(Self { head, body, stream })
    }

    async fn answer(mut self, text: &str) {
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
        let _ = self.stream.write_all(response.as_bytes()).await;
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// Sends bytes and reads to the end.
async fn raw(gate: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(gate).await.unwrap();
    stream.write_all(bytes.as_ref()).await.unwrap();
    let mut response = Vec::new();
    let read = stream.read_to_end(&mut response);
    let _ = tokio::time::timeout(NEVER, read).await.expect("hung");
    String::from_utf8_lossy(&response).into_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn ask(gate: SocketAddr, request: String) -> JoinHandle<String> {
    tokio::spawn(async move { raw(gate, request).await })
}

fn status(response: &str) -> &str {
    response.get(9..12).unwrap_or(response)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    tokio::time::timeout(NEVER, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn requests_wait_until_the_gate_opens() {
    let (gate, address) = gate(Config::default()).await;
    let asked: Vec<_> = (0..20)
        .map(|i| ask(address, get(&format!("/{i}"))))
        .collect();
    until("all held", || gate.stats().held_now == 20).await;
    let app = app(|request| async move {
        let path = request.head.split(' ').nth(1).unwrap().to_owned();
        request.answer(&path).await;
    })
    .await;
    gate.open(app);
    for (i, asked) in asked.into_iter().enumerate() {
        let response = asked.await.unwrap();
        assert!(response.ends_with(&format!("\r\n\r\n/{i}")), "{response}");
    }
    assert_eq!(gate.stats().held_now, 0);
}

#[tokio::test]
async fn waiting_is_bounded_in_number_bytes_and_time() {
    let config = Config {
        hold_requests: 2,
        hold_bytes: 40_000,
        hold_time: Duration::from_millis(400),
        ..Config::default()
    };
    let (gate, address) = gate(config).await;
    let waiting = [ask(address, get("/")), ask(address, get("/"))];
    until("two held", || gate.stats().held_now == 2).await;
    let third = raw(address, get("/")).await;
    assert_eq!(status(&third), "503");
    assert!(third.contains("retry-after: 5"), "{third}");
    for waited in waiting {
        let response = waited.await.unwrap();
        assert_eq!(status(&response), "503");
        assert!(response.contains("not ready yet"), "{response}");
    }
    let large = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\nConnection: close\r\n\r\n",
        "x".repeat(45_000)
    );
    let large = raw(address, large).await;
    assert!(large.contains("too many requests"), "{large}");
    assert_eq!(gate.stats().held_now, 0);
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_back() {
    let (gate, address) = gate(Config::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(get("/").as_bytes()).await.unwrap();
    until("held", || gate.stats().held_now == 1).await;
    drop(stream);
    until("released", || gate.stats().held_now == 0).await;
}

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
    gate.open(app(|request| request_answer(request, "again")).await);
    assert!(read.await.unwrap().ends_with("again"));
    assert_eq!(gate.stats().replayed, 1);
}

async fn request_answer(request: Request, text: &'static str) {
    request.answer(text).await;
}

#[tokio::test]
async fn an_app_that_does_not_listen_yet_is_waited_for() {
    let (gate, address) = gate(Config::default()).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = gone.local_addr().unwrap();
    drop(gone);
    gate.open(refused);
    let write = ask(address, post("/", "hello"));
    until("held", || gate.stats().held_now == 1).await;
    gate.open(
        app(|request| async move {
            let body = String::from_utf8(request.body.clone()).unwrap();
            request.answer(&body).await;
        })
        .await,
    );
    assert!(write.await.unwrap().ends_with("hello"));
}

#[tokio::test]
async fn what_two_servers_could_read_differently_is_refused() {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let app = app(move |request| {
        count.fetch_add(1, Ordering::SeqCst);
        request_answer(request, "reached")
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
async fn the_app_is_told_who_asked_and_sees_no_hop_by_hop_headers() {
    let app = app(|request| async move {
        let head = request.head.clone();
        request.answer(&head).await;
    })
    .await;
    let (gate, address) = gate(Config::default()).await;
    gate.open(app);
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
async fn event_streams_are_cut_at_a_restart_and_the_others_waited_for() {
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

#[tokio::test]
async fn the_lane_lets_one_write_in_at_a_time_in_order_and_reads_pass_by() {
    let inside = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (order_tx, mut order) = tokio::sync::mpsc::unbounded_channel();
    let (go, _) = tokio::sync::broadcast::channel::<()>(16);
    let gone = go.clone();
    let (counted, peak) = (Arc::clone(&inside), Arc::clone(&most));
    let app = app(move |request| {
        let (inside, most, order) = (Arc::clone(&counted), Arc::clone(&peak), order_tx.clone());
        let mut go = gone.subscribe();
        async move {
            if request.head.starts_with("GET") {
                return request.answer("read").await;
            }
            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            order
                .send(String::from_utf8(request.body.clone()).unwrap())
                .unwrap();
            go.recv().await.unwrap();
            inside.fetch_sub(1, Ordering::SeqCst);
            request.answer("written").await;
        }
    })
    .await;
    let config = Config {
        write_concurrency: Some(1),
        ..Config::default()
    };
    let (gate, address) = gate(config).await;
    gate.open(app);
    let mut writes = Vec::new();
    for i in 0..5 {
        writes.push(ask(address, post("/", &i.to_string())));
        until("in or in line", || {
            gate.stats().requests == i + 1 && gate.stats().held_now == i as usize
        })
        .await;
    }
    assert!(
        raw(address, get("/")).await.ends_with("read"),
        "a read waited"
    );
    // A client that sends its body slowly does not keep the lane.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
        .await
        .unwrap();
    for i in 0..5 {
        assert_eq!(order.recv().await.unwrap(), i.to_string());
        go.send(()).unwrap();
    }
    for write in writes {
        assert!(write.await.unwrap().ends_with("written"));
    }
    // One whose client leaves keeps its place until the app is done with it.
    slow.write_all(b"llo").await.unwrap();
    assert_eq!(order.recv().await.unwrap(), "hello");
    drop(slow);
    let next = ask(address, post("/", "next"));
    until("in line", || gate.stats().held_now == 1).await;
    assert!(
        order.try_recv().is_err(),
        "entered beside the abandoned one"
    );
    go.send(()).unwrap();
    assert_eq!(order.recv().await.unwrap(), "next");
    go.send(()).unwrap();
    assert!(next.await.unwrap().ends_with("written"));
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_app_that_does_not_answer_is_504() {
    let app = app(|mut request| async move {
        let mut rest = Vec::new();
        let _ = request.stream.read_to_end(&mut rest).await;
    })
    .await;
    let config = Config {
        response_time: Duration::from_millis(100),
        ..Config::default()
    };
    let (gate, address) = gate(config).await;
    gate.open(app);
    assert_eq!(status(&raw(address, get("/")).await), "504");
}

#[tokio::test]
async fn stopping_finishes_what_is_in_hand_and_closes_the_port() {
    let (release, _) = tokio::sync::broadcast::channel::<()>(1);
    let released = release.clone();
    let app = app(move |request| {
        let mut released = released.subscribe();
        async move {
            released.recv().await.unwrap();
            request.answer("done").await;
        }
    })
    .await;
    let (gate, address) = gate(Config::default()).await;
    gate.open(app);
    let idle = TcpStream::connect(address).await.unwrap();
    let asked = ask(address, get("/"));
    until("inside", || gate.stats().in_flight == 1).await;
    gate.stop_accepting();
    tokio::time::timeout(NEVER, async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the port is open");
    assert!(!gate.closed(Duration::from_millis(20)).await);
    release.send(()).unwrap();
    assert!(asked.await.unwrap().ends_with("done"));
    assert!(gate.closed(NEVER).await);
    drop(idle);
}

#[tokio::test]
async fn health_tells_without_waiting() {
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

#[tokio::test]
async fn an_upgrade_to_h2c_is_passed_as_a_plain_request() {
    let app = app(|request| async move {
        let head = request.head.clone();
        request.answer(&head).await;
    })
    .await;
    let (gate, address) = gate(Config::default()).await;
    gate.open(app);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let response = raw(address, request).await;
    assert_eq!(status(&response), "200");
    let head = response.split("\r\n\r\n").nth(1).unwrap();
    for gone in ["upgrade", "http2-settings"] {
        assert_eq!(header(head, gone), None, "{head}");
    }
}
