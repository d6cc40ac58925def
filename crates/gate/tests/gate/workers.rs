//! Apps that give each connection a worker, as many servers do: no connection
//! that the gate keeps may keep a worker from a request that waits.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use monolite_gate::{AppAddress, Config, Gate};

use crate::support::*;

/// How long a worker waits on a connection for another request: longer than any
/// of these tests may take.
const KEPT: Duration = Duration::from_secs(15);

/// An app of so many workers, each of which serves one connection until that was
/// idle for [`KEPT`]. Answers with the method, after `time`.
pub(crate) fn app(workers: usize, time: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for _ in 0..workers {
        let listener = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                stream.set_read_timeout(Some(KEPT)).unwrap();
                serve(&stream, time);
            }
        });
    }
    address
}

fn serve(stream: &TcpStream, time: Duration) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut first, mut line) = (0, String::new(), String::new());
        loop {
            line.clear();
            match reader.read_line(&mut line) {
                Ok(1..) => {}
                _ => return,
            }
            if first.is_empty() {
                first = line.clone();
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        if reader.read_exact(&mut vec![0; length]).is_err() {
            return;
        }
        std::thread::sleep(time);
        let body = match first.contains("/big") {
            true => vec![b'x'; 20_000_000],
            false => first.split(' ').next().unwrap().as_bytes().to_vec(),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut stream = stream;
        if stream.write_all(head.as_bytes()).is_err() || stream.write_all(&body).is_err() {
            return;
        }
    }
}

async fn gate_of_threads(app: SocketAddr) -> SocketAddr {
    let gate = Gate::new(Config::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(gate.clone().serve_on_threads(listener, 3).unwrap());
    gate.open(app);
    address
}

#[tokio::test]
async fn an_app_of_one_worker_answers_every_thread_of_the_gate() {
    let address = gate_of_threads(app(1, Duration::ZERO)).await;
    let start = Instant::now();
    for _ in 0..5 {
        assert!(raw(address, get("/")).await.ends_with("GET"));
        assert!(raw(address, post("/", "x")).await.ends_with("POST"));
    }
    assert!(start.elapsed() < KEPT / 2, "{:?}", start.elapsed());
}

#[tokio::test]
async fn requests_at_once_wait_for_a_worker_and_not_for_its_idle_connection() {
    let address = gate_of_threads(app(2, Duration::from_millis(5))).await;
    let start = Instant::now();
    let asked: Vec<_> = (0..12)
        .map(|number| {
            tokio::spawn(async move {
                for _ in 0..3 {
                    let request = match number % 2 {
                        0 => get("/"),
                        _ => post("/", "x"),
                    };
                    assert_eq!(status(&raw(address, request).await), "200");
                }
            })
        })
        .collect();
    for asked in asked {
        asked.await.unwrap();
    }
    assert!(start.elapsed() < KEPT / 2, "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_a_second() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let app = listener.local_addr().unwrap();
    let (closed, is_closed) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(KEPT)).unwrap();
        // Returns when the gate closes it.
        serve(&stream, Duration::ZERO);
        closed.send(Instant::now()).unwrap();
    });
    let address = gate_of_threads(app).await;
    assert_eq!(status(&raw(address, get("/")).await), "200");
    let answered = Instant::now();
    let closed = is_closed.await.unwrap();
    assert!(closed - answered < KEPT / 3, "{:?}", closed - answered);
}

#[tokio::test]
async fn an_app_may_listen_on_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut bytes = [0; 4096];
                while let Ok(1..) = stream.read(&mut bytes).await {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix";
                    stream.write_all(answer).await.unwrap();
                }
            });
        }
    });
    let (gate, address) = gate(Config::default()).await;
    gate.open_at(AppAddress::from(path));
    for request in [get("/"), post("/", ""), post("/", "")] {
        assert!(raw(address, request).await.ends_with("unix"));
    }
}
