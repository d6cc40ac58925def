//! The last transaction this volume set out to send, known after a crash.
//!
//! Written before a file is sent. A replica that is further along was written
//! by somebody else, as by the machine this volume is a copy of: then what is
//! here may be older, and must not be sent as if it were newer.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use monolite_ltx::{Checksum, Txid};

/// Before `txid` is sent: returns once the disk has it.
pub(super) fn write(path: &Path, txid: Txid) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    let bytes = txid.0.to_be_bytes();
    let check = Checksum::of_page(0, &bytes).get().to_be_bytes();
    file.write_all_at(&[bytes, check].concat(), 0)?;
    file.sync_data()
}

/// What was written last; `None` if nothing, or nothing that can be trusted.
pub(super) fn read(path: &Path) -> io::Result<Option<Txid>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (Some((txid, rest)), true) = (bytes.split_first_chunk::<8>(), bytes.len() == 16) else {
        return Ok(None);
    };
    let sound = Checksum::of_page(0, txid).get().to_be_bytes() == *rest;
    Ok(sound.then(|| Txid(u64::from_be_bytes(*txid))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_torn_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sent");
        assert_eq!(read(&path).unwrap(), None);
        write(&path, Txid(7)).unwrap();
        write(&path, Txid(8)).unwrap();
        assert_eq!(read(&path).unwrap(), Some(Txid(8)));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[3] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path).unwrap(), None);
        std::fs::write(&path, &bytes[..9]).unwrap();
        assert_eq!(read(&path).unwrap(), None);
    }
}
