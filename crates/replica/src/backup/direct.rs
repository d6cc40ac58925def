//! Writing a file past the page cache.
//!
//! That is faster for what is not read again soon, it does not push the app's
//! pages out of memory, and the disk is busy from the first megabyte on, not
//! only when the file is synced.

use std::fs::File;
use std::io::{self, Write};

use super::buffer::{ALIGNMENT, Buffer};

/// A file written from its start to its end. Where the filesystem cannot do
/// without the page cache, it is used.
#[derive(Debug)]
pub(super) struct DirectFile<'a> {
    file: &'a File,
    direct: bool,
    /// What does not fill a block yet.
    pending: Buffer,
    bytes: u64,
}

impl<'a> DirectFile<'a> {
    /// The file is empty, and nobody else writes it.
    pub(super) fn new(file: &'a File) -> Self {
        Self {
            file,
            direct: set_direct(file, true).is_ok(),
            pending: Buffer::new(),
            bytes: 0,
        }
    }

    /// Writes what is left, and has the disk keep all of it. Says how many
    /// bytes there are.
    pub(super) fn finish(mut self) -> io::Result<u64> {
        if self.direct {
            self.pending.pad();
        }
        self.write_pending()?;
        if self.direct {
            self.file.set_len(self.bytes)?;
            // Whoever reads it does so as any other.
            set_direct(self.file, false)?;
        }
        self.file.sync_all()?;
        Ok(self.bytes)
    }

    fn write_pending(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.pending.bytes().len() {
            written += write(
                self.file,
                &mut self.direct,
                &self.pending.bytes()[written..],
            )?;
        }
        self.pending.clear();
        Ok(())
    }
}

impl Write for DirectFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let whole = bytes.len() - bytes.len() % ALIGNMENT;
        let aligned = bytes.as_ptr().addr().is_multiple_of(ALIGNMENT);
        let taken = if self.pending.is_empty() && whole > 0 && aligned {
            write(self.file, &mut self.direct, &bytes[..whole])?
        } else {
            let taken = self.pending.fill(bytes);
            if self.pending.is_full() {
                self.write_pending()?;
            }
            taken
        };
        self.bytes += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(mut file: &File, direct: &mut bool, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            // A disk of larger blocks, or the rest of a write cut short.
            Err(error) if *direct && error.kind() == io::ErrorKind::InvalidInput => {
                set_direct(file, false)?;
                *direct = false;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

#[cfg(target_os = "linux")]
fn set_direct(file: &File, on: bool) -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, on);
    Ok(fcntl_setfl(file, flags)?)
}

#[cfg(not(target_os = "linux"))]
fn set_direct(_: &File, _: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
