//! A pool of read-only connections that never waits for the writer.
//!
//! A blocking caller borrows a connection and reads on its own thread; an
//! async caller's closure runs on one of the pool's threads, so that nothing
//! blocks the runtime.
//!
//! A free connection is taken without touching shared state, so that threads do not
//! contend for a counter at every read. Only when none is free does a caller wait,
//! and only then does whoever returns one notify. No wake-up is lost: the waiter
//! counts itself *before* it looks again, the other looks at the count *after* it
//! returned the connection, and both put a full fence in between.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, mpsc};

use rusqlite::Connection;
use tokio::sync::{Notify, oneshot};

use crate::connection::{self, FileId, Role, run_caught};
use crate::park::block_on;
use crate::{Error, Options, Result};

pub(crate) struct Readers {
    shared: Arc<Shared>,
    threads: OnceLock<mpsc::Sender<Task>>,
}

struct Shared {
    /// `None` until first used, and again after a close.
    slots: Vec<Mutex<Option<Connection>>>,
    /// Callers that found no slot free, and reads queued for the threads.
    waiting: AtomicUsize,
    freed: Notify,
    closed: AtomicBool,
    path: PathBuf,
    file: Option<FileId>,
    options: Options,
}

type Task = Box<dyn FnOnce(&Shared) + Send>;

thread_local! {
    /// The slot this thread had last: its pages are in this core's cache.
    static LAST_SLOT: Cell<usize> = const { Cell::new(usize::MAX) };
    /// The pool this thread is reading from, by its address; 0 for none.
    static READING: Cell<usize> = const { Cell::new(0) };
}

impl Readers {
    pub(crate) fn open(path: &Path, file: Option<FileId>, options: &Options) -> Result<Self> {
        let count = options.readers.max(1);
        let slots: Vec<_> = (0..count).map(|_| Mutex::new(None)).collect();
        // One is opened now, so that a file that cannot be read fails here.
        if let Some(slot) = slots.first() {
            *lock(slot) = Some(connection::open(path, options, Role::Reader(file))?);
        }
        Ok(Self {
            shared: Arc::new(Shared {
                slots,
                waiting: AtomicUsize::new(0),
                freed: Notify::new(),
                closed: AtomicBool::new(false),
                path: path.into(),
                file,
                options: options.clone(),
            }),
            threads: OnceLock::new(),
        })
    }

    pub(crate) fn read_blocking<T>(
        &self,
        closure: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        if READING.get() == self.shared.id() {
            return Err(Error::Nested("read"));
        }
        self.shared.run(self.shared.borrow()?, closure)
    }

    /// On this thread, if a connection is free; else the closure comes back.
    pub(crate) fn try_read<T, F>(&self, closure: F) -> Result<Result<T>, F>
    where
        F: FnOnce(&Connection) -> Result<T>,
    {
        if READING.get() == self.shared.id() {
            return Ok(Err(Error::Nested("read")));
        }
        if self.shared.waiting.load(Ordering::Relaxed) > 0 {
            return Err(closure);
        }
        match self.shared.try_slot() {
            Some(slot) => Ok(self.shared.run(slot, closure)),
            None => Err(closure),
        }
    }

    pub(crate) async fn read<T, F>(&self, closure: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let waiting = Waiting::count(&self.shared)?;
        let (reply, answer) = oneshot::channel();
        self.tasks()?
            .send(Box::new(move |shared| {
                // A read whose caller went away is not run.
                if !reply.is_closed() {
                    let slot = shared.wait_for_slot();
                    drop(waiting);
                    let _ = reply.send(shared.run(slot, closure));
                }
            }))
            .map_err(|_| Error::Closed)?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// The channel to the pool's threads, which are started when first needed. It
    /// is unbounded, but never holds more than `read_queue` tasks.
    fn tasks(&self) -> Result<&mpsc::Sender<Task>> {
        if let Some(tasks) = self.threads.get() {
            return Ok(tasks);
        }
        let started = start_threads(&self.shared)?;
        Ok(self.threads.get_or_init(|| started))
    }

    pub(crate) fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        for slot in &self.shared.slots {
            // Waits for the read that uses it.
            *lock(slot) = None;
        }
    }
}

