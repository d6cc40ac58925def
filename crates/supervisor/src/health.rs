//! Asks an app whether it is ready.

use std::net::SocketAddr;
use std::time::Duration;

use monolite_gate::{StatusCode, probe};

use crate::config::HealthCheck;

/// Longest wait for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Pause between two requests: short at first, so that a run starts hardly later than its app.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(250);

impl HealthCheck {
    pub(crate) fn path(&self) -> &str {
        self.path.as_deref().unwrap_or("/")
    }

    fn accepts(&self, status: StatusCode) -> bool {
        match self.path {
            Some(_) => status.as_u16() < 400,
            None => status.as_u16() < 500,
        }
    }

    /// Asks until the app is healthy. `last` is the last answer that was
    /// not good enough.
    pub(crate) async fn wait(&self, address: SocketAddr, last: &mut String) {
        let mut pause = FIRST_PAUSE;
        loop {
            let answer = probe(address, self.path(), &self.host);
            *last = match tokio::time::timeout(ANSWER_TIME_MAX, answer).await {
                Ok(Ok(status)) if self.accepts(status) => return,
                Ok(Ok(status)) => format!("answered {status}"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", ANSWER_TIME_MAX.as_secs()),
            };
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(PAUSE_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// An app that answers each connection with the next of `statuses`, and then no more.
    async fn app(statuses: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for status in statuses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await.unwrap();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            std::future::pending::<()>().await;
        });
        address
    }

    fn check(path: Option<&str>) -> HealthCheck {
        HealthCheck {
            path: path.map(str::to_owned),
            host: "localhost".into(),
        }
    }

    #[tokio::test]
    async fn an_app_is_asked_until_it_is_healthy() {
        let address = app(&["500 Broken", "503 Not Yet", "404 Not Found", "204 Up"]).await;
        let mut last = String::new();
        check(Some("/up")).wait(address, &mut last).await;
        assert_eq!(last, "answered 404 Not Found");
    }

    #[test]
    fn a_path_that_is_named_must_answer_well() {
        for (status, unnamed, named) in [
            (StatusCode::OK, true, true),
            (StatusCode::FOUND, true, true),
            (StatusCode::NOT_FOUND, true, false),
            (StatusCode::INTERNAL_SERVER_ERROR, false, false),
        ] {
            assert_eq!(check(None).accepts(status), unnamed, "{status}");
            assert_eq!(check(Some("/up")).accepts(status), named, "{status}");
        }
    }
}
