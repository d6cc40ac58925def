//! One line for each request that was answered, written by a thread of its own.
//!
//! Query strings are left out, of the path and of the referrer: they hold tokens.
//! If the lines come faster than they can be written, or the disk is full, lines
//! are dropped and a warning says how many: requests never wait for the log.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use hyper::header::{self, HeaderMap, HeaderName};
use hyper::{Method, Request, StatusCode, Version};
use jiff::Timestamp;
use serde_json::json;

/// Lines that wait to be written, at most.
const WAITING_MAX: usize = 8192;
/// Bytes of lines that are written at once.
const BATCH: usize = 64 << 10;
/// Longest text of one field, in bytes.
const FIELD_MAX: usize = 1024;
/// A file of this many bytes is renamed, and a new one begun.
const FILE_MAX: u64 = 64 << 20;
/// Files that are kept beyond the current one: `NAME.1` is the youngest.
const FILES_KEPT: u32 = 5;
/// Between two warnings of lost lines.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessLogFormat {
    /// As the combined format of Apache and nginx, and after that the time until
    /// the answer was sent, the time the request was held and the app's, in
    /// seconds, and the request's id.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// A log of requests. Cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    lines: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").finish_non_exhaustive()
    }
}

impl AccessLog {
    /// Appends to a file. At 64 MiB it is renamed to `NAME.1`, what has that
    /// name to `NAME.2`, and so on; five are kept. If another program renames
    /// it, a new one is begun.
    ///
    /// # Errors
    /// When the file cannot be opened, or no thread be started.
    pub fn to_file(path: impl Into<PathBuf>, format: AccessLogFormat) -> io::Result<Self> {
        let mut file = LogFile::open(path.into(), FILE_MAX)?;
        Self::to(format, move |lines| file.append(lines))
    }

    /// Passes lines to `write`, several at once, each with its line feed. It is
    /// called on a thread of the log's own and may block.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn to(
        format: AccessLogFormat,
        write: impl FnMut(&str) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(WAITING_MAX);
        let lost = Arc::<AtomicU64>::default();
        let writer = Writer {
            waiting,
            format,
            lost: Arc::clone(&lost),
            warned: None,
        };
        std::thread::Builder::new()
            .name("monolite-access-log".into())
            .spawn(move || writer.run(write))?;
        Ok(Self { lines, lost })
    }
}

/// What a line says.
pub(crate) struct Entry {
    at: SystemTime,
    client: IpAddr,
    method: Method,
    host: String,
    path: String,
    version: Version,
    status: StatusCode,
    bytes: u64,
    total: Duration,
    times: Option<Times>,
    id: String,
    user_agent: String,
    referrer: String,
}

/// Where the time of an answered request went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// Until it was sent to the app.
    pub(crate) held: Duration,
    /// From then until the head of the app's answer.
    pub(crate) app: Duration,
}

/// The line of a request, logged when it is dropped: at the end of its response.
pub(crate) struct Record {
    log: AccessLog,
    start: Instant,
    entry: Option<Entry>,
}

impl Record {
    pub(crate) fn new<B>(log: &AccessLog, request: &Request<B>, client: IpAddr, id: &str) -> Self {
        let headers = request.headers();
        let referrer = text(headers, header::REFERER);
        let entry = Entry {
            at: SystemTime::now(),
            client,
            method: request.method().clone(),
            host: text(headers, header::HOST),
            path: cut(request.uri().path()).to_owned(),
            version: request.version(),
            status: StatusCode::OK,
            bytes: 0,
            total: Duration::ZERO,
            times: None,
            id: id.to_owned(),
            user_agent: text(headers, header::USER_AGENT),
            referrer: without_query(&referrer).to_owned(),
        };
        Self {
            log: log.clone(),
            start: Instant::now(),
            entry: Some(entry),
        }
    }

    pub(crate) fn answered(&mut self, status: StatusCode, times: Option<Times>) {
        if let Some(entry) = &mut self.entry {
            entry.status = status;
            entry.times = times;
        }
    }

