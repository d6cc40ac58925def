//! The one thread that writes.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use crate::batch::{Batcher, Counters};
use crate::connection::{self, Role, run_caught};
use crate::park::block_on;
use crate::queue::{Job, Queue, Taken};
use crate::{Error, Options, Result, Synchronous};

/// Least and longest time, in ns, that a lone caller polls for its answer before it
/// sleeps or yields; in between, three times what a transaction takes. Two threads
/// that wake each other for every write are slower than one that polls.
const SPIN_NS: (u64, u64) = (40_000, 150_000);

/// The caller's side of the writer thread.
pub(crate) struct Writer {
    queue: Arc<Queue>,
    pub(crate) counters: Arc<Counters>,
    thread: Mutex<Option<JoinHandle<Option<Connection>>>>,
    id: ThreadId,
    callers: AtomicUsize,
    /// Whether polling is worth it: the writer has a core of its own, and a commit
    /// does not wait for the disk.
    spins: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Writer {
    /// Opens the file on the writer thread; returns when it is ready.
    /// `committed` is raised after every transaction that kept something.
    pub(crate) fn start(
        path: &Path,
        options: &Options,
        committed: watch::Sender<u64>,
    ) -> Result<Self> {
        let queue = Arc::new(Queue::new(options.write_queue));
        let counters = Arc::new(Counters::default());
        let (ready_tx, ready_rx) = mpsc::sync_channel(1);
        let thread = {
            let (queue, counters) = (Arc::clone(&queue), Arc::clone(&counters));
            let (path, options) = (path.to_path_buf(), options.clone());
            std::thread::Builder::new()
                .name("monolite-writer".into())
                .spawn(move || {
                    // However this thread ends, every caller gets an answer.
                    let _abandon = Abandon(&queue);
                    // Opened here: its busy handler keeps state in this thread.
                    let opened = connection::open(&path, &options, Role::Writer);
                    let conn = match opened {
                        Ok(conn) => conn,
                        Err(error) => {
                            let _ = ready_tx.send(Err(error));
                            return None;
                        }
                    };
                    let mut batcher = match Batcher::new(&conn, &path, &options, &counters) {
                        Ok(batcher) => batcher,
                        Err(error) => {
                            let _ = ready_tx.send(Err(error));
                            return None;
                        }
                    };
                    if ready_tx.send(Ok(())).is_ok() {
                        serve(&conn, &mut batcher, &queue, &options, &committed);
                    }
                    drop(batcher);
                    Some(conn)
                })
                .map_err(|source| Error::Io {
                    what: "start the writer thread",
                    source,
                })?
        };
        ready_rx.recv().map_err(|_| Error::Closed)??;
        Ok(Self {
            queue,
            counters,
            id: thread.thread().id(),
            callers: AtomicUsize::new(0),
            thread: Mutex::new(Some(thread)),
            spins: options.synchronous != Synchronous::Full
                && std::thread::available_parallelism().is_ok_and(|n| n.get() > 1),
        })
    }

    /// Queues a closure; the receiver yields its answer.
    pub(crate) fn submit<T, F>(&self, closure: F) -> Result<oneshot::Receiver<Result<T>>>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.submit_then(closure, move |result| {
            // A caller that went away does not undo its write.
            let _ = reply.send(result);
        })?;
        Ok(answer)
    }

    /// Queues a closure; `then` is given its answer, on the writer's thread.
    pub(crate) fn submit_then<T, F, A>(&self, closure: F, then: A) -> Result<()>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        A: FnOnce(Result<T>) + Send + 'static,
        T: Send + 'static,
    {
        self.queue.push(Box::new(Call {
            closure: Some(closure),
            result: None,
            then,
        }))
    }

    /// True on the thread that would have to answer.
    pub(crate) fn is_this_thread(&self) -> bool {
        self.id == std::thread::current().id()
    }

    /// Waits for an answer on this thread.
    pub(crate) fn wait<T>(&self, mut answer: oneshot::Receiver<Result<T>>) -> Result<T> {
        match self.spin(&mut answer) {
            Some(result) => result,
            None => block_on(answer).unwrap_or(Err(Error::Closed)),
        }
    }

