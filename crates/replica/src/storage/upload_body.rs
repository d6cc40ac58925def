//! What is sent: bytes or a file, encrypted on the way if need be.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::encryption::{Encryptor, sealed_size};
use super::error::StorageError;

/// Bytes at the end of every LTX file: its checksums, by which its content is
/// known again.
pub(super) const TRAILER: usize = 16;

/// A body to be sent, read once from the beginning to the end. Reading it may
/// block.
#[derive(Debug)]
pub(super) struct UploadBody {
    plain: Plain,
    seal: Option<Seal>,
    size: u64,
}

#[derive(Debug)]
struct Seal {
    sealer: Encryptor,
    /// Sealed, and not asked for yet.
    ready: Vec<u8>,
    done: bool,
}

impl UploadBody {
    pub(super) fn bytes(bytes: Bytes) -> Self {
        let left = bytes.len() as u64;
        let from = From::Bytes(bytes);
        Self::new(Plain { from, left })
    }

    pub(super) fn file(path: &Path) -> Result<Self, StorageError> {
        let open = || {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            Ok((file, size))
        };
        let (file, left) = open().map_err(StorageError::io("read", path))?;
        let from = From::File(file, path.into());
        Ok(Self::new(Plain { from, left }))
    }

    fn new(plain: Plain) -> Self {
        Self {
            size: plain.left,
            plain,
            seal: None,
        }
    }

    /// Encrypts all that is read.
    pub(super) fn sealed(self, sealer: Encryptor) -> Self {
        let size = sealed_size(self.size);
        let seal = Seal {
            ready: sealer.head().into(),
            sealer,
            done: false,
        };
        Self {
            size,
            seal: Some(seal),
            ..self
        }
    }

    /// How many bytes will be stored.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The end of the content, before encryption.
    pub(super) fn trailer(&self) -> Result<Vec<u8>, StorageError> {
        self.plain.trailer()
    }

    /// The next `size` bytes to store; fewer only at the end.
    pub(super) fn next(&mut self, size: usize) -> Result<Bytes, StorageError> {
        let Some(seal) = &mut self.seal else {
            return self.plain.next(size);
        };
        while seal.ready.len() < size && !seal.done {
            let mut chunk = self.plain.next(Encryptor::CHUNK)?.to_vec();
            seal.done = self.plain.left == 0;
            seal.sealer
                .chunk(&mut chunk, seal.done)
                .ok_or_else(|| self.plain.failed(io::Error::other("too large to encrypt")))?;
            seal.ready.append(&mut chunk);
        }
        let rest = seal.ready.split_off(size.min(seal.ready.len()));
        Ok(std::mem::replace(&mut seal.ready, rest).into())
    }
}

#[derive(Debug)]
struct Plain {
    from: From,
    left: u64,
}

#[derive(Debug)]
enum From {
    /// What is left of them.
    Bytes(Bytes),
    File(File, PathBuf),
}

impl Plain {
    fn next(&mut self, size: usize) -> Result<Bytes, StorageError> {
        let size = size.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= size as u64;
        match &mut self.from {
            From::Bytes(bytes) => Ok(bytes.split_to(size)),
            From::File(file, _) => {
                let mut bytes = vec![0; size];
                file.read_exact(&mut bytes)
                    .map_err(|error| self.failed(error))?;
                Ok(bytes.into())
            }
        }
    }

    fn trailer(&self) -> Result<Vec<u8>, StorageError> {
        let length = TRAILER.min(usize::try_from(self.left).unwrap_or(TRAILER));
        match &self.from {
            From::Bytes(bytes) => Ok(bytes[bytes.len() - length..].into()),
            From::File(file, _) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, self.left - length as u64)
                    .map_err(|error| self.failed(error))?;
                Ok(bytes)
            }
        }
    }

    fn failed(&self, source: io::Error) -> StorageError {
        let path = match &self.from {
            From::Bytes(_) => Path::new("the body"),
            From::File(_, path) => path,
        };
        StorageError::io("read", path)(source)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn all(mut source: UploadBody, step: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let next = source.next(step).unwrap();
            if next.is_empty() {
                return bytes;
            }
            assert!(next.len() == step || bytes.len() + next.len() == source.size() as usize);
            bytes.extend(next);
        }
    }

    #[test]
    fn bytes_and_a_file_come_out_as_they_are() {
        let content: Vec<u8> = (0..100_u8).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, &content).unwrap();
        for step in [1, 7, 100, 1000] {
            let source = UploadBody::bytes(content.clone().into());
            assert_eq!((source.size(), source.trailer().unwrap().len()), (100, 16));
            assert_eq!(all(source, step), content);
            let source = UploadBody::file(&path).unwrap();
            assert_eq!(source.trailer().unwrap(), content[84..]);
            assert_eq!(all(source, step), content);
        }
    }

    #[test]
    fn a_file_that_shrinks_meanwhile_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [1; 100]).unwrap();
        let mut source = UploadBody::file(&path).unwrap();
        std::fs::write(&path, [1; 50]).unwrap();
        let error = source.next(100).unwrap_err().to_string();
        assert!(error.contains("cannot read"), "{error}");
    }
}
