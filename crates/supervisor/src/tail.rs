//! The end of an app's output, kept for the moment it dies.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::{Output, Stream};

/// Bytes kept.
const BYTES: usize = 8 << 10;
/// Lines shown.
const LINES: usize = 20;
/// A line that is longer is passed on in pieces of this size where lines get a prefix.
const LINE_MAX: usize = 64 << 10;
/// After the app's end, its last words may still be on their way this long.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Passes an app's output on and remembers its end.
#[derive(Default)]
pub(crate) struct Tail {
    kept: Arc<Mutex<VecDeque<u8>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Tail {
    /// Passes `from` on until its end; with a prefix, line by line. A thread of its own: when our
    /// own output is not read, the app waits as it would without us.
    pub(crate) fn follow(
        &mut self,
        mut from: impl Read + Send + 'static,
        stream: Stream,
        to: &Output,
        prefix: Option<&str>,
    ) {
        let mut lines = prefix.map(Lines::new);
        let (kept, to) = (Arc::clone(&self.kept), Arc::clone(to));
        let thread = std::thread::Builder::new()
            .name("monolite-output".into())
            .spawn(move || {
                let mut buffer = [0; 8 << 10];
                loop {
                    let read = match from.read(&mut buffer) {
                        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                        read => read.unwrap_or(0),
                    };
                    let bytes = buffer.get(..read).unwrap_or_default();
                    keep(&kept, bytes);
                    match &mut lines {
                        Some(lines) if read == 0 => lines.end(|line| to(stream, line)),
                        Some(lines) => lines.take(bytes, |line| to(stream, line)),
                        None if read == 0 => {}
                        None => to(stream, bytes),
                    }
                    if read == 0 {
                        return;
                    }
                }
            });
        self.threads.extend(thread.ok());
    }

    /// The last lines, once the app has ended.
    pub(crate) async fn last_lines(&self) -> String {
        let until = Instant::now() + LAST_WORDS;
        while Instant::now() < until && !self.threads.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(kept.make_contiguous());
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(LINES);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

/// Bytes as whole lines, each with a prefix. Processes that write at the same time do not write into
/// each other's lines.
struct Lines {
    prefix: Vec<u8>,
    /// Of the line that has not ended, with its prefix.
    begun: Vec<u8>,
}

impl Lines {
    fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.as_bytes().to_vec(),
            begun: Vec::new(),
        }
    }

    fn take(&mut self, bytes: &[u8], mut to: impl FnMut(&[u8])) {
        let mut whole = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.begun.is_empty() {
                self.begun.extend_from_slice(&self.prefix);
            }
            self.begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                whole.append(&mut self.begun);
            } else if self.begun.len() >= LINE_MAX {
                whole.append(&mut self.begun);
                whole.push(b'\n');
            }
        }
        if !whole.is_empty() {
            to(&whole);
        }
    }

    /// The last line may have no end.
    fn end(&mut self, mut to: impl FnMut(&[u8])) {
        if !self.begun.is_empty() {
            self.begun.push(b'\n');
            to(&self.begun);
            self.begun.clear();
        }
    }
}

fn keep(kept: &Mutex<VecDeque<u8>>, bytes: &[u8]) {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.extend(bytes);
    let excess = kept.len().saturating_sub(BYTES);
    kept.drain(..excess);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_end_and_passes_everything_on() {
        let passed = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&passed);
        let output: Output =
            Arc::new(move |_, bytes| sink.lock().unwrap().extend_from_slice(bytes));
        let text: String = (0..5000).map(|n| format!("line {n}\n")).collect();
        let mut tail = Tail::default();
        tail.follow(
            std::io::Cursor::new(text.clone()),
            Stream::Stdout,
            &output,
            None,
        );
        let last = tail.last_lines().await;
        assert_eq!(last.lines().count(), LINES);
        assert!(last.starts_with("line 4980\n") && last.ends_with("line 4999"));
        assert_eq!(*passed.lock().unwrap(), text.as_bytes());
    }

    #[test]
    fn a_prefix_is_before_each_line_however_the_bytes_come() {
        let text = b"one\n\ntwo\xff\r\nthree";
        for size in 1..=text.len() {
            let mut lines = Lines::new("web | ");
            let mut out = Vec::new();
            for piece in text.chunks(size) {
                lines.take(piece, |line| {
                    assert!(line.ends_with(b"\n"));
                    out.extend_from_slice(line);
                });
            }
            lines.end(|line| out.extend_from_slice(line));
            lines.end(|line| out.extend_from_slice(line));
            let expected = b"web | one\nweb | \nweb | two\xff\r\nweb | three\n";
            assert_eq!(out, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut lines = Lines::new("w | ");
        let mut written = 0;
        for _ in 0..100 {
            lines.take(&[b'x'; 8 << 10], |line| {
                assert!(line.len() <= LINE_MAX + (8 << 10));
                written += line.len();
            });
        }
        assert!(written >= 90 * (8 << 10) && lines.begun.len() < LINE_MAX);
    }
}
