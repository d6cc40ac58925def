//! Temporary files.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// How they are called, before the number of the process.
const PREFIX: &str = "monolite-merging-";

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A temporary file that can be opened by its name; removed with this value,
/// or by the next one that is made if the process died.
#[derive(Debug)]
pub(super) struct Named {
    path: PathBuf,
    file: File,
}

impl Named {
    pub(super) fn new(dir: &Path) -> io::Result<Self> {
        sweep(dir);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("{PREFIX}{}-{number}", std::process::id()));
            let mut options = OpenOptions::new();
            let file = match options.read(true).write(true).create_new(true).open(&path) {
                Ok(file) => file,
                // Of another process with our number, in another container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Somebody sweeps, and takes it for a dead one's.
                Err(Errno::WOULDBLOCK) => continue,
                Ok(()) if file.metadata()?.nlink() == 0 => continue,
                // Not every filesystem can.
                Ok(()) | Err(_) => return Ok(Self { path, file }),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A temporary file without a name.
pub(super) fn unnamed(dir: &Path) -> io::Result<File> {
    let named = Named::new(dir)?;
    named.file.try_clone()
}

/// Removes what processes left that died: nobody holds a lock on it.
fn sweep(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else {
            continue;
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
