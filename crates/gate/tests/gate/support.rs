//! A gate, an app steered byte by byte, and clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use monolite_gate::{Config, Gate};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Long enough to mean "never" where a test must not hang.
pub(crate) const NEVER: Duration = Duration::from_secs(20);

pub(crate) async fn gate(config: Config) -> (Gate, SocketAddr) {
    serve(Gate::new(config)).await
}

/// Serves on the runtime of the test.
pub(crate) async fn serve(gate: Gate) -> (Gate, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(gate.clone().serve(listener));
    (gate, address)
}

/// An app of one handler per connection, which gets each request's head.
pub(crate) async fn app<F, R>(handler: F) -> SocketAddr
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

pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) stream: BufReader<TcpStream>,
}

impl Request {
    /// Reads a head, and the body if its length is given.
    async fn read(stream: TcpStream) -> Option<Self> {
        let mut stream = BufReader::new(stream);
        let head = read_head(&mut stream).await?;
        let length = header(&head, "content-length").map_or(0, |l| l.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        Some(Self { head, body, stream })
    }

    pub(crate) async fn answer(mut self, text: &str) {
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        );
        let _ = self.stream.write_all(response.as_bytes()).await;
    }
}

/// A head, empty line included; `None` if the connection ends before.
pub(crate) async fn read_head(stream: &mut BufReader<impl AsyncRead + Unpin>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

pub(crate) fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

/// Sends bytes and reads to the end.
pub(crate) async fn raw(gate: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    raw_on(TcpStream::connect(gate).await.unwrap(), bytes).await
}

/// As [`raw`], on a connection that is there.
pub(crate) async fn raw_on(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    bytes: impl AsRef<[u8]>,
) -> String {
    stream.write_all(bytes.as_ref()).await.unwrap();
    let mut response = Vec::new();
    let read = stream.read_to_end(&mut response);
    let _ = tokio::time::timeout(NEVER, read).await.expect("hung");
    String::from_utf8_lossy(&response).into_owned()
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
}

pub(crate) fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn ask(gate: SocketAddr, request: String) -> JoinHandle<String> {
    tokio::spawn(async move { raw(gate, request).await })
}

pub(crate) fn status(response: &str) -> &str {
    response.get(9..12).unwrap_or(response)
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    tokio::time::timeout(NEVER, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap_or_else(|_| panic!("never: {what}"));
}

/// An app that answers every request with its head.
pub(crate) async fn mirror() -> SocketAddr {
    app(|request| async move {
        let head = request.head.clone();
        request.answer(&head).await;
    })
    .await
}
