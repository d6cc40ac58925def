//! Connections that carry more than one request, as real app servers keep
//! them, and the gate on threads of its own, as `monolite run` has it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use monolite_gate::{Config, Gate};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::support::*;

async fn gate_on_threads(threads: usize) -> (Gate, SocketAddr) {
    let gate = Gate::new(Config::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(gate.clone().serve_on_threads(listener, threads).unwrap());
    (gate, address)
}

/// An app that keeps its connections: answers `requests` on each, then closes
/// it. Counts connections and requests.
async fn keeping_app(requests: usize) -> (SocketAddr, Arc<AtomicUsize>, Arc<AtomicUsize>) {
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
                    let Some(early) = read_request(&mut stream).await else {
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
async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<bool> {
    let head = read_head(stream).await?;
    let length = header(&head, "content-length").map_or(0, |l| l.parse().unwrap());
    if length > 1000 {
        return Some(true);
    }
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    Some(false)
}

/// A client that keeps its connection too.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(gate: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(gate).await.unwrap()))
    }

    /// The status of the answer.
    async fn ask(&mut self, request: &str) -> String {
        self.0.write_all(request.as_bytes()).await.unwrap();
        self.answer().await
    }

    async fn answer(&mut self) -> String {
        let head = tokio::time::timeout(NEVER, read_head(&mut self.0));
        let head = head.await.expect("hung").expect("an answer");
        let length = header(&head, "content-length").map_or(0, |l| l.parse().unwrap());
        self.0.read_exact(&mut vec![0; length]).await.unwrap();
        status(&head).to_owned()
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";

#[tokio::test]
async fn reads_and_writes_share_a_connection_whichever_thread_serves_them() {
    let (app, connections, answered) = keeping_app(usize::MAX).await;
    let (gate, address) = gate_on_threads(3).await;
    gate.open(app);
    for n in 0..30 {
        // Each on the next thread of the gate.
        let mut client = Client::connect(address).await;
        let request = if n % 2 == 0 { GET } else { POST };
        assert_eq!(client.ask(request).await, "200");
        assert_eq!(client.ask(POST).await, "200");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    assert_eq!(answered.load(Ordering::SeqCst), 60);
}

#[tokio::test]
async fn an_app_that_closes_kept_connections_costs_no_request() {
    // Each connection ends after three answers, just when it is kept again.
    let (app, _, answered) = keeping_app(3).await;
    let (gate, address) = gate_on_threads(2).await;
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
    let (app, _, _) = keeping_app(usize::MAX).await;
    let (gate, address) = gate_on_threads(1).await;
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
