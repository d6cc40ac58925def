//! Bytes that wait for their reader: in a file without a name, which the system
//! removes however this process ends. Files are written and read on threads that
//! may block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::JoinHandle;

/// Bytes that are read back at once.
const PIECE: usize = 128 << 10;

/// Where files may be made, and how much they may hold together.
pub(crate) struct SpoolDir {
    directory: PathBuf,
    /// Bytes in all files together.
    total_max: u64,
    total: AtomicU64,
}

/// One file that grows, by one writer.
pub(crate) struct Spool {
    file: Arc<File>,
    /// What was written whole.
    bytes: AtomicU64,
    charged: AtomicU64,
    directory: Arc<SpoolDir>,
}

/// Reads what a [`Spool`] held when it was finished.
pub(crate) struct SpoolReader {
    spool: Spool,
    at: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl SpoolDir {
    pub(crate) fn new(directory: PathBuf, total_max: u64) -> Arc<Self> {
        Arc::new(Self {
            directory,
            total_max,
            total: AtomicU64::new(0),
        })
    }

    fn create(directory: &Path) -> io::Result<File> {
        tempfile::tempfile_in(directory)
    }

    /// Counts `bytes` more; false if there is no space for them.
    fn charge(&self, bytes: u64) -> bool {
        let total = self.total.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let fits = total <= self.total_max;
        if !fits {
            self.total.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

impl Spool {
    pub(crate) async fn create(directory: &Arc<SpoolDir>) -> io::Result<Self> {
        let path = directory.directory.clone();
        let file = blocking(move || SpoolDir::create(&path)).await?;
        Ok(Self {
            file: Arc::new(file),
            bytes: AtomicU64::new(0),
            charged: AtomicU64::new(0),
            directory: Arc::clone(directory),
        })
    }

    /// Appends `parts`; false, with nothing written, if the files hold too much
    /// already.
    pub(crate) async fn append(&self, parts: Vec<Bytes>) -> io::Result<bool> {
        let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if !self.directory.charge(bytes) {
            return Ok(false);
        }
        self.charged.fetch_add(bytes, Ordering::Relaxed);
        let (file, mut at) = (Arc::clone(&self.file), self.len());
        blocking(move || {
            for part in parts {
                file.write_all_at(&part, at)?;
                at += part.len() as u64;
            }
            Ok(())
        })
        .await?;
        self.bytes.fetch_add(bytes, Ordering::Release);
        Ok(true)
    }

    pub(crate) fn len(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Up to [`PIECE`] bytes from `at` on.
    pub(crate) fn read(&self, at: u64) -> JoinHandle<io::Result<Bytes>> {
        let file = Arc::clone(&self.file);
        let left = self.len().saturating_sub(at);
        let length = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; length];
            file.read_exact_at(&mut piece, at)?;
            Ok(piece.into())
        })
    }

    pub(crate) fn into_reader(self) -> SpoolReader {
        SpoolReader {
            spool: self,
            at: 0,
            reading: None,
        }
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let charged = self.charged.load(Ordering::Relaxed);
        self.directory.total.fetch_sub(charged, Ordering::Relaxed);
    }
}

impl SpoolReader {
    /// Bytes that were not read yet.
    pub(crate) fn left(&self) -> u64 {
        self.spool.len() - self.at
    }

    /// The next piece; `None` at the end.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        if self.left() == 0 {
            return Poll::Ready(None);
        }
        let reading = self.reading.get_or_insert_with(|| self.spool.read(self.at));
        let read = ready!(Pin::new(reading).poll(context));
        self.reading = None;
        let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Ok(piece) = &read {
            self.at += piece.len() as u64;
        }
        Poll::Ready(Some(read))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn what_was_written_is_read_and_counted_until_it_is_dropped() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = SpoolDir::new(temporary.path().to_owned(), 300_000);
        let spool = Spool::create(&directory).await.unwrap();
        let parts = vec![Bytes::from(vec![1; 200_000]), Bytes::from_static(b"end")];
        assert!(spool.append(parts).await.unwrap());
        assert!(
            !spool
                .append(vec![Bytes::from(vec![2; 100_000])])
                .await
                .unwrap()
        );
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
        let mut reader = spool.into_reader();
        assert_eq!(reader.left(), 200_003);
        let mut read = Vec::new();
        while let Some(piece) = poll_fn(|context| reader.poll_next(context)).await {
            read.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(read.len(), 200_003);
        assert!(read.ends_with(b"\x01end"));
        assert_eq!(directory.total.load(Ordering::Relaxed), 200_003);
        drop(reader);
        assert_eq!(directory.total.load(Ordering::Relaxed), 0);
    }
}
