//! Writing the file, and getting it onto the disk meanwhile.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::error::RestoreError;

/// The disk is sent to work after so many bytes. Left to the system, most of
/// them would wait for the end, and we for the disk.
const SYNC_EVERY: u64 = 32 << 20;

/// The file that is restored into.
#[derive(Debug)]
pub(super) struct Output {
    file: Arc<File>,
    path: PathBuf,
    size: u64,
    written: AtomicU64,
    syncer: Option<Syncer>,
    wake: Option<SyncSender<()>>,
}

type Syncer = JoinHandle<io::Result<()>>;

/// Whether a file is to survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// Once it is finished.
    Synced,
    /// It is removed anyway.
    Fleeting,
}

impl Output {
    /// `path` is what the file is to become, of `size` bytes. The space is reserved
    /// at once: a disk that is too full is found out now.
    pub(super) fn new(
        file: &File,
        path: PathBuf,
        size: u64,
        durability: Durability,
    ) -> Result<Self, RestoreError> {
        let file = file.try_clone();
        let file = Arc::new(file.map_err(|error| failed(path.clone(), size, error))?);
        let (syncer, wake) = match durability {
            Durability::Fleeting => (None, None),
            Durability::Synced => {
                let (wake, woken) = sync_channel(1);
                let file = file.clone();
                let thread = std::thread::Builder::new().name("monolite-restore".into());
                let spawned = thread.spawn(move || sync_when(&woken, &file));
                let syncer = spawned.map_err(|error| failed(path.clone(), size, error))?;
                (Some(syncer), Some(wake))
            }
        };
        let output = Self {
            file,
            path,
            size,
            written: AtomicU64::new(0),
            syncer,
            wake,
        };
        output.take_room()?;
        Ok(output)
    }

    fn take_room(&self) -> Result<(), RestoreError> {
        let flags = rustix::fs::FallocateFlags::empty();
        if self.size > 0 {
            match rustix::fs::fallocate(&*self.file, flags, 0, self.size) {
                // The filesystem cannot: the space is reserved by writing.
                Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                Err(error) => return Err(self.failed(error.into())),
            }
        }
        let sized = self.file.set_len(self.size);
        sized.map_err(|error| self.failed(error))
    }

    pub(super) fn write(&self, bytes: &[u8], at: u64) -> Result<(), RestoreError> {
        let written = self.file.write_all_at(bytes, at);
        written.map_err(|error| self.failed(error))?;
        let length = bytes.len() as u64;
        let before = self.written.fetch_add(length, Ordering::Relaxed);
        if before / SYNC_EVERY != (before + length) / SYNC_EVERY {
            // If it is at work still, it will see to these as well later.
            let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
        }
        Ok(())
    }

    /// Returns once all is on the disk.
    pub(super) fn sync(self) -> Result<(), RestoreError> {
        drop(self.wake);
        let synced = match self.syncer.map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => self.file.sync_all(),
            // A write error is reported once only.
            Some(Ok(Err(error))) => Err(error),
            Some(Err(_)) => return Err(RestoreError::Ended),
        };
        synced.map_err(|error| failed(self.path, self.size, error))
    }

    fn failed(&self, error: io::Error) -> RestoreError {
        failed(self.path.clone(), self.size, error)
    }
}

fn failed(path: PathBuf, size: u64, source: io::Error) -> RestoreError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            RestoreError::DiskFull { path, needed: size }
        }
        _ => {
            let what = "write";
            RestoreError::File { what, path, source }
        }
    }
}

fn sync_when(woken: &Receiver<()>, file: &File) -> io::Result<()> {
    while woken.recv().is_ok() {
        file.sync_data()?;
    }
    Ok(())
}
