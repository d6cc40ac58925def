//! Monolite's own log, on standard error; the app's output is not touched.
//!
//! Nobody may hold up the run by not reading: lines go through a bounded queue
//! to a thread of their own, and are dropped when it is full.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::mpsc::{self, SyncSender};
use std::time::Duration;

use monolite_app::settings::LogFormat;
use tracing_subscriber::filter::LevelFilter;

/// Begins to log. `MONOLITE_LOG_LEVEL` may be error, warn, info, debug, trace.
pub(crate) fn start(format: LogFormat) -> anyhow::Result<()> {
    let level = match std::env::var("MONOLITE_LOG_LEVEL") {
        Err(_) => LevelFilter::INFO,
        Ok(level) => level.parse().map_err(|_| {
            anyhow::anyhow!(
                "MONOLITE_LOG_LEVEL is `{level}`; it is one of error, warn, info, debug, trace, off"
            )
        })?,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(Stderr::default)
        .log_internal_errors(false)
        .with_target(false);
    match format {
        LogFormat::Text => builder
            .with_ansi(crate::print::in_colour(&std::io::stderr()))
            .compact()
            .init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

/// Lines that may wait to be written.
const LINES: usize = 1024;
/// At the end of the run, for the last of them.
const LAST_WORDS: Duration = Duration::from_millis(500);

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// The way to standard error that never waits and never fails.
#[derive(Default)]
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(writer) = writer() {
            let _ = writer.try_send(Message::Line(line.to_vec()));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes `text` at the end of a run, and waits a little until it is written.
pub(crate) fn last_words(text: &str) {
    let _ = Stderr.write(text.as_bytes());
    let (done, written) = mpsc::sync_channel(1);
    if let Some(writer) = writer()
        && writer.try_send(Message::Flush(done)).is_ok()
    {
        let _ = written.recv_timeout(LAST_WORDS);
    }
}

fn writer() -> Option<&'static SyncSender<Message>> {
    static WRITER: OnceLock<Option<SyncSender<Message>>> = OnceLock::new();
    let start = || {
        let (sender, messages) = mpsc::sync_channel(LINES);
        let thread = std::thread::Builder::new().name("monolite-log".into());
        let started = thread.spawn(move || {
            for message in messages {
                match message {
                    Message::Line(line) => drop(io::stderr().write_all(&line)),
                    Message::Flush(done) => drop(done.send(())),
                }
            }
        });
        started.is_ok().then_some(sender)
    };
    WRITER.get_or_init(start).as_ref()
}
