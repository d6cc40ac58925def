//! Asks an app whether it is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use monolite_gate::{ProbeError, StatusCode, probe};
use monolite_platform::listening::Listener;
use tokio::time::Instant;

use crate::config::HealthCheck;

/// Longest wait for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
/// Pause between two requests: short at first, so that a run starts hardly later than its app.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// What the app is asked for while nothing listens where it should: at most so often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// An app that listens on another port alone, without a change, for so long, and answers there, is
/// served from there.
const OTHER_PORT_TIME: Duration = Duration::from_secs(5);
/// What is wrong is logged from here on, and when it changes.
const FIRST_REPORT_TIME: Duration = Duration::from_secs(2);
/// And again, unchanged, so often.
const REPORT_INTERVAL: Duration = Duration::from_secs(15);

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

    /// Asks the app at `address` once; `limit` is the longest wait for its answer.
    pub(crate) async fn ask(
        &self,
        address: SocketAddr,
        limit: Duration,
    ) -> Result<StatusCode, Unanswered> {
        let answer = probe(address, self.path(), &self.host);
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(ProbeError::Connect { .. })) => Err(Unanswered::NothingListens),
            Ok(Err(error)) => Err(Unanswered::Broken(error.to_string())),
            Err(_) => Err(Unanswered::Silent),
        }
    }
}

/// Why an app that was asked did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unanswered {
    NothingListens,
    Silent,
    /// It answered, but not as HTTP wants.
    Broken(String),
}

/// Waits for an app that was started.
///
/// It is expected on the port that it was given, on this machine's IPv4 address. One that listens on
/// that port under another address (`::1`) is served from there at once. One that listens on another
/// port is served from there only if it was free to choose, listens on nothing else for
/// [`OTHER_PORT_TIME`], and answers there with a page (200 to 399): a debugger's or a monitor's port
/// is not for the public. In each other case the log says what it listens on, and what to do.
pub(crate) struct Wait<'w> {
    pub(crate) check: &'w HealthCheck,
    pub(crate) address: SocketAddr,
    /// Nobody chose the port.
    pub(crate) is_any_port: bool,
    /// Answers with what the app's processes listen on.
    pub(crate) look: &'w (dyn Fn() -> Vec<Listener> + Sync),
    started: Instant,
    /// What the app listens on, and since when.
    listeners: Vec<Listener>,
    unchanged_since: Instant,
    looked: Option<Instant>,
    /// What was logged last, and when.
    reported: Option<(String, Instant)>,
    problem: Problem,
}

/// What is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) what: String,
    pub(crate) fix: String,
}

impl<'w> Wait<'w> {
    pub(crate) fn new(
        check: &'w HealthCheck,
        address: SocketAddr,
        is_any_port: bool,
        look: &'w (dyn Fn() -> Vec<Listener> + Sync),
    ) -> Self {
        let now = Instant::now();
        Self {
            check,
            address,
            is_any_port,
            look,
            started: now,
            listeners: Vec::new(),
            unchanged_since: now,
            looked: None,
            reported: None,
            problem: Problem {
                what: "nothing was asked".into(),
                fix: more_time(),
            },
        }
    }

    /// What is wrong as long as it is not healthy.
    pub(crate) fn problem(self) -> Problem {
        self.problem
    }

    /// Comes when the app is healthy; answers with where it is.
    pub(crate) async fn healthy(&mut self) -> SocketAddr {
        let mut pause = FIRST_PAUSE;
        loop {
            let path = self.check.path();
            self.problem = match self.check.ask(self.address, ANSWER_TIME_MAX).await {
                Ok(status) if self.check.accepts(status) => return self.address,
                Ok(status) => Problem {
                    what: format!("it answered {status} at {path}"),
                    fix: more_time(),
                },
                Err(Unanswered::NothingListens) => match self.look_elsewhere().await {
                    Ok(address) => return address,
                    Err(problem) => problem,
                },
                Err(Unanswered::Silent) => Problem {
                    what: format!("no answer at {path} within {} s", ANSWER_TIME_MAX.as_secs()),
                    fix: more_time(),
                },
                Err(Unanswered::Broken(what)) => Problem {
                    what: format!("{what}, at {path}"),
                    fix: more_time(),
                },
            };
            self.report();
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(PAUSE_MAX);
        }
    }