    pub(crate) fn add_bytes(&mut self, bytes: usize) {
        if let Some(entry) = &mut self.entry {
            entry.bytes += bytes as u64;
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(mut entry) = self.entry.take() {
            entry.total = self.start.elapsed();
            if self.log.lines.try_send(entry).is_err() {
                self.log.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> String {
    let value = headers.get(name).map(|value| value.as_bytes());
    let text = String::from_utf8_lossy(value.unwrap_or_default());
    cut(&text).to_owned()
}

/// The first [`FIELD_MAX`] bytes.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(FIELD_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

impl Entry {
    fn write(&self, out: &mut String, format: AccessLogFormat) {
        // Writing to a string cannot fail.
        let _ = match format {
            AccessLogFormat::Text => self.write_text(out),
            AccessLogFormat::Json => self.write_json(out),
        };
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::try_from(self.at).unwrap_or_default()
    }

    fn write_text(&self, out: &mut String) -> fmt::Result {
        let seconds = |time: Option<Duration>| match time {
            Some(time) => format!("{:.3}", time.as_secs_f64()),
            None => "-".to_owned(),
        };
        writeln!(
            out,
            "{} - - [{}] \"{} {} {:?}\" {} {} \"{}\" \"{}\" {} {} {} {}",
            self.client,
            self.timestamp().strftime("%d/%b/%Y:%H:%M:%S +0000"),
            Quoted(self.method.as_str()),
            Quoted(&self.path),
            self.version,
            self.status.as_u16(),
            self.bytes,
            Quoted(or_dash(&self.referrer)),
            Quoted(or_dash(&self.user_agent)),
            seconds(Some(self.total)),
            seconds(self.times.map(|times| times.held)),
            seconds(self.times.map(|times| times.app)),
            Quoted(or_dash(&self.id)),
        )
    }

    fn write_json(&self, out: &mut String) -> fmt::Result {
        let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        let line = json!({
            "time": format!("{:.3}", self.timestamp()),
            "client": self.client.to_string(),
            "method": self.method.as_str(),
            "host": self.host,
            "path": self.path,
            "version": format!("{:?}", self.version),
            "status": self.status.as_u16(),
            "bytes": self.bytes,
            "total_ms": ms(self.total),
            "held_ms": self.times.map(|times| ms(times.held)),
            "app_ms": self.times.map(|times| ms(times.app)),
            "id": self.id,
            "user_agent": self.user_agent,
            "referrer": self.referrer,
        });
        writeln!(out, "{line}")
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Text within quotes: nothing in it ends the field or the line.
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() || c == '"' || c == '\\' {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    write!(f, "\\x{byte:02X}")?;
                }
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

struct Writer {
    waiting: Receiver<Entry>,
    format: AccessLogFormat,
    lost: Arc<AtomicU64>,
    warned: Option<Instant>,
}

impl Writer {
    /// Until the last handle of the log is dropped.
    fn run(mut self, mut write: impl FnMut(&str) -> io::Result<()>) {
        let mut lines = String::new();
        while let Ok(first) = self.waiting.recv() {
            let mut count = 1;
            first.write(&mut lines, self.format);
            while lines.len() < BATCH
                && let Ok(next) = self.waiting.try_recv()
            {
                next.write(&mut lines, self.format);
                count += 1;
            }
            let written = write(&lines);
            if written.is_err() {
                self.lost.fetch_add(count, Ordering::Relaxed);
            }
            self.warn(written.err());
            lines.clear();
        }
    }

    fn warn(&mut self, error: Option<io::Error>) {
        let is_due = self
            .warned
            .is_none_or(|warned| warned.elapsed() >= WARNING_INTERVAL);
        if !is_due || self.lost.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.warned = Some(Instant::now());
        let lost = self.lost.swap(0, Ordering::Relaxed);
        match error {
            Some(error) => tracing::warn!(lost, %error, "lines of the access log are lost"),
            None => tracing::warn!(lost, "lines of the access log are lost: too many at once"),
        }
    }
}

/// The current file.
struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    max: u64,
}

impl LogFile {
    fn open(path: PathBuf, max: u64) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let metadata = file.metadata()?;
        // A terminal or a pipe is never renamed, nor is /dev/stderr, whatever it leads to.
        let is_ours = !path.starts_with("/dev") && !path.starts_with("/proc");
        let max = match metadata.is_file() && is_ours {
            true => max,
            false => u64::MAX,
        };
        let bytes = metadata.len();
        Ok(Self {
            path,
            file,
            bytes,
            max,
        })
    }

    fn append(&mut self, lines: &str) -> io::Result<()> {
        if self.bytes >= self.max {
            self.rotate()?;
        } else if !self.is_current()? {
            self.reopen()?;
        }
        self.file.write_all(lines.as_bytes())?;
        self.bytes += lines.len() as u64;
        Ok(())
    }

    /// False if somebody renamed or removed the file.
    fn is_current(&self) -> io::Result<bool> {
        let open = self.file.metadata()?;
        Ok(std::fs::metadata(&self.path)
            .is_ok_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino())))
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(self.path.clone(), self.max)?;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..FILES_KEPT).rev() {
            rename_if_there(&self.numbered(number), &self.numbered(number + 1))?;
        }
        rename_if_there(&self.path, &self.numbered(1))?;
        self.reopen()
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_796_000_000_250),
            client: "203.0.113.9".parse().unwrap(),
            method: Method::GET,
            host: "shop.example".into(),
            path: "/a\"b".into(),
            version: Version::HTTP_11,
            status: StatusCode::NOT_FOUND,
            bytes: 12,
            total: Duration::from_micros(12_345),
            times: Some(Times {
                held: Duration::from_millis(1),
                app: Duration::from_millis(11),
            }),
            id: "1f".into(),
            user_agent: "curl\n\"x\"".into(),
            referrer: String::new(),
        }
    }

