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
/// After the app's end, its last words may still be on their way this long.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Passes an app's output on and remembers its end.
#[derive(Default)]
pub(crate) struct Tail {
    kept: Arc<Mutex<VecDeque<u8>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Tail {
    /// Passes `from` on until its end. A thread of its own: when our own
    /// output is not read, the app waits as it would without us.
    pub(crate) fn follow(
        &mut self,
        mut from: impl Read + Send + 'static,
        stream: Stream,
        to: &Output,
    ) {
        let (kept, to) = (Arc::clone(&self.kept), Arc::clone(to));
        let thread = std::thread::Builder::new()
            .name("monolite-output".into())
            .spawn(move || {
                let mut buffer = [0; 8 << 10];
                loop {
                    match from.read(&mut buffer) {
                        Ok(0) => return,
                        Ok(n) => {
                            let bytes = buffer.get(..n).unwrap_or_default();
                            keep(&kept, bytes);
                            to(stream, bytes);
                        }
                        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(_) => return,
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
        tail.follow(std::io::Cursor::new(text.clone()), Stream::Stdout, &output);
        let last = tail.last_lines().await;
        assert_eq!(last.lines().count(), LINES);
        assert!(last.starts_with("line 4980\n") && last.ends_with("line 4999"));
        assert_eq!(*passed.lock().unwrap(), text.as_bytes());
    }
}