    /// Nothing listens where it should.
    async fn look_elsewhere(&mut self) -> Result<SocketAddr, Problem> {
        let port = self.address.port();
        if self.looked.is_none_or(|at| at.elapsed() >= LOOK_INTERVAL) {
            let found = (self.look)();
            if found != self.listeners {
                self.listeners = found;
                self.unchanged_since = Instant::now();
            }
            self.looked = Some(Instant::now());
        }
        let tcp = self.listeners.iter().filter_map(|listener| match listener {
            Listener::Tcp(address) => Some(*address),
            Listener::Unix(_) => None,
        });
        let mut tcp: Vec<SocketAddr> = tcp.map(reachable).collect();
        tcp.dedup();
        let same_port = tcp.iter().find(|address| address.port() == port);
        let (address, is_other_port) = match (same_port, &tcp[..]) {
            (Some(address), _) => (*address, false),
            (None, [only]) => (*only, true),
            _ => return Err(self.elsewhere(None)),
        };
        if is_other_port && (!self.is_any_port || self.unchanged_since.elapsed() < OTHER_PORT_TIME)
        {
            return Err(self.elsewhere(None));
        }
        let answer = self.check.ask(address, ANSWER_TIME_MAX).await;
        match answer {
            Ok(status) if is_other_port && (200..400).contains(&status.as_u16()) => {
                tracing::warn!(
                    fix = format!(
                        "have it listen on the port in PORT, or give --app-port {}",
                        address.port()
                    ),
                    "the app listens on {address} and not on port {port}; it is served from there"
                );
                Ok(address)
            }
            Ok(status) if !is_other_port && self.check.accepts(status) => {
                tracing::info!("the app listens on {address}");
                Ok(address)
            }
            Ok(status) => Err(self.elsewhere(Some(format!("answered {status} there")))),
            Err(_) => Err(self.elsewhere(Some("gave no HTTP answer there".into()))),
        }
    }

    /// What the app listens on, and what to do about it.
    fn elsewhere(&self, answer: Option<String>) -> Problem {
        let port = self.address.port();
        let Some(first) = self.listeners.first() else {
            return Problem {
                what: format!(
                    "nothing listens on port {port}, asked for at {}",
                    self.check.path()
                ),
                fix: format!("have it listen on the port in PORT; or {}", more_time()),
            };
        };
        let listeners: Vec<String> = self.listeners.iter().map(Listener::to_string).collect();
        let answer = answer.map(|answer| format!(", and {answer}"));
        let fix = match first {
            Listener::Tcp(address) if address.port() == port => more_time(),
            Listener::Tcp(address) => format!(
                "have it listen on the port in PORT, or give --app-port {}",
                address.port()
            ),
            Listener::Unix(_) => "have it listen on the port in PORT, not on a Unix socket".into(),
        };
        Problem {
            what: format!(
                "nothing listens on port {port}; the app listens on {}{}",
                listeners.join(" and "),
                answer.unwrap_or_default()
            ),
            fix,
        }
    }

    /// Logs what is wrong: after a while, and when it changes.
    fn report(&mut self) {
        if self.started.elapsed() < FIRST_REPORT_TIME {
            return;
        }
        let Problem { what, fix } = &self.problem;
        let is_due = self.reported.as_ref().is_none_or(|(last, at)| {
            let wait = if last == what {
                REPORT_INTERVAL
            } else {
                LOOK_INTERVAL
            };
            at.elapsed() >= wait
        });
        if is_due {
            let waited_s = self.started.elapsed().as_secs();
            tracing::warn!(waited_s, fix, "the app is not healthy yet: {what}");
            self.reported = Some((what.clone(), Instant::now()));
        }
    }
}

