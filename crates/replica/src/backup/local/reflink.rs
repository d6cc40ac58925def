//! Cloning the file of a database that this process may have open, and what
//! else needs a raw descriptor of it.
//!
//! A process that closes any descriptor of a file loses all its POSIX locks on
//! that file, those of its SQLite connections among them. The kernel tells
//! processes apart by their table of descriptors, so that is done by a
//! thread that has left the common table for one of its own. (A child process
//! would do as well, but whoever reaps children in this one would meet it.)

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::ioctl_ficlone;
use rustix::io::{close, fcntl_getfd};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Makes the existing file `to` share all bytes of the database file `from`,
/// which must be the one that has this device and inode.
///
/// # Errors
/// [`io::ErrorKind::StaleNetworkFileHandle`] if `from` is another file by now;
/// else mostly that the filesystem cannot, or that this process may not leave
/// its table (as in a container with seccomp rules).
pub(super) fn clone_file(from: &Path, id: (u64, u64), to: &Path) -> io::Result<()> {
    with_own_table("backup-clone", || clone_here(from, id, to))
}

/// Does `work`, which may open and close databases, in a thread `name` that has
/// a table of descriptors of its own.
///
/// # Errors
/// As `work`; or the thread may not have its own table.
pub(super) fn with_own_table<T: Send>(
    name: &str,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name(name.into())
            .spawn_scoped(scope, || {
                leave_the_table()?;
                work()
            })?
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}

/// Device and inode.
pub(super) fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn clone_here(from: &Path, expected: (u64, u64), to: &Path) -> io::Result<()> {
    let from = File::open(from)?;
    if id(&from.metadata()?) != expected {
        return Err(io::ErrorKind::StaleNetworkFileHandle.into());
    }
    let to = OpenOptions::new().write(true).open(to)?;
    Ok(ioctl_ficlone(&to, &from)?)
}

/// Gives this thread a table of its own, without what was in the common one:
/// a socket closed there would else stay open until this thread ends.
#[allow(unsafe_code, reason = "the table is this thread's alone from then on")]
fn leave_the_table() -> io::Result<()> {
    // SAFETY: this thread has just begun and ends soon. It uses no descriptor
    // made by others, and hands out none of its own.
    unsafe { unshare_unsafe(UnshareFlags::FILES) }?;
    // Without /proc they are closed when the thread ends.
    let Ok(listing) = std::fs::read_dir("/proc/thread-self/fd") else {
        return Ok(());
    };
    let inherited: Vec<i32> = listing
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        // Those of the process's input, output and errors do no harm.
        .filter(|fd| *fd > 2)
        .collect();
    for fd in inherited {
        // SAFETY: in this table nobody else uses it, nor does this thread from
        // here on. The listing's own is closed by now, and passed over.
        unsafe {
            if fcntl_getfd(BorrowedFd::borrow_raw(fd)).is_ok() {
                close(fd);
            }
        }
    }
    Ok(())
}
