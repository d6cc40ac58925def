//! The apps of `tests/fixtures/apps`, and a load that does to them what hurts on SQLite.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::{provided, root};

/// Longest wait for one answer: SQLite's own busy timeouts are shorter.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// One of the apps. Each has two processes of five threads where its server has threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shop {
    /// Rails on puma.
    Rails,
    /// Django on gunicorn.
    Django,
    /// Flask with SQLAlchemy on gunicorn.
    Flask,
    /// Express with better-sqlite3.
    Node,
    /// PHP over PDO.
    Php,
}

impl Shop {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Rails,
        Self::Django,
        Self::Flask,
        Self::Node,
        Self::Php,
    ];

    /// Its directory.
    pub fn dir(self) -> PathBuf {
        let name = format!("{self:?}").to_lowercase();
        root().join("tests/fixtures/apps").join(name)
    }

    /// Whether `monolite run` knows by itself that it needs the driver lane.
    pub fn is_known(self) -> bool {
        matches!(self, Self::Rails | Self::Django | Self::Node)
    }

    /// Its command, for the port `port`, which may be `$PORT`.
    pub fn command(self, port: &str) -> Vec<String> {
        let gunicorn = |app: &str| {
            let program = provided("MONOLITE_TEST_APPS").join("bin/gunicorn");
            let bind = format!("--bind=127.0.0.1:{port}");
            let mut command = vec![program.display().to_string(), bind];
            command
                .extend(["--workers=2", "--threads=5", "--log-level=error", app].map(String::from));
            command
        };
        let words = |text: String| text.split(' ').map(String::from).collect();
        match self {
            Self::Rails => words(format!(
                "puma -q -w 2 -t 5:5 -b tcp://127.0.0.1:{port} config.ru"
            )),
            Self::Django => gunicorn("manage:application"),
            Self::Flask => gunicorn("app:app"),
            Self::Node => words("node app.js".into()),
            Self::Php => words(format!("php -q -S 127.0.0.1:{port} index.php")),
        }
    }

    /// Variables of its server, and how it finds `database` where nobody else says so.
    pub fn variables(self, database: Option<&Path>) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("RAILS_ENV", "production".into()),
            ("PHP_CLI_SERVER_WORKERS", "4".into()),
            ("PYTHONDONTWRITEBYTECODE", "1".into()),
        ];
        if let Some(path) = database.map(|path| path.display()) {
            variables.push(match self {
                Self::Rails => ("DATABASE_URL", format!("sqlite3://{path}")),
                Self::Django | Self::Flask => ("DATABASE_URL", format!("sqlite:///{path}")),
                Self::Node => ("DATABASE_URL", format!("file:{path}")),
                Self::Php => ("DATABASE_PATH", path.to_string()),
            });
        }
        variables
    }
}

/// Makes the apps' database.
///
/// # Panics
/// If the `sqlite3` shell does not.
pub fn make_database(path: &Path, journal_mode: &str) {
    let schema = root().join("tests/fixtures/apps/schema.sql");
    let schema = std::fs::read_to_string(schema).expect("the schema");
    sql(
        path,
        &format!("PRAGMA journal_mode = {journal_mode}; {schema}"),
    );
}

/// What the `sqlite3` shell answers.
///
/// # Panics
/// If it fails.
pub fn sql(path: &Path, sql: &str) -> String {
    // The apps may be writing still.
    let mut command = Command::new("sqlite3");
    let output = command
        .args(["-cmd", ".timeout 20000"])
        .arg(path)
        .arg(sql)
        .output();
    let output = output.expect("sqlite3; `cargo xtask test` installs it");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{sql}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What a load has seen.
#[derive(Debug, Default)]
pub struct Loaded {
    /// For how long it was.
    pub took: Duration,
    /// Answers below 400.
    pub good: usize,
    /// Answers from 500 on, and requests without an answer.
    pub failed: usize,
    /// `POST /posts` that were answered 201.
    pub posts: usize,
    /// `GET /seen` that were answered 200.
    pub seen: usize,
    /// Of each request, sorted.
    pub latencies: Vec<Duration>,
}

impl Loaded {
    /// Good answers a second.
    pub fn per_second(&self) -> f64 {
        self.good as f64 / self.took.as_secs_f64()
    }

    /// The latency that this share of the requests does not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }
}

/// Clients that ask one request after another: of ten, five write, two read and write by GET, three
/// read.
///
/// # Panics
/// If a client does.
pub fn load(port: u16, clients: usize, duration: Duration) -> Loaded {
    let (all, begin) = (Mutex::new(Loaded::default()), Instant::now());
    std::thread::scope(|scope| {
        for client in 0..clients {
            let all = &all;
            scope.spawn(move || {
                for n in client.. {
                    if begin.elapsed() >= duration {
                        break;
                    }
                    let kind = n % 10;
                    let asked = Instant::now();
                    let answer = match kind {
                        0..5 => {
                            request(port, "POST", "/posts", &format!("title=post-{client}-{n}"))
                        }
                        5..7 => request(port, "GET", "/seen", ""),
                        _ => request(port, "GET", "/posts", ""),
                    };
                    let took = asked.elapsed();
                    let mut all = all.lock().expect("no client panicked");
                    all.latencies.push(took);
                    match answer {
                        Ok(200 | 201) => all.good += 1,
                        _ => {
                            all.failed += 1;
                            continue;
                        }
                    }
                    all.posts += usize::from(kind < 5);
                    all.seen += usize::from((5..7).contains(&kind));
                }
            });
        }
    });
    let mut all = all.into_inner().expect("no client panicked");
    all.took = begin.elapsed();
    all.latencies.sort_unstable();
    all
}

/// The status of an answer.
fn request(port: u16, method: &str, path: &str, body: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let status = text
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok());
    status.ok_or_else(|| std::io::Error::other(format!("{text:?} is no answer")))
}

/// Whether it answers.
pub fn answers(port: u16) -> bool {
    request(port, "GET", "/", "").is_ok_and(|status| status == 200)
}

/// What is in the database after a load: posts, and the three counters.
///
/// # Panics
/// If the `sqlite3` shell fails.
pub fn counted(database: &Path) -> [usize; 4] {
    let text = sql(
        database,
        "SELECT count(*) FROM posts; SELECT n FROM counters ORDER BY id",
    );
    let mut numbers = text.lines().map(|line| line.parse().expect("a number"));
    std::array::from_fn(|_| numbers.next().expect("four numbers"))
}