/// Counts a waiting read, until dropped.
struct Waiting(Arc<Shared>);

impl Waiting {
    fn count(shared: &Arc<Shared>) -> Result<Self> {
        let waiting = Self(Arc::clone(shared));
        let capacity = shared.options.read_queue;
        if shared.waiting.fetch_add(1, Ordering::SeqCst) >= capacity {
            return Err(Error::QueueFull {
                queue: "read",
                capacity,
            });
        }
        Ok(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A borrowed connection.
struct Slot<'s> {
    shared: &'s Shared,
    /// `None` only while being dropped.
    guard: Option<MutexGuard<'s, Option<Connection>>>,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.guard = None;
        fence(Ordering::SeqCst);
        if self.shared.waiting.load(Ordering::SeqCst) > 0 {
            self.shared.freed.notify_one();
        }
    }
}

impl Shared {
    fn borrow(self: &Arc<Self>) -> Result<Slot<'_>> {
        // Callers that wait come first.
        if self.waiting.load(Ordering::Relaxed) == 0
            && let Some(slot) = self.try_slot()
        {
            return Ok(slot);
        }
        let _waiting = Waiting::count(self)?;
        Ok(self.wait_for_slot())
    }

    /// Waits for a slot. The caller is counted as waiting.
    fn wait_for_slot(&self) -> Slot<'_> {
        loop {
            let mut freed = pin!(self.freed.notified());
            // Registered before looking: a slot that is freed from now on notifies
            // this caller, or the next one if it is not needed here.
            freed.as_mut().enable();
            fence(Ordering::SeqCst);
            if let Some(slot) = self.try_slot() {
                return slot;
            }
            block_on(freed);
        }
    }

    fn try_slot(&self) -> Option<Slot<'_>> {
        let count = self.slots.len();
        let last = LAST_SLOT.get();
        let first = if last < count { last } else { spread() % count };
        for offset in 0..count {
            let index = (first + offset) % count;
            let guard = match self.slots.get(index)?.try_lock() {
                Ok(guard) => guard,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            LAST_SLOT.set(index);
            return Some(Slot {
                shared: self,
                guard: Some(guard),
            });
        }
        None
    }

    fn run<T>(
        &self,
        mut slot: Slot<'_>,
        closure: impl FnOnce(&Connection) -> Result<T>,
    ) -> Result<T> {
        let Some(guard) = &mut slot.guard else {
            return Err(Error::Closed);
        };
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::Closed);
        }
        let conn = match &**guard {
            Some(conn) => conn,
            None => guard.insert(connection::open(
                &self.path,
                &self.options,
                Role::Reader(self.file),
            )?),
        };
        let outer = READING.replace(self.id());
        let result = run_caught(closure, conn);
        READING.set(outer);
        if !conn.is_autocommit() && conn.execute_batch("ROLLBACK").is_err() {
            // An open snapshot would block checkpoints for ever.
            **guard = None;
        }
        result
    }

    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// Distributes new threads over the slots.
fn spread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread per connection; they end when the pool is dropped.
fn start_threads(shared: &Arc<Shared>) -> Result<mpsc::Sender<Task>> {
    let (sender, receiver) = mpsc::channel::<Task>();
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..shared.slots.len() {
        let (shared, receiver) = (Arc::clone(shared), Arc::clone(&receiver));
        std::thread::Builder::new()
            .name("monolite-reader".into())
            .spawn(move || {
                loop {
                    let task = lock(&receiver).recv();
                    match task {
                        Ok(task) => task(&shared),
                        Err(_) => return,
                    }
                }
            })
            .map_err(|source| Error::Io {
                what: "start a reader thread",
                source,
            })?;
    }
    Ok(sender)
}
