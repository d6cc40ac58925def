//! Downloading the files of a plan, and decoding them.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures_util::TryStreamExt;
use futures_util::stream::FuturesUnordered;
use monolite_ltx::{Checksum, DatabaseChecksums, Decoder, Header};
use tokio::sync::{mpsc, oneshot};

use super::error::RestoreError;
use super::pages::Pages;
use crate::progress::Progress;
use crate::storage::{FileInfo, Replica};

/// Files up to this size are fetched whole before they are decoded.
const SMALL: u64 = 2 << 20;
/// Pieces of a larger file that wait to be decoded.
const AHEAD: usize = 16;
/// Bytes of adjoining pages that are passed on at once.
const RUN: usize = 1 << 20;

/// What a file says of the database after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct After {
    pub(super) commit: u32,
    pub(super) timestamp_ms: i64,
    pub(super) checksum: Option<Checksum>,
}

/// Fetches all files, `parallel` at a time, and hands their pages to `pages`.
/// Returns what each says, in the order of the files.
pub(super) async fn fetch(
    replica: &Replica,
    files: &[FileInfo],
    pages: &Arc<Pages>,
    parallel: usize,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<After>, RestoreError> {
    let mut after: Vec<Option<After>> = vec![None; files.len()];
    // The oldest is the whole database and takes longest: it begins at once.
    // Then the newest, so that fewer pages are written that are not to stay.
    let mut waiting = (0..1)
        .chain((1..files.len()).rev())
        .filter(|at| *at < files.len());
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < parallel.max(1)
            && let Some(at) = waiting.next()
        {
            let job = Job {
                replica: replica.clone(),
                file: files[at].clone(),
                number: u32::try_from(at + 1).unwrap_or(u32::MAX),
                pages: pages.clone(),
                progress: progress.clone(),
            };
            running.push(async move { job.run().await.map(|after| (at, after)) });
        }
        match running.try_next().await? {
            Some((at, said)) => after[at] = Some(said),
            None => return Ok(after.into_iter().flatten().collect()),
        }
    }
}

struct Job {
    replica: Replica,
    file: FileInfo,
    number: u32,
    pages: Arc<Pages>,
    progress: Arc<dyn Progress>,
}

impl Job {
    async fn run(self) -> Result<After, RestoreError> {
        if self.file.size <= SMALL {
            let bytes = self.replica.get_bytes(&self.file).await?;
            self.progress.advance(self.file.size);
            return blocking(move || self.decode(bytes.reader())).await;
        }
        let mut body = self.replica.get(&self.file).await?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        let progress = self.progress.clone();
        let feed = async move {
            while let Some(bytes) = body.next().await? {
                progress.advance(bytes.len() as u64);
                // Whoever decodes has given up, and says why.
                if sender.send(bytes).await.is_err() {
                    break;
                }
            }
            drop(sender);
            Ok::<_, RestoreError>(())
        };
        let decode = on_a_thread(move || self.decode(Pieces::new(receiver)));
        // A download that broke is why the file ends early for the decoder.
        let (fed, decoded) = tokio::join!(feed, decode);
        fed?;
        decoded
    }

    fn decode(&self, reader: impl Read) -> Result<After, RestoreError> {
        let damaged = |source| {
            let name = self.replica.name_of(&self.file);
            RestoreError::Damaged { name, source }
        };
        let mut decoder = Decoder::new(reader).map_err(damaged)?;
        let header = *decoder.header();
        self.check(&header)?;
        let (mut page, mut run) = (Vec::new(), Vec::with_capacity(RUN));
        let (mut first, mut last) = (0, 0);
        while let Some(pgno) = decoder.next_page(&mut page).map_err(damaged)? {
            if pgno > self.pages.commit() {
                break; // `finish` reads the rest.
            }
            if run.is_empty() || !self.pages.adjoin(last, pgno) {
                self.flush(first, &mut run)?;
                first = pgno;
            }
            run.extend_from_slice(&page);
            last = pgno;
        }
        self.flush(first, &mut run)?;
        let (_, trailer) = decoder.finish().map_err(damaged)?;
        Ok(After {
            commit: header.commit,
            timestamp_ms: header.timestamp_ms,
            checksum: match header.checksums {
                DatabaseChecksums::Reserved { post, .. } => Some(post),
                DatabaseChecksums::Standard { .. } => trailer.post,
                DatabaseChecksums::None => None,
            },
        })
    }

    fn flush(&self, first: u32, run: &mut Vec<u8>) -> Result<(), RestoreError> {
        let taken = self.pages.take(self.number, first, run);
        run.clear();
        taken
    }

    /// A file is what its name says, and of the same database.
    fn check(&self, header: &Header) -> Result<(), RestoreError> {
        let found = if (header.min, header.max) != (self.file.min, self.file.max) {
            format!("transactions {} to {}", header.min, header.max)
        } else if header.page_size as usize != self.pages.page_size() {
            let here = self.pages.page_size();
            format!(
                "pages of {} bytes, where the newest file has {here}",
                header.page_size
            )
        } else {
            return Ok(());
        };
        let name = self.replica.name_of(&self.file);
        Err(RestoreError::Swapped { name, found })
    }
}

/// The pieces of a download, read one after the other.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Pieces {
    fn new(receiver: mpsc::Receiver<Bytes>) -> Self {
        let current = Bytes::new();
        Self { receiver, current }
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(bytes) => self.current = bytes,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.current.len());
        self.current.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}

/// Runs what may block where it may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, RestoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is going down.
        Err(_) => Err(RestoreError::Ended),
    }
}

/// Runs what waits for a download, which may itself need one of the threads for
/// what may block: those could all be taken by such as this.
async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, RestoreError> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("monolite-restore".into());
    let spawned = thread.spawn(move || {
        // Whoever waited may have given up.
        let _ = sender.send(work());
    });
    if let Err(error) = spawned {
        return Err(RestoreError::file(
            "start a thread for",
            Path::new("a download"),
            error,
        ));
    }
    receiver.await.unwrap_or(Err(RestoreError::Ended))
}
