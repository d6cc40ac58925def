//! Making one file of several.

use std::fs::File;
use std::io::{BufWriter, Cursor, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use monolite_ltx::{Decoder, Header, Txid};
use monolite_platform::durable::{Options, Scratch};

use super::due::Merge;
use crate::error::{Error, Result};
use crate::storage::{FileInfo, Replica, StorageError};
use monolite_platform::failpoint;

/// Temporary files of merging.
const MERGING: Options = Options::new("merging");
/// Up to so many bytes are merged in memory.
const IN_MEMORY: u64 = 16 << 20;
/// So many inputs are fetched at a time.
const FETCHES: usize = 8;
/// Bytes written to a temporary file at a time.
const STEP: usize = 256 << 10;

/// Fetches the files, merges them and stores the outcome. Returns it with the
/// time of its state, and its content if that is in memory.
///
/// The outcome depends on nothing but the inputs. Whoever does it once more, or
/// at the same time, stores the same, or finds it there.
pub(super) async fn merge(
    replica: &Replica,
    merge: &Merge,
    kept: Vec<Option<Bytes>>,
    scratch_dir: &Path,
) -> Result<(FileInfo, i64, Option<Bytes>)> {
    let total: u64 = merge.files.iter().map(|file| file.size).sum();
    let name = format!("{} (merging)", replica.name());
    let (stored, time_ms, body) = if total <= IN_MEMORY {
        let inputs = fetch_small(replica, &merge.files, kept).await?;
        failpoint::reached("merge.fetched");
        let readers = inputs.into_iter().map(Cursor::new).collect();
        let merged = blocking(scratch_dir, move || into(readers, Vec::new(), &name));
        let (bytes, header) = merged.await?;
        failpoint::reached("merge.merged");
        let body = Bytes::from(bytes);
        let stored = replica.put(merge.level, &header, body.clone()).await;
        (
            settle(replica, merge.level, &header, stored).await?,
            header.timestamp_ms,
            Some(body),
        )
    } else {
        let inputs = fetch_large(replica, &merge.files, scratch_dir).await?;
        failpoint::reached("merge.fetched");
        let dir = scratch_dir.to_owned();
        let merged = blocking(scratch_dir, move || {
            let at = |error| Error::file(&dir, error);
            let outcome = Scratch::create(&dir, &MERGING).map_err(at)?;
            let writer = BufWriter::with_capacity(STEP, outcome.file());
            let (writer, header) = into(inputs, writer, &name)?;
            writer
                .into_inner()
                .map_err(|error| at(error.into_error()))?;
            Ok((outcome, header))
        });
        let (outcome, header) = merged.await?;
        failpoint::reached("merge.merged");
        let sent = Arc::new(|_| ());
        let put = replica.put_file(merge.level, &header, outcome.path(), sent);
        let stored = put.await;
        (
            settle(replica, merge.level, &header, stored).await?,
            header.timestamp_ms,
            None,
        )
    };
    failpoint::reached("merge.stored");
    Ok((stored, time_ms, body))
}

/// Which of the files are not what their names say, whole and sound; with what is
/// wrong.
pub(super) async fn damaged(
    replica: &Replica,
    files: &[FileInfo],
    scratch_dir: &Path,
) -> Result<Vec<(FileInfo, String)>> {
    let mut damaged = Vec::new();
    for file in files {
        let name = replica.name_of(file);
        let content = fetch_large(replica, std::slice::from_ref(file), scratch_dir).await;
        let sound = match content {
            Ok(mut parts) => {
                let (name, range) = (name.clone(), (file.min, file.max));
                let read = move || match parts.pop() {
                    Some(part) => {
                        read_through(part, range).map_err(|error| Error::ltx(name, error))
                    }
                    None => Ok(()),
                };
                blocking(scratch_dir, read).await
            }
            Err(error) => Err(error),
        };
        match sound {
            Ok(()) => {}
            Err(error @ Error::Ltx { .. }) => damaged.push((file.clone(), error.to_string())),
            Err(Error::Storage(error)) if error.is_damage() => {
                damaged.push((file.clone(), error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(damaged)
}

/// Reads a file to its end, with all its checksums.
fn read_through(file: impl Read, range: (Txid, Txid)) -> monolite_ltx::Result<()> {
    let mut decoder = Decoder::new(std::io::BufReader::new(file))?;
    let header = decoder.header();
    if (header.min, header.max) != range {
        return Err(monolite_ltx::Error::Refused {
            what: "read it under this name",
            why: "it holds other transactions",
        });
    }
    let mut page = Vec::new();
    while decoder.next_page(&mut page)?.is_some() {}
    decoder.finish().map(|_| ())
}

/// That another file is there already is well, if it leads through the same
/// states: of other files that hold the same, another machine has made it.
async fn settle(
    replica: &Replica,
    level: u8,
    header: &Header,
    stored: std::result::Result<FileInfo, StorageError>,
) -> Result<FileInfo> {
    let error = match stored {
        Err(error @ StorageError::AlreadyExists { .. }) => error,
        other => return Ok(other?),
    };
    let same = |file: &&FileInfo| file.min == header.min && file.max == header.max;
    let there = replica.list(level).await?;
    let Some(file) = there.iter().find(same) else {
        return Err(error.into());
    };
    let other = replica.header(file).await?;
    let of = |header: &Header| (header.page_size, header.commit, header.min, header.max);
    if of(&other) != of(header) || other.checksums != header.checksums {
        return Err(error.into());
    }
    Ok(file.clone())
}

fn into<R: Read, W: Write>(inputs: Vec<R>, out: W, name: &str) -> Result<(W, Header)> {
    let merged = inputs
        .into_iter()
        .map(Decoder::new)
        .collect::<monolite_ltx::Result<Vec<_>>>()
        .and_then(|inputs| monolite_ltx::merge(inputs, out, |_| ()));
    let (out, header, _trailer, _bytes) = merged.map_err(|source| Error::ltx(name, source))?;
    Ok((out, header))
}

async fn fetch_small(
    replica: &Replica,
    files: &[FileInfo],
    kept: Vec<Option<Bytes>>,
) -> Result<Vec<Bytes>> {
    let fetches: Vec<_> = files
        .iter()
        .cloned()
        .zip(kept)
        .map(|(file, kept)| (replica.clone(), file, kept))
        .map(async |(replica, file, kept)| match kept {
            Some(body) => Ok(body),
            None => replica.get_bytes(&file).await,
        })
        .collect();
    let fetched = futures_util::stream::iter(fetches).buffered(FETCHES);
    Ok(fetched.try_collect().await?)
}

/// All in one temporary file, so that however many they are, one descriptor is
/// enough.
async fn fetch_large(
    replica: &Replica,
    files: &[FileInfo],
    scratch_dir: &Path,
) -> Result<Vec<Part>> {
    let dir = scratch_dir.to_owned();
    let unnamed = move || {
        let made = Scratch::create(&dir, &MERGING).and_then(Scratch::into_unnamed);
        made.map_err(|error| Error::file(&dir, error))
    };
    let all = Arc::new(blocking(scratch_dir, unnamed).await?);
    let mut fetches = Vec::with_capacity(files.len());
    let mut start = 0;
    for file in files {
        let (replica, dir) = (replica.clone(), scratch_dir.to_owned());
        fetches.push(fetch_part(replica, file.clone(), all.clone(), start, dir));
        // What is stored is never smaller than its content.
        start += file.size;
    }
    let fetched = futures_util::stream::iter(fetches).buffered(FETCHES);
    fetched.try_collect().await
}

async fn fetch_part(
    replica: Replica,
    file: FileInfo,
    all: Arc<File>,
    at: u64,
    dir: PathBuf,
) -> Result<Part> {
    let mut body = replica.get(&file).await?;
    let mut end = at;
    while let Some(bytes) = body.next().await? {
        let (all, offset, of) = (all.clone(), end, dir.clone());
        end += bytes.len() as u64;
        let write = move || {
            let written = all.write_all_at(&bytes, offset);
            written.map_err(|error| Error::file(&of, error))
        };
        blocking(&dir, write).await?;
    }
    Ok(Part { all, at, end })
}

/// A part of a file, read from its beginning to its end.
struct Part {
    all: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let length = into.len().min(left);
        let read = self.all.read_at(&mut into[..length], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Runs what may block where it may.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::file(path, std::io::Error::other(error))),
    }
}
