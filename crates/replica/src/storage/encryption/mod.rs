//! Encryption before anything leaves the machine.
//!
//! A sealed file is `MLSEAL1\n`, 19 random bytes, and then chunks of 64 KiB of
//! plain bytes, each followed by its tag of 16; the last chunk may be shorter
//! and is the only one that may be empty. The cipher is XChaCha20-Poly1305 in
//! the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015): the
//! nonce of a chunk is the random bytes, its number as a big-endian u32, and 1
//! for the last chunk, else 0. So chunks cannot be left out, moved, or cut off.
//!
//! Each chunk also answers for the file's [`Label`], so that one file cannot
//! replace another.

use std::fmt;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{Tag, XNonce};

use super::error::StorageError;
use super::file_info::FileInfo;
use super::key::Key;

const MAGIC: &[u8; 8] = b"MLSEAL1\n";
const RANDOM: usize = 19;
const TAG: usize = 16;
/// Bytes before the first chunk.
pub(super) const HEAD: usize = MAGIC.len() + RANDOM;
/// Plain bytes in a chunk.
const CHUNK: usize = 64 * 1024;
/// Stored bytes of a chunk.
pub(super) const SEALED_CHUNK: usize = CHUNK + TAG;

/// What a sealed file answers for besides its bytes: which file of which
/// database it is, whatever the bucket, the prefix or the kind of store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label(Vec<u8>);

impl Label {
    pub(super) fn new(database: &str, file: &FileInfo) -> Self {
        let mut bytes = b"monolite sealed ltx\0".to_vec();
        bytes.extend(database.as_bytes());
        bytes.extend([0, file.level]);
        bytes.extend(file.min.0.to_be_bytes());
        bytes.extend(file.max.0.to_be_bytes());
        Self(bytes)
    }
}

/// The stored size of a file of `plain` bytes.
pub(super) fn sealed_size(plain: u64) -> u64 {
    let chunks = plain.div_ceil(CHUNK as u64).max(1);
    HEAD as u64 + plain + chunks * TAG as u64
}

/// The stored range of the last chunk of a file of `stored` bytes, and the
/// chunk's number.
pub(super) fn last_chunk(stored: u64) -> Option<(std::ops::Range<u64>, u32)> {
    let chunks = stored.checked_sub(HEAD as u64)?;
    let number = chunks
        .checked_sub(TAG as u64)?
        .div_ceil(SEALED_CHUNK as u64);
    let number = number.max(1) - 1;
    let start = HEAD as u64 + number * SEALED_CHUNK as u64;
    Some((start..stored, u32::try_from(number).ok()?))
}

fn nonce(random: &[u8; RANDOM], number: u32, last: bool) -> XNonce {
    let mut nonce = [0; 24];
    nonce[..RANDOM].copy_from_slice(random);
    nonce[RANDOM..23].copy_from_slice(&number.to_be_bytes());
    nonce[23] = last.into();
    nonce.into()
}

/// Encrypts one file, chunk by chunk.
pub(super) struct Encryptor {
    key: Key,
    label: Label,
    random: [u8; RANDOM],
    number: u32,
}

impl Encryptor {
    /// One with random bytes of its own.
    pub(super) fn new(key: &Key, label: Label) -> Result<Self, StorageError> {
        let mut random = [0; RANDOM];
        let source = rustls::crypto::ring::default_provider().secure_random;
        source.fill(&mut random).map_err(|_| {
            StorageError::setting("the encryption", "the system gave no random bytes")
        })?;
        let key = key.clone();
        Ok(Self {
            key,
            label,
            random,
            number: 0,
        })
    }

    /// How many plain bytes each call of [`Encryptor::chunk`] takes, but the last.
    pub(super) const CHUNK: usize = CHUNK;

    pub(super) fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..MAGIC.len()].copy_from_slice(MAGIC);
        head[MAGIC.len()..].copy_from_slice(&self.random);
        head
    }

    /// Encrypts the next chunk in place and appends its tag. `None` after
    /// 2^32 chunks, which are 256 TiB.
    pub(super) fn chunk(&mut self, chunk: &mut Vec<u8>, last: bool) -> Option<()> {
        let nonce = nonce(&self.random, self.number, last);
        self.number = self.number.checked_add(1)?;
        let cipher = self.key.cipher();
        cipher.encrypt_in_place(&nonce, &self.label.0, chunk).ok()
    }
}

