//! The rule by which a request is sent again, against peers that end their
//! connection at every instant and in every way, without the limits that keep
//! away from such instants.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::request_body::RequestBody;

/// What a peer does after its first answer and a random time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Close,
    ReadClose,
    ReadReset,
    ReadHalf,
    Reset,
}

/// All but those that only shut down the sending side: the rule is not for them.
const WHOLE: [End; 5] = [
    End::Close,
    End::ReadClose,
    End::ReadReset,
    End::ReadHalf,
    End::Reset,
];

/// The longest time until the end, and until the second request, in µs.
const PAUSE_MAX_US: u64 = 400;

type Ledger = Arc<Mutex<HashSet<u64>>>;

/// Notes the numbers of the requests of which it has read anything.
fn peer(end: impl Fn() -> End + Send + Sync + 'static) -> (SocketAddr, Ledger) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ledger = Ledger::default();
    let noted = Arc::clone(&ledger);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (end, ledger) = (end(), Arc::clone(&noted));
            std::thread::spawn(move || serve(stream, end, &ledger));
        }
    });
    (address, ledger)
}

fn serve(mut stream: TcpStream, end: End, ledger: &Ledger) {
    let mut first = [0; 4096];
    if !matches!(stream.read(&mut first), Ok(1..)) {
        return;
    }
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(answer).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    pause();
    match end {
        End::Close => return,
        End::Reset => return reset(&stream),
        End::ReadClose | End::ReadReset | End::ReadHalf => {}
    }
    let mut second = [0; 4096];
    let wanted = if end == End::ReadHalf {
        40
    } else {
        second.len()
    };
    if let Ok(read @ 1..) = stream.read(&mut second[..wanted]) {
        let text = String::from_utf8_lossy(&second[..read]);
        let number = text
            .strip_prefix("POST /")
            .and_then(|rest| rest.split(' ').next());
        // A probe of the gate's is no request.
        if let Some(number) = number {
            ledger.lock().unwrap().insert(number.parse().unwrap());
        }
    }
    if end == End::ReadReset {
        reset(&stream);
    }
}

fn pause() {
    let until = std::time::Instant::now() + Duration::from_micros(fastrand::u64(..PAUSE_MAX_US));
    while std::time::Instant::now() < until {
        std::hint::spin_loop();
    }
}

fn reset(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

/// Two requests on one connection, the second without a look before: true if
/// the rule says that the peer has not read the second.
async fn second_is_unread(address: SocketAddr, number: u64) -> bool {
    let request = |number: u64| {
        let head = format!("POST /{number} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        Sending::new(Bytes::from(head), RequestBody::empty(), false)
    };
    let upstream = Upstream::new(AppAddress::Tcp(address), 0);
    let mut connection = upstream.fresh().await.unwrap();
    let first = connection.exchange(request(number), Asked::default()).await;
    assert!(first.is_ok_and(|head| head.status == 200));
    pause();
    let mut second = request(number);
    second.want_proof(std::time::Instant::now());
    let second = connection.exchange(second, Asked::default()).await;
    matches!(second, Err(ExchangeError::Unread(..)))
}

/// How often the rule said "unread", of `count` times.
async fn race(ends: &'static [End], count: u64) -> usize {
    let (address, ledger) = peer(|| ends[fastrand::usize(..ends.len())]);
    let mut unread = Vec::new();
    for number in 0..count {
        if second_is_unread(address, number).await {
            unread.push(number);
        }
    }
    // What a peer reads, it has noted before the longest wait is over.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let read = ledger.lock().unwrap();
    for number in &unread {
        assert!(!read.contains(number), "{number} was read, of {ends:?}");
    }
    unread.len()
}

fn times(usual: u64) -> u64 {
    let times = std::env::var("MONOLITE_RACES").ok();
    usual * times.map_or(1, |times| times.parse().expect("a number"))
}

#[tokio::test]
async fn what_a_closed_socket_got_is_sent_again() {
    let count = times(1000);
    let unread = race(&[End::Close], count).await;
    eprintln!("close: {unread} of {count} proved unread");
    assert!(unread > 0, "nothing was proved");
}

#[tokio::test]
async fn what_a_peer_may_have_read_is_never_sent_again() {
    let count = times(2000);
    let unread = race(&WHOLE, count).await;
    eprintln!("all ends: {unread} of {count} proved unread");
}

#[tokio::test]
async fn a_proof_counts_only_for_apps_that_close_whole() {
    let (sender, ends) = std::sync::mpsc::channel::<Shutdown>();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let app = std::thread::spawn(move || {
        let mut half_closed = Vec::new();
        for end in ends {
            let stream = listener.accept().unwrap().0;
            if end == Shutdown::Write {
                stream.shutdown(end).unwrap();
                half_closed.push(stream);
            }
        }
    });
    let upstream = Arc::new(Upstream::new(AppAddress::Tcp(address), 8));
    let close = async |end: Shutdown| {
        let connection = upstream.fresh().await.unwrap();
        sender.send(end).unwrap();
        // The reactor knows of the end of stream when the kernel does.
        while connection.is_quiet() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        upstream.keep(connection, None);
        assert!(upstream.kept_for_write().is_none());
    };
    for _ in 0..WHOLE_CLOSINGS_MIN {
        assert!(!upstream.proves());
        close(Shutdown::Both).await;
    }
    assert!(upstream.proves());
    close(Shutdown::Write).await;
    assert!(!upstream.proves());
    drop(sender);
    app.join().unwrap();
}