    #[test]
    fn a_line_is_one_line_in_both_formats() {
        let mut line = String::new();
        entry().write(&mut line, AccessLogFormat::Text);
        assert_eq!(
            line,
            "203.0.113.9 - - [30/Nov/2026:00:53:20 +0000] \"GET /a\\x22b HTTP/1.1\" 404 12 \"-\" \
             \"curl\\x0A\\x22x\\x22\" 0.012 0.001 0.011 1f\n"
        );
        line.clear();
        entry().write(&mut line, AccessLogFormat::Json);
        assert_eq!(line.matches('\n').count(), 1);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["time"], "2026-11-30T00:53:20.250Z");
        assert_eq!(json["user_agent"], "curl\n\"x\"");
        assert_eq!(json["app_ms"], 11.0);
        assert_eq!(json["total_ms"], 12.345);
    }

    #[test]
    fn a_file_is_rotated_by_size_and_by_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let mut file = LogFile::open(path.clone(), 10).unwrap();
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        for number in 0..9 {
            file.append(&format!("line number {number}\n")).unwrap();
        }
        assert_eq!(read("access.log"), "line number 8\n");
        assert_eq!(read("access.log.1"), "line number 7\n");
        assert_eq!(read("access.log.5"), "line number 3\n");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 6);
        let mut file = LogFile::open(path.clone(), 1000).unwrap();
        std::fs::rename(&path, directory.path().join("moved")).unwrap();
        file.append("after\n").unwrap();
        assert_eq!(read("access.log"), "after\n");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_no_request_waits() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let log = AccessLog::to(AccessLogFormat::Json, move |_| {
            let _ = wait.recv();
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap();
        let record = || Record {
            log: log.clone(),
            start: Instant::now(),
            entry: Some(entry()),
        };
        // The writer holds a batch of some, the queue its bound.
        for _ in 0..3 * WAITING_MAX {
            drop(record());
        }
        assert!(log.lost.load(Ordering::Relaxed) > 0);
        drop(go);
    }

    #[test]
    fn queries_and_long_texts_are_cut() {
        let mut request = Request::new(());
        *request.uri_mut() = "/reset?token=secret".parse().unwrap();
        let referrer = "https://a.example/x?token=secret".parse().unwrap();
        request.headers_mut().insert(header::REFERER, referrer);
        let agent = "é".repeat(2000).parse().unwrap();
        request.headers_mut().insert(header::USER_AGENT, agent);
        let (sender, receiver) = std::sync::mpsc::channel();
        let log = AccessLog::to(AccessLogFormat::Json, move |lines| {
            sender.send(lines.to_owned()).map_err(io::Error::other)
        })
        .unwrap();
        drop(Record::new(&log, &request, "::1".parse().unwrap(), "id"));
        let line = receiver.recv().unwrap();
        assert!(!line.contains("secret"), "{line}");
        assert!(line.len() < 2000, "{line}");
        assert!(line.contains("\"path\":\"/reset\""), "{line}");
    }
}