impl fmt::Debug for Encryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryptor").finish_non_exhaustive()
    }
}

/// Decrypts one file, chunk by chunk, as its bytes arrive.
#[derive(Debug)]
pub(super) struct Decryptor {
    key: Key,
    /// What it may be labelled; one, after the first chunk.
    labels: Vec<Label>,
    random: Option<[u8; RANDOM]>,
    number: u32,
    buffer: Vec<u8>,
    ended: bool,
}

/// It is not what the key and the label say it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tampered;

impl Decryptor {
    pub(super) fn new(key: &Key, labels: Vec<Label>) -> Self {
        Self {
            key: key.clone(),
            labels,
            random: None,
            number: 0,
            buffer: Vec::new(),
            ended: false,
        }
    }

    /// Takes stored bytes; gives the plain bytes of the chunks that are
    /// certain not to be the last.
    pub(super) fn push(&mut self, stored: &[u8]) -> Result<Vec<u8>, Tampered> {
        self.buffer.extend_from_slice(stored);
        self.take_head()?;
        let mut plain = Vec::new();
        // One byte more: the last chunk is opened by `finish`.
        while self.random.is_some() && self.buffer.len() > SEALED_CHUNK {
            let rest = self.buffer.split_off(SEALED_CHUNK);
            let mut chunk = std::mem::replace(&mut self.buffer, rest);
            self.open(&mut chunk, false)?;
            plain.append(&mut chunk);
        }
        Ok(plain)
    }

    /// Opens the last chunk, when no more bytes come.
    pub(super) fn finish(&mut self) -> Result<Vec<u8>, Tampered> {
        self.take_head()?;
        if self.ended || self.random.is_none() {
            return Err(Tampered);
        }
        self.ended = true;
        let mut chunk = std::mem::take(&mut self.buffer);
        self.open(&mut chunk, true)?;
        Ok(chunk)
    }

    /// Opens one chunk of a file whose head is known, without those before it.
    pub(super) fn only(
        mut self,
        head: &[u8],
        number: u32,
        chunk: &[u8],
        last: bool,
    ) -> Result<Vec<u8>, Tampered> {
        self.buffer.extend_from_slice(head);
        self.take_head()?;
        self.number = number;
        let mut chunk = chunk.to_vec();
        self.open(&mut chunk, last)?;
        Ok(chunk)
    }

    fn take_head(&mut self) -> Result<(), Tampered> {
        if self.random.is_some() {
            return Ok(());
        }
        let known = self.buffer.len().min(MAGIC.len());
        if self.buffer[..known] != MAGIC[..known] {
            return Err(Tampered);
        }
        if let Some(head) = self.buffer.first_chunk::<HEAD>() {
            let mut random = [0; RANDOM];
            random.copy_from_slice(&head[MAGIC.len()..]);
            self.random = Some(random);
            self.buffer.drain(..HEAD);
        }
        Ok(())
    }

    fn open(&mut self, chunk: &mut Vec<u8>, last: bool) -> Result<(), Tampered> {
        let random = self.random.as_ref().ok_or(Tampered)?;
        let nonce = nonce(random, self.number, last);
        self.number = self.number.checked_add(1).ok_or(Tampered)?;
        let length = chunk.len().checked_sub(TAG).ok_or(Tampered)?;
        let tag = Tag::try_from(&chunk[length..]).map_err(|_| Tampered)?;
        chunk.truncate(length);
        // A failure leaves the chunk as it was: the tag is checked first.
        let opens = |label: &Label| {
            let buffer = chunk.as_mut_slice();
            let cipher = self.key.cipher();
            cipher.decrypt_inout_detached(&nonce, &label.0, buffer.into(), &tag)
        };
        let found = self.labels.iter().position({
            let mut opens = opens;
            move |label| opens(label).is_ok()
        });
        let label = self.labels.swap_remove(found.ok_or(Tampered)?);
        self.labels = vec![label];
        Ok(())
    }
}

#[cfg(test)]
mod tests;
