//! What the tests share.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use monolite_ltx::{DatabaseChecksums, Header, Txid};
use monolite_replica::{Body, Destination, DestinationOptions, Key, Replica, RetryPolicy};
use monolite_testkit::s3::{S3Options, S3Server};

pub(crate) const TIME: i64 = 1_700_000_000_123;

/// The smallest parts there are, so that [`LARGE`] is large.
const SMALL_PARTS: &str = "part-size=5242880";
/// Bytes of a file that is sent in three parts.
pub(crate) const LARGE: usize = 11 << 20;

/// A small file, whose content depends on its time.
pub(crate) fn file(min: u64, max: u64, time: i64) -> (Header, Vec<u8>) {
    filled(min, max, time, 1000)
}

/// A file of `size` bytes. A place reads no more of it than header and trailer,
/// so the rest is what chance gives.
pub(crate) fn filled(min: u64, max: u64, time: i64, size: usize) -> (Header, Vec<u8>) {
    let header = Header {
        page_size: 4096,
        commit: 1,
        min: Txid(min),
        max: Txid(max),
        timestamp_ms: time,
        checksums: DatabaseChecksums::None,
        wal: None,
        node_id: 0,
    };
    let mut body = vec![0; size];
    fastrand::Rng::with_seed(min ^ time.unsigned_abs()).fill(&mut body);
    body[..Header::SIZE].copy_from_slice(&header.to_bytes());
    (header, body)
}

pub(crate) fn key(byte: u8) -> Key {
    Key::parse(&format!("{byte:02x}").repeat(32)).unwrap()
}

/// A kind of place, one of its own for each test.
pub(crate) enum Place {
    Folder(tempfile::TempDir),
    Bucket(Box<S3Server>),
}

impl Place {
    pub(crate) fn folder() -> Self {
        Self::Folder(tempfile::tempdir().unwrap())
    }

    pub(crate) fn bucket() -> Self {
        // Small pages, so that lists have several.
        Self::Bucket(Box::new(S3Server::start_with(S3Options {
            page: 3,
            ..S3Options::default()
        })))
    }

    pub(crate) fn url(&self, prefix: &str) -> String {
        match self {
            Self::Folder(dir) => format!("file://{}/{prefix}", dir.path().display()),
            Self::Bucket(server) => format!("s3://{}/{prefix}?{SMALL_PARTS}", server.bucket()),
        }
    }

    pub(crate) fn open(&self, prefix: &str, key: Option<Key>) -> Destination {
        let options = DestinationOptions {
            key,
            ..DestinationOptions::default()
        };
        let variables = match self {
            Self::Folder(_) => Vec::new(),
            Self::Bucket(server) => server.variables(),
        };
        open(&self.url(prefix), &variables, options)
    }

    /// The file `name` of the place as it is stored.
    pub(crate) fn stored(&self, name: &str) -> Option<Vec<u8>> {
        match self {
            Self::Folder(dir) => std::fs::read(dir.path().join(name)).ok(),
            Self::Bucket(server) => server.object(name),
        }
    }

    pub(crate) fn store(&self, name: &str, bytes: &[u8]) {
        match self {
            Self::Folder(dir) => {
                let path = dir.path().join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            Self::Bucket(server) => server.put(name, bytes.to_vec()),
        }
    }

    /// The folder of a level.
    pub(crate) fn level(&self, level: u8) -> String {
        match self {
            Self::Folder(_) => format!("ltx/{level}"),
            Self::Bucket(_) => format!("000{level}"),
        }
    }
}

pub(crate) fn open(
    url: &str,
    variables: &[(&str, String)],
    options: DestinationOptions,
) -> Destination {
    let var = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone())
    };
    Destination::parse(url, &var, options).unwrap()
}

/// Soon tried again, and soon given up.
pub(crate) fn hasty() -> DestinationOptions {
    DestinationOptions {
        retry: RetryPolicy {
            first: Duration::from_millis(1),
            attempts: 4,
            ..RetryPolicy::default()
        },
        ..DestinationOptions::default()
    }
}

/// The same, and no answer is waited for long.
pub(crate) fn impatient() -> DestinationOptions {
    DestinationOptions {
        request_timeout: Duration::from_millis(500),
        ..hasty()
    }
}

/// A database in the server's bucket.
pub(crate) fn replica(server: &S3Server, options: DestinationOptions) -> Replica {
    destination(server, options).replica("app")
}

pub(crate) fn destination(server: &S3Server, options: DestinationOptions) -> Destination {
    let url = format!("s3://{}/p?{SMALL_PARTS}", server.bucket());
    open(&url, &server.variables(), options)
}

pub(crate) async fn all(mut body: Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(next) = body.next().await.unwrap() {
        assert!(!next.is_empty());
        bytes.extend(next);
    }
    bytes
}

pub(crate) fn unwatched() -> Arc<dyn Fn(u64) + Send + Sync> {
    Arc::new(|_| ())
}

/// The URL of a server that is no S3: it answers each request with what
/// `answer` says to its head, in lower case.
pub(crate) fn answering(answer: fn(&str) -> &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || serve(stream, answer));
        }
    });
    url
}

fn serve(mut stream: TcpStream, answer: fn(&str) -> &'static str) -> Option<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
        let mut lines = head.lines();
        let length = lines.find_map(|line| line.strip_prefix("content-length:"));
        let length = length.map_or(0, |length| length.trim().parse().unwrap_or(0));
        stream.read_exact(&mut vec![0; length]).ok()?;
        let answer = format!("HTTP/1.1 {}", answer(&head));
        stream.write_all(answer.as_bytes()).ok()?;
    }
}
