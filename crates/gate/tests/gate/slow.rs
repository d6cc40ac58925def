//! Clients that send or read slowly, or not at all, and what they get in the end.

use std::time::{Duration, Instant};

use monolite_gate::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::*;
use crate::workers;

#[tokio::test]
async fn clients_that_drip_keep_no_worker() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::new().buffer_dir(directory.path().to_owned());
    let (gate, address) = gate(config).await;
    gate.open(workers::app(2, Duration::ZERO));
    let mut dripping = Vec::new();
    for head in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabc",
        "GET /big HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /big HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /big HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        dripping.push(stream);
    }
    until("all asked", || gate.stats().requests == 6).await;
    // The big answers leave the app though nobody reads them.
    until("read ahead", || gate.stats().in_flight == 0).await;
    let start = Instant::now();
    for _ in 0..5 {
        assert!(raw(address, get("/")).await.ends_with("GET"));
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    // And nothing of them is lost.
    for stream in &mut dripping[3..] {
        let mut reader = BufReader::new(stream);
        let head = read_head(&mut reader).await.unwrap();
        assert_eq!(header(&head, "content-length"), Some("20000000"));
        let mut body = vec![0; 20_000_000];
        tokio::time::timeout(NEVER, reader.read_exact(&mut body))
            .await
            .expect("hung")
            .unwrap();
        assert!(body.iter().all(|byte| *byte == b'x'));
    }
    dripping[2].write_all(b"d").await.unwrap();
    let head = read_head(&mut BufReader::new(&mut dripping[2]))
        .await
        .unwrap();
    assert_eq!(status(&head), "200");
}

#[tokio::test]
async fn a_long_body_reaches_the_app_whole_through_memory_and_file() {
    let directory = tempfile::tempdir().unwrap();
    // An app that answers with the length and the sum of what it got.
    let app = app(|request| async move {
        let sum: u64 = request.body.iter().map(|byte| u64::from(*byte)).sum();
        let text = format!("{} {sum}", request.body.len());
        request.answer(&text).await;
    })
    .await;
    for (files, name) in [(1 << 30, "a file"), (1 << 20, "a file that is too small")] {
        let config = Config::new()
            .buffer_dir(directory.path().to_owned())
            .buffer_files(files);
        let (gate, address) = gate(config).await;
        gate.open(app);
        let body: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let response = raw(address, [head.as_bytes(), &body].concat()).await;
        assert!(
            response.ends_with(&format!("\r\n\r\n3000000 {sum}")),
            "{name}: {response}"
        );
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_early_answer_arrives_though_the_body_is_not_read() {
    // Reads the head only.
    let app = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut bytes = [0; 300];
                    let _ = std::io::Read::read(&mut stream, &mut bytes);
                    let answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n";
                    let _ = std::io::Write::write_all(&mut stream, answer);
                    let _ = stream.shutdown(std::net::Shutdown::Write);
                    let mut rest = Vec::new();
                    let _ = std::io::Read::read_to_end(&mut stream, &mut rest);
                });
            }
        });
        address
    };
    let (gate, address) = gate(Config::default()).await;
    gate.open(app);
    for number in 0..60 {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let sending = tokio::spawn(async move {
            let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n";
            writing.write_all(head.as_bytes()).await?;
            writing.write_all(&vec![b'x'; 8_000_000]).await
        });
        // As clients do that read only when they have sent all.
        let _ = sending.await.unwrap();
        let mut response = Vec::new();
        let read = tokio::time::timeout(NEVER, reading.read_to_end(&mut response));
        read.await.expect("hung").unwrap_or_else(|error| {
            panic!("answer {number} was lost: {error}");
        });
        assert_eq!(
            status(&String::from_utf8_lossy(&response)),
            "413",
            "{number}"
        );
    }
}

#[tokio::test]
async fn a_connection_is_good_for_a_request_after_it_was_idle() {
    let (gate, address) = gate(Config::default()).await;
    gate.open(workers::app(4, Duration::ZERO));
    let mut client = BufReader::new(TcpStream::connect(address).await.unwrap());
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (pause_ms, requests) in [(0, 1), (1300, 1), (1300, 2), (0, 3)] {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        // In two parts, and pipelined.
        let all = get.repeat(requests);
        client.write_all(&all.as_bytes()[..7]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.write_all(&all.as_bytes()[7..]).await.unwrap();
        for _ in 0..requests {
            let head = tokio::time::timeout(NEVER, read_head(&mut client));
            assert_eq!(status(&head.await.expect("hung").unwrap()), "200");
            client.read_exact(&mut [0; 3]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn idle_connections_end_at_their_time_and_for_new_ones() {
    let config = Config::new().keep_alive(Duration::from_millis(300));
    let (opened, address) = gate(config).await;
    opened.open(workers::app(1, Duration::ZERO));
    let mut client = BufReader::new(TcpStream::connect(address).await.unwrap());
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut all = Vec::new();
    let read = tokio::time::timeout(NEVER, client.read_to_end(&mut all));
    read.await.expect("never closed").unwrap();

    let (opened, address) = gate(Config::new().connections(3)).await;
    opened.open(workers::app(1, Duration::ZERO));
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    for _ in 0..3 {
        assert_eq!(status(&raw(address, get("/")).await), "200");
    }
}

#[tokio::test]
async fn a_body_that_drips_is_refused_after_its_time() {
    let (gate, address) = gate(Config::default()).await;
    gate.open(workers::app(1, Duration::ZERO));
    let mut client = BufReader::new(TcpStream::connect(address).await.unwrap());
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let dripping = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if client.get_mut().write_all(b"x").await.is_err() {
                std::future::pending::<()>().await;
            }
            let mut byte = [0; 1];
            let peeked = client.get_ref().peek(&mut byte);
            if let Ok(Ok(1)) = tokio::time::timeout(Duration::from_millis(1), peeked).await {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), dripping)
        .await
        .expect("a dripping client is served for ever");
    assert_eq!(status(&read_head(&mut client).await.unwrap()), "408");
}