fn more_time() -> String {
    "name another path with --health-path, or allow more time with --start-timeout".into()
}

/// Where to connect to reach what listens on `address`.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
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
                answer(status, &listener).await;
            }
            std::future::pending::<()>().await;
        });
        address
    }

    async fn answer(status: &str, listener: &TcpListener) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).await.unwrap();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    /// Answers each connection with `status`.
    fn answer_with(status: &'static str, listener: TcpListener) {
        tokio::spawn(async move {
            loop {
                answer(status, &listener).await;
            }
        });
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
        let check = check(Some("/up"));
        let mut wait = Wait::new(&check, address, true, &|| panic!("it listens"));
        assert_eq!(wait.healthy().await, address);
        assert_eq!(wait.problem().what, "it answered 404 Not Found at /up");
    }

    /// Nothing listens there.
    fn nowhere() -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    async fn wait_for(
        address: SocketAddr,
        is_any_port: bool,
        listeners: &[Listener],
    ) -> Result<SocketAddr, Problem> {
        let check = check(None);
        let look = || listeners.to_vec();
        let mut wait = Wait::new(&check, address, is_any_port, &look);
        let healthy = tokio::time::timeout(Duration::from_secs(60), wait.healthy()).await;
        healthy.map_err(|_| wait.problem())
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_port_under_another_address_is_used_at_once() {
        let Ok(listener) = TcpListener::bind("[::1]:0").await else {
            panic!("this test needs IPv6 on the loopback interface");
        };
        let elsewhere = listener.local_addr().unwrap();
        answer_with("204 Up", listener);
        let expected = SocketAddr::from((Ipv4Addr::LOCALHOST, elsewhere.port()));
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, elsewhere.port()));
        for listens_on in [elsewhere, any] {
            let began = Instant::now();
            // Also if the port was chosen, and next to other ports.
            let listeners = [Listener::Tcp(nowhere()), Listener::Tcp(listens_on)];
            let found = wait_for(expected, false, &listeners).await;
            assert_eq!(found, Ok(elsewhere));
            assert!(began.elapsed() < OTHER_PORT_TIME);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_port_is_used_only_if_nothing_else_can_be_meant() {
        let serve = async |status| {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            answer_with(status, listener);
            address
        };
        let page = serve("200 OK").await;
        let began = Instant::now();
        let only = [Listener::Tcp(page), Listener::Unix("/a.sock".into())];
        assert_eq!(wait_for(nowhere(), true, &only).await, Ok(page));
        assert!(began.elapsed() >= OTHER_PORT_TIME);

        let problem = |found: Result<SocketAddr, Problem>| found.unwrap_err();
        // Somebody chose another one.
        let chosen = problem(wait_for(nowhere(), false, &only).await);
        assert!(
            chosen.fix.ends_with(&format!("--app-port {}", page.port())),
            "{chosen:?}"
        );
        // A debugger.
        let debugger = serve("400 Bad Request").await;
        let debugger = problem(wait_for(nowhere(), true, &[Listener::Tcp(debugger)]).await);
        assert!(
            debugger.what.ends_with("answered 400 Bad Request there"),
            "{debugger:?}"
        );
        // One of two.
        let monitor = serve("200 OK").await;
        let two = [Listener::Tcp(page), Listener::Tcp(monitor)];
        let two = problem(wait_for(nowhere(), true, &two).await);
        assert!(
            two.what
                .contains(&format!("the app listens on {page} and {monitor}")),
            "{two:?}"
        );
        let socket = problem(wait_for(nowhere(), true, &[Listener::Unix("/a.sock".into())]).await);
        assert!(
            socket.what.ends_with("the Unix socket \"/a.sock\""),
            "{socket:?}"
        );
        assert!(socket.fix.contains("not on a Unix socket"), "{socket:?}");
        let nothing = problem(wait_for(nowhere(), true, &[]).await);
        assert!(
            nothing.what.starts_with("nothing listens on port "),
            "{nothing:?}"
        );
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
