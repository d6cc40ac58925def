//! No request is delivered twice, and none is lost that the app did not read,
//! whenever and however the app closes its kept connections. The app is written
//! on blocking sockets, in threads, and keeps a ledger of what it has read.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use monolite_gate::{Config, Gate};

/// How an app treats a connection on which it waits for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Closes it when it was idle for its time.
    Close,
    /// Resets it then.
    Reset,
    /// Shuts down its sending side then, and reads on before it closes.
    HalfClose,
    /// As before, and resets what it has read.
    HalfCloseReset,
    /// Reads the next request and closes without an answer.
    ReadClose,
    /// Reads the next request and resets.
    ReadReset,
    /// Reads a part of the next request and closes, which resets.
    ReadHalf,
}

/// What an app saw.
#[derive(Default)]
struct Ledger {
    /// How often a request was read, in whole or in part.
    read: Mutex<HashMap<String, usize>>,
    connections: AtomicUsize,
}

impl Ledger {
    /// `bytes` begin with a request: `POST /ID `.
    fn note(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        if let Some(id) = text
            .strip_prefix("POST /")
            .and_then(|rest| rest.split(' ').next())
        {
            *self.read.lock().unwrap().entry(id.to_owned()).or_default() += 1;
        }
    }
}

/// When an app ends a connection.
#[derive(Debug, Clone, Copy)]
enum Idle {
    /// After it was idle for this time, as servers do.
    Exactly(Duration),
    /// After it was idle for any time up to this.
    UpTo(Duration),
}

impl Idle {
    fn max(self) -> Duration {
        let (Self::Exactly(max) | Self::UpTo(max)) = self;
        max
    }

    fn time(self) -> Duration {
        match self {
            Self::Exactly(time) => time,
            Self::UpTo(max) => Duration::from_micros(fastrand::u64(1..=max.as_micros() as u64)),
        }
    }
}

/// An app that ends each of its connections in one of `ends`, after one to four
/// answers at least, when it was idle.
fn hostile_app(ends: &'static [End], idle: Idle) -> (SocketAddr, Arc<Ledger>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ledger = Arc::new(Ledger::default());
    let kept = Arc::clone(&ledger);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), ledger) = (stream, Arc::clone(&kept)) else {
                continue;
            };
            ledger.connections.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || {
                let end = ends[fastrand::usize(..ends.len())];
                serve(stream, end, idle, &ledger);
            });
        }
    });
    (address, ledger)
}

fn serve(mut stream: TcpStream, end: End, idle: Idle, ledger: &Ledger) {
    stream.set_nodelay(true).unwrap();
    let mut left = fastrand::usize(1..=4);
    loop {
        if left == 0 {
            // As a server does: a request that comes in its time is served.
            if matches!(end, End::ReadClose | End::ReadReset | End::ReadHalf)
                || !comes_within(&stream, idle.time())
            {
                break;
            }
        }
        left = left.saturating_sub(1);
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        if !read_request(&mut stream, ledger) {
            return;
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        if stream.write_all(answer).is_err() {
            return;
        }
    }
    match end {
        End::Close => {}
        End::Reset => reset(&stream),
        End::HalfClose | End::HalfCloseReset => {
            let _ = stream.shutdown(Shutdown::Write);
            stream
                .set_read_timeout(Some(Duration::from_millis(20)))
                .unwrap();
            read_some(&mut stream, ledger);
            if end == End::HalfCloseReset {
                reset(&stream);
            }
        }
        End::ReadClose => drop(read_request(&mut stream, ledger)),
        End::ReadReset => {
            read_request(&mut stream, ledger);
            reset(&stream);
        }
        End::ReadHalf => read_some(&mut stream, ledger),
    }
}

/// True if there is something to read within `idle`.
fn comes_within(stream: &TcpStream, idle: Duration) -> bool {
    stream.set_read_timeout(Some(idle)).unwrap();
    matches!(stream.peek(&mut [0; 1]), Ok(1))
}

/// Reads a request with a body of two bytes; false at the end.
fn read_request(stream: &mut TcpStream, ledger: &Ledger) -> bool {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => {
                ledger.note(&bytes);
                return false;
            }
            Ok(read) => bytes.extend_from_slice(&part[..read]),
        }
        if bytes.ends_with(b"\r\n\r\nhi") {
            ledger.note(&bytes);
            return true;
        }
    }
}

/// Reads less than a request.
fn read_some(stream: &mut TcpStream, ledger: &Ledger) {
    let mut part = [0; 60];
    if let Ok(read) = stream.read(&mut part) {
        ledger.note(&part[..read]);
    }
}

