//! From a backup, compressed or not, back to a database file.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use monolite_platform::cancel::Cancel;
use monolite_platform::durable::Temporary;

use super::check::{Check, check};
use super::compression::{Compression, decoder};
use super::error::{Error, Result};
use super::file::to_temporary;
use crate::Progress;

/// How every database file begins.
const HEADER: &[u8] = b"SQLite format 3\0";
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Bytes written at a time.
const STEP: usize = 1 << 20;

/// How a file that holds a database is compressed, by how it begins; `None`: it is
/// neither a database nor compressed.
///
/// # Errors
/// It cannot be read.
pub fn compression_of(path: &Path) -> Result<Option<Compression>> {
    let mut first = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(HEADER.len() as u64).read_to_end(&mut first));
    read.map_err(|error| Error::file("read", path, error))?;
    Ok(if first == HEADER {
        Some(Compression::None)
    } else if first.starts_with(ZSTD) {
        Some(Compression::Zstd)
    } else if first.starts_with(GZIP) {
        Some(Compression::Gzip)
    } else {
        None
    })
}

/// Writes the database in the backup `from` to a temporary file, checks it with
/// `quick_check`, and has the disk keep it. Its name is up to the caller.
///
/// # Errors
/// It is no backup, it is damaged, or the file cannot be written.
pub fn unpack(
    from: &Path,
    temporary: &Temporary,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<()> {
    let compression = compression_of(from)?;
    match compression {
        None => return Err(Error::NotADatabase { path: from.into() }),
        // It may have a log.
        Some(Compression::None) => drop(to_temporary(from, temporary, progress, cancel)?),
        Some(compression) => {
            progress.begin("unpacking", None);
            let reading = |error| Error::file("read", from, error);
            let writing = |error| Error::file("write", temporary.target(), error);
            let file = File::open(from).map_err(reading)?;
            let mut content = decoder(file, compression).map_err(reading)?;
            let mut out = temporary.file();
            let mut buffer = vec![0; STEP];
            let mut is_first = true;
            loop {
                cancel.check()?;
                let read = match content.read(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read.map_err(reading)?,
                };
                if std::mem::take(&mut is_first)
                    && !buffer[..read].starts_with(&HEADER[..read.min(16)])
                {
                    return Err(Error::NotADatabase { path: from.into() });
                }
                if read == 0 {
                    break;
                }
                out.write_all(&buffer[..read]).map_err(writing)?;
            }
            out.sync_all().map_err(writing)?;
        }
    }
    check(from, temporary, Check::Quick, progress, cancel)
}
