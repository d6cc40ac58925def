//! Asks a URL once a minute, as long as everything is stored: the monitoring service behind it alerts
//! people when the requests stop.

use std::time::Duration;

use monolite_replica::{Follower, State, Status};
use tokio::time::{Instant, sleep};

use super::health::Observed;

/// Time between two heartbeats.
const INTERVAL: Duration = Duration::from_secs(60);
/// How often it is looked whether everything is stored, until it is.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// A commit that waits for this long, in milliseconds, is late.
const LATE_MS: u64 = 60_000;
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
const REQUEST_TIME_MAX: Duration = Duration::from_secs(20);

/// Sends heartbeats to one URL.
pub struct Heartbeat {
    client: reqwest::Client,
    url: reqwest::Url,
    /// The last one was not accepted.
    failing: bool,
}

impl Heartbeat {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// It is no URL, or TLS cannot be used.
    pub fn new(url: &str) -> Result<Self, String> {
        // If another part of the process has chosen a provider before, that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            .timeout(REQUEST_TIME_MAX)
            .user_agent(concat!("monolite/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("cannot send heartbeats: {error}"))?;
        Ok(Self {
            client,
            url: url
                .parse()
                .map_err(|error| format!("heartbeat_url: {error}"))?,
            failing: false,
        })
    }

    /// Sends one a minute as long as `follower` has everything stored, until this is dropped.
    pub async fn beat(self, follower: &Follower) {
        let all = || Observed {
            replicas: follower.status(),
            ..Observed::default()
        };
        self.beat_while_well(all).await;
    }

    /// Sends one a minute as long as all is well with `observed`, until this is dropped.
    pub(super) async fn beat_while_well(mut self, observed: impl Fn() -> Observed) {
        loop {
            if !is_well(&observed()) {
                sleep(POLL_INTERVAL).await;
                continue;
            }
            let began = Instant::now();
            self.send().await;
            tokio::time::sleep_until(began + INTERVAL).await;
        }
    }

    async fn send(&mut self) {
        let answer = self.client.get(self.url.clone()).send().await;
        match answer.and_then(reqwest::Response::error_for_status) {
            Ok(_) if self.failing => {
                self.failing = false;
                tracing::info!("heartbeats are accepted again");
            }
            Ok(_) => {}
            Err(error) if !self.failing => {
                self.failing = true;
                // Who knows the path can send heartbeats: it is not logged.
                let error = error_chain(error.without_url());
                let host = self.url.host_str().unwrap_or_default();
                tracing::warn!(host, error, "a heartbeat was not accepted, trying again");
            }
            Err(_) => {}
        }
    }
}

/// The error with its causes.
fn error_chain(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Whether all that was committed is stored, or on its way, and as far as is known can be restored.
fn is_well(observed: &Observed) -> bool {
    let all = &observed.replicas;
    let well = |status: &Status| {
        let works = status.failure.is_none() && status.state == State::Following;
        works && status.lag_ms < LATE_MS
    };
    // No database at all: the wrong directory is no success.
    let is_stored = !all.is_empty() && all.iter().all(well);
    let is_accounted_for = observed.unaccounted == 0;
    is_stored && is_accounted_for && observed.lost == 0 && observed.unrestorable == 0
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use monolite_ltx::Txid;
    use monolite_replica::{ErrorClass, Failure};

    use super::*;

    fn status(state: State, error: Option<&str>, lag_ms: u64) -> Status {
        let mut status = Status::new("a", "b");
        (status.state, status.lag_ms) = (state, lag_ms);
        (status.txid, status.stored_ms) = (Txid(1), Some(1));
        status.failure = error.map(|error| Failure::new(error, ErrorClass::Transient, 0));
        status
    }

    #[test]
    fn well_is_when_everything_is() {
        let good = status(State::Following, None, 900);
        let observed = |replicas: &[Status], lost, unrestorable| Observed {
            unaccounted: 0,
            replicas: replicas.to_vec(),
            lost,
            unrestorable,
        };
        assert!(is_well(&observed(&[good.clone(), good.clone()], 0, 0)));
        assert!(!is_well(&observed(&[], 0, 0)));
        assert!(
            !is_well(&observed(std::slice::from_ref(&good), 1, 0)),
            "a lost file"
        );
        assert!(
            !is_well(&observed(std::slice::from_ref(&good), 0, 1)),
            "not restorable"
        );
        for bad in [
            status(State::Following, None, LATE_MS),
            status(State::Following, Some("cannot read"), 0),
            status(State::Starting, None, 0),
            status(State::Refused, Some("held"), 0),
        ] {
            assert!(!is_well(&observed(&[good.clone(), bad], 0, 0)));
        }
    }

    #[tokio::test]
    async fn one_request_and_what_became_of_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/ping/secret", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let mut heads = Vec::new();
            for status in ["404 Not Found", "200 OK"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = [0; 1024];
                let read = stream.read(&mut head).unwrap();
                heads.push(String::from_utf8_lossy(&head[..read]).into_owned());
                let answer =
                    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
            }
            heads
        });
        let mut heartbeat = Heartbeat::new(&url).unwrap();
        heartbeat.send().await;
        assert!(heartbeat.failing);
        heartbeat.send().await;
        assert!(!heartbeat.failing);
        for head in server.join().unwrap() {
            assert!(head.starts_with("GET /ping/secret HTTP/1.1\r\n"), "{head}");
        }
        // Nobody is there any more.
        heartbeat.send().await;
        assert!(heartbeat.failing);
    }
}
