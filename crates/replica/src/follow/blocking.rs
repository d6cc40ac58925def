//! Long work on a thread of its own, which leaves the processor and the disk to
//! the app.
//!
//! Reading, compressing and writing a whole database takes a core for seconds,
//! and leaves the kernel with more to write than the disk can take at once. A
//! commit of the app would wait for both.

use std::fs::File;
use std::io::{self, Write};

use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// The niceness of the thread: the app gets the core first.
const NICE: i32 = 10;
/// Bytes of a snapshot that may wait in the kernel to be written to the disk.
pub(super) const UNWRITTEN_MAX: usize = 8 << 20;

/// Runs `work` on a thread of its own.
pub(super) async fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (done, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("replica-snapshot".into());
    let started = thread.spawn(move || {
        let _ = done.send(work());
    });
    started.map_err(|error| Error::file("a thread".as_ref(), error))?;
    answer.await.unwrap_or_else(|_| {
        let error = io::Error::other("it ended unexpectedly");
        Err(Error::file("a thread".as_ref(), error))
    })
}

/// Lowers the priority of this thread, for good. Not for frequent work that has to
/// end before a log can be reset.
pub(super) fn lower_priority() {
    // The work is right without it, too. On Linux it is for this thread alone.
    let _ = rustix::process::setpriority_process(None, NICE);
}

/// A file that is written to the disk piece by piece.
pub(super) struct PacedFile {
    file: File,
    unwritten: usize,
    unwritten_max: usize,
}

impl PacedFile {
    /// `unwritten_max`: bytes that may wait in the kernel.
    pub(super) fn new(file: File, unwritten_max: usize) -> Self {
        Self {
            file,
            unwritten: 0,
            unwritten_max,
        }
    }
}

impl Write for PacedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unwritten += written;
        if self.unwritten >= self.unwritten_max {
            self.unwritten = 0;
            self.file.sync_data()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
