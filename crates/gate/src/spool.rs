//! Bytes that wait for their reader: in a file without a name, which the system
//! removes however this process ends. Files are written and read on threads that
//! may block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
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
    /// The same, where the file system has less: half of what was free when the
    /// last file was made.
    space: AtomicU64,
    total: AtomicU64,
}

/// Bytes of files in a file system that is memory.
const IN_MEMORY_MAX: u64 = 32 << 20;

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
            space: AtomicU64::new(u64::MAX),
            total: AtomicU64::new(0),
        })
    }

    fn create(&self) -> io::Result<File> {
        let file = tempfile::tempfile_in(&self.directory)?;
        let free = rustix::fs::fstatvfs(&file)?;
        let half = free.f_bavail.saturating_mul(free.f_frsize) / 2;
        let space = if is_in_memory(&file) {
            half.min(IN_MEMORY_MAX)
        } else {
            // What the files hold is not free any more.
            half.saturating_add(self.total.load(Ordering::Relaxed) / 2)
        };
        self.space.store(space, Ordering::Relaxed);
        Ok(file)
    }

    /// Counts `bytes` more; false if there is no space for them.
    fn charge(&self, bytes: u64) -> bool {
        let total = self.total.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let fits = total <= self.total_max.min(self.space.load(Ordering::Relaxed));
        if !fits {
            self.total.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }
}

#[cfg(target_os = "linux")]
fn is_in_memory(file: &File) -> bool {
    /// `TMPFS_MAGIC` and `RAMFS_MAGIC` of linux/magic.h.
    const IN_MEMORY: [i128; 2] = [0x0102_1994, 0x8584_58f6];
    // Its type differs from one architecture to another.
    rustix::fs::fstatfs(file).is_ok_and(|system| IN_MEMORY.contains(&i128::from(system.f_type)))
}

#[cfg(not(target_os = "linux"))]
fn is_in_memory(_file: &File) -> bool {
    false
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
        let creating = Arc::clone(directory);
        let file = blocking(move || creating.create()).await?;
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
