//! Asks an app whether it is ready.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::Health;

/// One question waits this long for its answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Between questions: quick at first, since a start should cost no more than
/// the app's own, then patient.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

impl Health {
    pub(crate) fn path(&self) -> &str {
        self.path.as_deref().unwrap_or("/")
    }

    fn accepts(&self, status: StatusCode) -> bool {
        match self.path {
            Some(_) => status.as_u16() < 400,
            None => status.as_u16() < 500,
        }
    }

    /// Asks until the app is healthy. `last` is told each answer that was not
    /// good enough.
    pub(crate) async fn wait(&self, address: SocketAddr, last: &mut String) {
        let mut pause = FIRST_PAUSE;
        loop {
            *last = match tokio::time::timeout(ANSWER_TIME, self.ask(address)).await {
                Ok(Ok(status)) if self.accepts(status) => return,
                Ok(Ok(status)) => format!("answered {status}"),
                Ok(Err(error)) => error,
                Err(_) => format!("no answer within {} s", ANSWER_TIME.as_secs()),
            };
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    async fn ask(&self, address: SocketAddr) -> Result<StatusCode, String> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|_| format!("nothing listens on port {}", address.port()))?;
        let broken = |error: hyper::Error| format!("not HTTP: {error}");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let connection = tokio::spawn(connection);
        let request = Request::get(self.path())
            .header("host", self.host.as_deref().unwrap_or("localhost"))
            .header("user-agent", "monolite-health")
            .header("connection", "close")
            // An app that sends plain HTTP elsewhere is asked as if by HTTPS.
            .header("x-forwarded-proto", "https")
            .body(Empty::<Bytes>::new())
            .map_err(|error| format!("not a path: {error}"))?;
        let status = sender.send_request(request).await.map(|r| r.status());
        connection.abort();
        status.map_err(broken)
    }
}
