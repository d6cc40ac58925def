//! The file that a database is restored into, before it has its name.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::place::folder;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A temporary file next to its final name; removed with this value, unless it
/// was renamed. As long as its process lives it holds a lock on it, by which
/// the next restore recognizes what a dead process left.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    file: Arc<File>,
    named: bool,
}

impl Temporary {
    /// Makes an empty file next to `out`, and removes what restores to `out` left
    /// that died. Whoever may read and write `old` may do so with this one.
    pub(super) fn next_to(out: &Path, old: Option<&Metadata>) -> io::Result<Self> {
        sweep(out);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let mut name = prefix(out);
            name.push(format!("{}", std::process::id()));
            if number > 0 {
                name.push(format!("-{number}"));
            }
            let path = out.with_file_name(name);
            let mut options = OpenOptions::new();
            if old.is_some() {
                options.mode(0o600); // Until it is known for whom.
            }
            let made = options.read(true).write(true).create_new(true).open(&path);
            let file = match made {
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
                Ok(()) | Err(_) => {}
            }
            let made = Self {
                path,
                file: Arc::new(file),
                named: false,
            };
            made.give_to(out, old)?;
            return Ok(made);
        }
    }

    /// Makes it whose `old` is; without one, and if root restores, whose the
    /// folder is: the app must be able to write there.
    fn give_to(&self, out: &Path, old: Option<&Metadata>) -> io::Result<()> {
        let (uid, gid) = match old {
            Some(old) => (old.uid(), old.gid()),
            None if rustix::process::geteuid().is_root() => {
                let dir = std::fs::metadata(folder(out))?;
                (dir.uid(), dir.gid())
            }
            None => return Ok(()),
        };
        let now = self.file.metadata()?;
        if (now.uid(), now.gid()) != (uid, gid) {
            // Who may not give it away keeps it.
            let _ = std::os::unix::fs::fchown(&*self.file, Some(uid), Some(gid));
        }
        match old {
            Some(old) => self.file.set_permissions(old.permissions()),
            None => Ok(()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Says that it has another name now.
    pub(super) fn has_become(mut self) {
        self.named = true;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.named {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The names of temporary files for `out`, before the number of their process.
fn prefix(out: &Path) -> OsString {
    let mut name = out.file_name().unwrap_or(OsStr::new("database")).to_owned();
    name.push(".restoring-");
    name
}

fn sweep(out: &Path) {
    let prefix = prefix(out);
    let Ok(entries) = std::fs::read_dir(folder(out)) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name
            .as_encoded_bytes()
            .starts_with(prefix.as_encoded_bytes())
        {
            continue;
        }
        let left = File::open(entry.path());
        // Who cannot lock it leaves it: it is somebody's.
        if left.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
