use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Blog;

async fn request(address: std::net::SocketAddr, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{head} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn read_until(stream: &mut TcpStream, what: &str) {
    let mut text = String::new();
    while !text.contains(what) {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "closed after {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

#[tokio::test]
async fn a_stop_ends_streams_and_closes_the_file() {
    let Blog { dir, app } = Blog::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = app.router();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(app.serve(listener, async {
        let _ = stopped.await;
    }));

    let mut live = request(address, "GET /live").await;
    read_until(&mut live, "hello").await;
    let mut idle = request(address, "GET /up").await;
    read_until(&mut idle, "ok").await;

    stop.send(()).unwrap();
    let mut rest = String::new();
    live.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "cut off: {rest:?}");
    let done = tokio::time::timeout(Duration::from_secs(9), server).await;
    done.expect("no wait for idle connections")
        .unwrap()
        .unwrap();

    // What SQLite has beside a file is there while somebody has it open.
    for name in ["app.sqlite3", "cache.sqlite3", "pubsub.sqlite3"] {
        assert!(dir.path().join(name).exists(), "{name}");
        assert!(!dir.path().join(format!("{name}-wal")).exists(), "{name}");
    }
    // Nobody is served from them any more.
    let late = crate::send(router, axum::http::Request::get("/"), "").await;
    assert_eq!(late.status, 503);
    late.shows("A full house");
}
