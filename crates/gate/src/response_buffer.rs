//! Reads the app's response ahead of a slow client, so that the client keeps no
//! worker of the app waiting: into memory, then into a file.
//!
//! Nothing is delayed: what comes from the app is there for the client at once.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::admission::Admission;
use crate::spool::Spool;

/// Bytes of one response in memory; more go into a file.
const MEMORY_MAX: usize = 256 << 10;
/// Unread bytes of one response in its file; then the app has to wait.
const FILE_MAX: u64 = 1 << 30;

/// Where a response comes from, piece by piece.
pub(crate) trait Source: Send + 'static {
    /// The next piece; `None` at the end.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>>;
}

/// The client's end. Dropping it ends the reading from the app.
pub(crate) struct BufferedBody {
    shared: Arc<Shared>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    task: JoinHandle<()>,
    /// Bytes to come, where that is known.
    left: Option<u64>,
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    admission: Arc<Admission>,
}

/// First what is in memory, then what is in the file.
#[derive(Default)]
struct State {
    memory: VecDeque<Bytes>,
    memory_bytes: usize,
    spool: Option<Arc<Spool>>,
    /// Bytes of the file that the client has.
    spool_read: u64,
    end: Option<io::Result<()>>,
    client: Option<Waker>,
    app: Option<Waker>,
}

impl BufferedBody {
    /// Reads `source` to its end, in a task of its own. `left` is its length,
    /// where that is known.
    pub(crate) fn start(
        admission: &Arc<Admission>,
        source: impl Source,
        left: Option<u64>,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            admission: Arc::clone(admission),
        });
        let task = tokio::spawn(Arc::clone(&shared).pump(source));
        Self {
            shared,
            reading: None,
            task,
            left,
            ended: false,
        }
    }

    pub(crate) fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Bytes>>> {
        let mut state = self.shared.lock();
        if let Some(piece) = state.memory.pop_front() {
            state.memory_bytes -= piece.len();
            self.shared.admission.give_bytes_back(piece.len());
            wake(&mut state.app);
            drop(state);
            return Poll::Ready(Some(Ok(self.took(piece))));
        }
        if self.reading.is_none()
            && let Some(spool) = &state.spool
            && spool.len() > state.spool_read
        {
            self.reading = Some(spool.read(state.spool_read));
        }
        if let Some(reading) = &mut self.reading {
            let Poll::Ready(read) = Pin::new(reading).poll(context) else {
                return Poll::Pending;
            };
            self.reading = None;
            let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
            let Ok(piece) = read else {
                return Poll::Ready(Some(read));
            };
            state.spool_read += piece.len() as u64;
            wake(&mut state.app);
            drop(state);
            return Poll::Ready(Some(Ok(self.took(piece))));
        }
        match state.end.take() {
            Some(end) => {
                drop(state);
                self.ended = true;
                Poll::Ready(end.err().map(Err))
            }
            None if self.ended => Poll::Ready(None),
            None => {
                state.client = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn took(&mut self, piece: Bytes) -> Bytes {
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(piece.len() as u64);
        }
        piece
    }

    /// Bytes to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.left
    }
}

impl Drop for BufferedBody {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pump(self: Arc<Self>, mut source: impl Source) {
        let end = loop {
            match poll_fn(|context| source.poll_piece(context)).await {
                Some(Ok(piece)) => self.put(piece).await,
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            }
        };
        drop(source);
        let mut state = self.lock();
        state.end = Some(end);
        wake(&mut state.client);
    }

    /// Keeps a piece: in memory, else in the file, else once there is space.
    async fn put(&self, piece: Bytes) {
        if self.put_in_memory(&piece) {
            return;
        }
        if let Some(spool) = self.spool().await {
            match spool.append(vec![piece.clone()]).await {
                Ok(true) => return wake(&mut self.lock().client),
                Ok(false) => {}
                Err(error) => self.admission.warn_of_spool(&error),
            }
        }
        // The app waits for the client, as without a buffer.
        poll_fn(|context| {
            let mut state = self.lock();
            if state.is_empty() {
                return Poll::Ready(());
            }
            state.app = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        let mut state = self.lock();
        state.spool = None;
        self.push(&mut state, piece);
    }

    fn put_in_memory(&self, piece: &Bytes) -> bool {
        let mut state = self.lock();
        let is_next = state
            .spool
            .as_ref()
            .is_none_or(|spool| spool.len() == state.spool_read);
        if !is_next || state.memory_bytes + piece.len() > MEMORY_MAX {
            return false;
        }
        if !self.admission.keep_bytes(piece.len()) {
            self.admission.give_bytes_back(piece.len());
            return false;
        }
        self.admission.give_bytes_back(piece.len());
        // A file that was read gives its space back.
        state.spool = None;
        state.spool_read = 0;
        self.push(&mut state, piece.clone());
        true
    }

    fn push(&self, state: &mut State, piece: Bytes) {
        // Counted, whether there is space or not: it is there.
        self.admission.keep_bytes(piece.len());
        state.memory_bytes += piece.len();
        state.memory.push_back(piece);
        wake(&mut state.client);
    }

    /// The file, if it may take more.
    async fn spool(&self) -> Option<Arc<Spool>> {
        let directory = self.admission.spool.as_ref()?;
        {
            let state = self.lock();
            if let Some(spool) = &state.spool {
                let is_full = spool.len() - state.spool_read >= FILE_MAX;
                return (!is_full).then(|| Arc::clone(spool));
            }
        }
        match Spool::create(directory).await {
            Ok(spool) => {
                let spool = Arc::new(spool);
                let mut state = self.lock();
                state.spool = Some(Arc::clone(&spool));
                state.spool_read = 0;
                Some(spool)
            }
            Err(error) => {
                self.admission.warn_of_spool(&error);
                None
            }
        }
    }
}

impl State {
    /// The client has all that came.
    fn is_empty(&self) -> bool {
        let spool_is_read = |spool: &Arc<Spool>| spool.len() == self.spool_read;
        self.memory.is_empty() && self.spool.as_ref().is_none_or(spool_is_read)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.admission.give_bytes_back(state.memory_bytes);
    }
}
