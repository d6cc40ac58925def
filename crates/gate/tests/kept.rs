//! Connections that carry more than one request, as real app servers keep
//! them, and the gate on threads of its own, as `monolite run` has it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use monolite_gate::{Config, Gate};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const NEVER: Duration = Duration::from_secs(20);

/// An app that keeps its connections: answers `requests` on each, then closes
/// it without a word. Counts connections and requests.
async fn app(requests: usize) -> (SocketAddr, Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (connections, answered) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&connections), Arc::clone(&answered));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.fetch_add(1, Ordering::SeqCst);
            let answered = Arc::clone(&answered);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                for _ in 0..requests {
                    let Some(early) = head(&mut stream).await else {
                        return;
                    };
                    answered.fetch_add(1, Ordering::SeqCst);
                    // An early answer does not read the body it refuses.
                    let status = if early { "413 Too Large" } else { "200 OK" };
                    let response = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
                    stream.write_all(response.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (address, counts.0, counts.1)
}

/// Reads a head, and the body unless it is large; true if it is.
async fn head(stream: &mut BufReader<TcpStream>) -> Option<bool> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    if length > 1000 {
        return Some(true);
    }
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    Some(false)
}

async fn gate(config: Config, threads: usize) -> (Gate, SocketAddr) {
    let gate = Gate::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(gate.clone().serve_on_threads(listener, threads));
    (gate, address)
}

/// A client that keeps its connection too.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(gate: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(gate).await.unwrap()))
    }

    async fn ask(&mut self, request: &str) -> String {
        self.0.write_all(request.as_bytes()).await.unwrap();
        self.answer().await
    }

    async fn answer(&mut self) -> String {
        let mut status = String::new();
        let read = self.0.read_line(&mut status);
        tokio::time::timeout(NEVER, read)
            .await
            .expect("hung")
            .unwrap();
        let mut length = 0;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(self.0.read_line(&mut line).await.unwrap() > 0);
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
        }
        self.0.read_exact(&mut vec![0; length]).await.unwrap();
        status.get(9..12).unwrap_or_default().to_owned()
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";

#[tokio::test]
async fn reads_share_a_connection_and_writes_get_their_own() {
    let (app, connections, answered) = app(usize::MAX).await;
    let (gate, address) = gate(Config::default(), 1).await;
    gate.open(app);
    let mut client = Client::connect(address).await;
    for _ in 0..50 {
        assert_eq!(client.ask(GET).await, "200");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    for n in 2..=10 {
        assert_eq!(client.ask(POST).await, "200");
        assert_eq!(connections.load(Ordering::SeqCst), n);
    }
    assert_eq!(answered.load(Ordering::SeqCst), 59);
}

#[tokio::test]
async fn an_app_that_closes_kept_connections_costs_no_request() {
    // Each connection ends after three answers, just when it is kept again.
    let (app, _, answered) = app(3).await;
    let (gate, address) = gate(Config::default(), 2).await;
    gate.open(app);
    let clients: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                for n in 0..200 {
                    let request = if n % 4 == 0 { POST } else { GET };
                    assert_eq!(client.ask(request).await, "200", "request {n}");
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(answered.load(Ordering::SeqCst), 8 * 200);
}

#[tokio::test]
async fn an_upload_answered_early_leaves_no_half_used_connection() {
    let (app, _, _) = app(usize::MAX).await;
    let (gate, address) = gate(Config::default(), 1).await;
    gate.open(app);
    for _ in 0..5 {
        let mut uploader = Client::connect(address).await;
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n";
        uploader.0.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(uploader.answer().await, "413");
        let mut client = Client::connect(address).await;
        assert_eq!(client.ask(GET).await, "200");
    }
}

#[tokio::test]
async fn a_slow_upload_is_not_a_slow_app() {
    let (app, _, _) = app(usize::MAX).await;
    let config = Config {
        response_time: Duration::from_millis(150),
        ..Config::default()
    };
    let (gate, address) = gate(config, 1).await;
    gate.open(app);
    let mut client = Client::connect(address).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n";
    client.0.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        client.0.write_all(b"x").await.unwrap();
    }
    assert_eq!(client.answer().await, "200");
}

#[tokio::test]
async fn a_late_write_keeps_its_place_in_the_lane() {
    let inside = Arc::new(AtomicUsize::new(0));
    let (go, _) = tokio::sync::broadcast::channel::<()>(4);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app = listener.local_addr().unwrap();
    let (count, gone) = (Arc::clone(&inside), go.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (inside, mut go) = (Arc::clone(&count), gone.subscribe());
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                head(&mut stream).await;
                inside.fetch_add(1, Ordering::SeqCst);
                let _ = go.recv().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                let _ = stream.write_all(response).await;
            });
        }
    });
    let config = Config {
        response_time: Duration::from_millis(100),
        write_concurrency: Some(1),
        ..Config::default()
    };
    let (gate, address) = gate(config, 1).await;
    gate.open(app);
    assert_eq!(Client::connect(address).await.ask(POST).await, "504");
    let mut next = Client::connect(address).await;
    next.0.write_all(POST.as_bytes()).await.unwrap();
    tokio::time::timeout(NEVER, async {
        while gate.stats().held_now == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("the next one waits");
    assert_eq!(inside.load(Ordering::SeqCst), 1, "both are in the app");
    go.send(()).unwrap();
    tokio::time::timeout(NEVER, async {
        while gate.stats().held_now > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("its turn has come");
}