    /// Polls for the answer for a moment, if there is no other caller: at
    /// `synchronous=NORMAL` a commit is over sooner than a thread is asleep. With
    /// other callers it would take a core from their threads.
    pub(crate) fn spin<T>(&self, answer: &mut oneshot::Receiver<Result<T>>) -> Option<Result<T>> {
        if !self.spins || self.callers.load(Ordering::Relaxed) != 1 {
            return None;
        }
        let recent_ns = self.counters.recent_ns.load(Ordering::Relaxed);
        let spin_ns = recent_ns.saturating_mul(3).clamp(SPIN_NS.0, SPIN_NS.1);
        let until = Instant::now() + Duration::from_nanos(spin_ns);
        while Instant::now() < until {
            match answer.try_recv() {
                Ok(result) => return Some(result),
                Err(oneshot::error::TryRecvError::Empty) => std::hint::spin_loop(),
                Err(oneshot::error::TryRecvError::Closed) => return Some(Err(Error::Closed)),
            }
        }
        None
    }

    /// Counts a caller from before its write is queued until it has its answer.
    pub(crate) fn enter(&self) -> impl Drop + '_ {
        struct Caller<'w>(&'w AtomicUsize);
        impl Drop for Caller<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.callers.fetch_add(1, Ordering::Relaxed);
        Caller(&self.callers)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.queue.in_flight()
    }

    /// Refuses further writes. Those queued are still run and answered.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    /// Closes, and waits until the file is closed too. Close all other connections
    /// before: of those that close at the same moment, none may checkpoint.
    pub(crate) fn join(&self) {
        self.close();
        // Locked while joining: a second caller waits for the first.
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // The connection, if there is one, is closed by this drop.
            drop(thread.join());
        }
    }
}

/// Abandons the queue when dropped.
struct Abandon<'q>(&'q Queue);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

fn serve(
    conn: &Connection,
    batcher: &mut Batcher<'_>,
    queue: &Queue,
    options: &Options,
    committed: &watch::Sender<u64>,
) {
    // It may fail: the statistics are then only older.
    let optimize = |what: &str| {
        if options.optimize_every.is_some() {
            let _ = conn.execute_batch(what);
        }
    };
    // 0x10: reads a sample, however large the tables are.
    optimize("PRAGMA optimize = 0x10012");
    let mut optimize_due: Option<Instant> = None;
    let mut jobs: VecDeque<Box<dyn Job>> = VecDeque::new();
    loop {
        if jobs.is_empty() {
            match queue.take(&mut jobs, optimize_due) {
                Taken::Jobs => {}
                Taken::Closed => break,
                Taken::Idle => {
                    optimize("PRAGMA optimize = 0x12");
                    optimize_due = None;
                    continue;
                }
            }
        }
        if batcher.run(&mut jobs, queue) {
            if optimize_due.is_none() {
                optimize_due = options
                    .optimize_every
                    .and_then(|every| Instant::now().checked_add(every));
            }
            if committed.receiver_count() > 0 {
                committed.send_modify(|count| *count += 1);
            }
        }
    }
    optimize("PRAGMA optimize = 0x12");
}

struct Call<F, A, T> {
    closure: Option<F>,
    result: Option<Result<T>>,
    then: A,
}

impl<F, A, T> Job for Call<F, A, T>
where
    F: FnOnce(&Connection) -> Result<T> + Send,
    A: FnOnce(Result<T>) + Send,
    T: Send,
{
    fn run(&mut self, conn: &Connection) -> bool {
        let Some(closure) = self.closure.take() else {
            return false;
        };
        let result = run_caught(closure, conn);
        let keep = result.is_ok();
        self.result = Some(result);
        keep
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        let result = match (failure, self.result) {
            (Some(failure), _) => Err(failure),
            (None, Some(result)) => result,
            (None, None) => Err(Error::Closed),
        };
        (self.then)(result);
    }

    fn failure_text(&self) -> Option<String> {
        match &self.result {
            Some(Err(error)) => Some(error.to_string()),
            _ => None,
        }
    }
}
