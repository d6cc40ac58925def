//! Long work, beside an app that has other things to do.
//!
//! Reading, compressing and writing a whole database takes a core for seconds,
//! and leaves the kernel with more to write than the disk can take at once.
//! Whoever commits meanwhile waits for both.

use std::fs::File;
use std::io::{self, Write};

use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// The work's niceness: a core is the app's, if it wants it.
const NICE: i32 = 10;
/// Bytes of a snapshot that may wait to be written to the disk.
pub(super) const UNWRITTEN: usize = 8 << 20;

/// Runs `work` on a thread of its own.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (done, answer) = oneshot::channel();
    let thread = std::thread::Builder::new().name("monolite-aside".into());
    let started = thread.spawn(move || {
        let _ = done.send(work());
    });
    started.map_err(|error| Error::file("a thread".as_ref(), error))?;
    answer.await.unwrap_or(Err(Error::Closed))
}

/// Lets others go first, on this thread, from now on. Not for what has to be
/// read from a database before its log can be reset, more than once a day.
pub(super) fn step_back() {
    // Without it the work is as good. On Linux it is the thread's alone.
    let _ = rustix::process::setpriority_process(None, NICE);
}

/// A file that is written to the disk piece by piece.
pub(super) struct Paced {
    file: File,
    unwritten: usize,
    most: usize,
}

impl Paced {
    /// `most`: bytes that may wait to be written to the disk.
    pub(super) fn new(file: File, most: usize) -> Self {
        Self {
            file,
            unwritten: 0,
            most,
        }
    }
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unwritten += written;
        if self.unwritten >= self.most {
            self.unwritten = 0;
            self.file.sync_data()?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