/// Its close resets the connection.
fn reset(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

/// What became of the requests of a test, by id.
struct Outcome {
    status: HashMap<String, String>,
    ledger: Arc<Ledger>,
}

impl Outcome {
    fn count(&self, status: &str) -> usize {
        self.status.values().filter(|got| *got == status).count()
    }

    /// Nothing was read twice; what was answered with 200 was read once.
    fn check(&self) {
        let read = self.ledger.read.lock().unwrap();
        for (id, times) in read.iter() {
            assert_eq!(*times, 1, "{id} was delivered {times} times");
        }
        for (id, status) in &self.status {
            match status.as_str() {
                "200" => assert!(
                    read.contains_key(id),
                    "{id} was answered, but not by the app"
                ),
                "502" => {}
                other => panic!("{id}: {other}"),
            }
        }
    }
}

const CLIENTS: usize = 8;

/// Sends POSTs through a gate on two threads, with pauses around the times at
/// which the app closes its connections.
async fn race(ends: &'static [End], idle: Idle, requests: usize) -> Outcome {
    let (app, ledger) = hostile_app(ends, idle);
    let gate = Gate::new(Config::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(gate.clone().serve_on_threads(listener, 2).unwrap());
    gate.open(app);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            tokio::task::spawn_blocking(move || ask(address, client, requests, idle.max()))
        })
        .collect();
    let mut status = HashMap::new();
    for client in clients {
        status.extend(client.await.unwrap());
    }
    Outcome { status, ledger }
}

fn ask(
    gate: SocketAddr,
    client: usize,
    requests: usize,
    idle_max: Duration,
) -> Vec<(String, String)> {
    let mut stream = TcpStream::connect(gate).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut outcomes = Vec::new();
    for number in 0..requests {
        let id = format!("{client}-{number}");
        let request = format!(
            "POST /{id} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nX: {}\r\n\r\nhi",
            "x".repeat(100)
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut part = [0; 4096];
        while !is_complete(&answer) {
            let read = stream.read(&mut part).expect("an answer in time");
            assert!(read > 0, "the gate closed the connection under {id}");
            answer.extend_from_slice(&part[..read]);
        }
        let text = String::from_utf8_lossy(&answer);
        outcomes.push((id, text[9..12].to_owned()));
        let pause = fastrand::u64(..=idle_max.as_micros() as u64 * 5 / 4);
        std::thread::sleep(Duration::from_micros(pause));
    }
    outcomes
}

fn is_complete(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |length| length.parse().unwrap());
    body.len() >= length
}

/// Requests of each client; `MONOLITE_RACES` multiplies them.
fn requests(usual: usize) -> usize {
    let times = std::env::var("MONOLITE_RACES").ok();
    usual * times.map_or(1, |times| times.parse().expect("a number"))
}

#[tokio::test]
async fn an_app_that_closes_idle_connections_costs_no_write() {
    let count = requests(400);
    let outcome = race(
        &[End::Close],
        Idle::Exactly(Duration::from_millis(4)),
        count,
    )
    .await;
    outcome.check();
    assert_eq!(outcome.count("200"), CLIENTS * count);
    let connections = outcome.ledger.connections.load(Ordering::SeqCst);
    eprintln!("{connections} connections for {} requests", CLIENTS * count);
    assert!(connections < CLIENTS * count, "nothing was reused");
}

#[tokio::test]
async fn an_app_that_closes_at_any_instant_costs_no_write() {
    let count = requests(400);
    let outcome = race(&[End::Close], Idle::UpTo(Duration::from_millis(3)), count).await;
    outcome.check();
    assert_eq!(outcome.count("200"), CLIENTS * count);
}

#[tokio::test]
async fn an_app_that_resets_idle_connections_gets_no_write_twice() {
    let outcome = race(
        &[End::Close, End::Reset],
        Idle::UpTo(Duration::from_millis(3)),
        requests(400),
    )
    .await;
    outcome.check();
    eprintln!(
        "{} answered, {} not",
        outcome.count("200"),
        outcome.count("502")
    );
}

#[tokio::test]
async fn an_app_that_dies_while_it_reads_gets_no_write_twice() {
    let ends = &[End::Close, End::ReadClose, End::ReadReset, End::ReadHalf];
    let outcome = race(ends, Idle::UpTo(Duration::from_millis(2)), requests(400)).await;
    outcome.check();
    assert!(outcome.count("502") > 0, "the app was not hostile");
    eprintln!(
        "{} answered, {} not",
        outcome.count("200"),
        outcome.count("502")
    );
}

#[tokio::test]
async fn an_app_that_shuts_down_its_side_and_reads_on_gets_no_write_twice() {
    let ends = &[End::HalfClose, End::HalfCloseReset, End::Close];
    let outcome = race(ends, Idle::UpTo(Duration::from_millis(2)), requests(400)).await;
    outcome.check();
    eprintln!(
        "{} answered, {} not",
        outcome.count("200"),
        outcome.count("502")
    );
}
