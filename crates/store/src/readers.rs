//! A pool of read-only connections that never waits for the writer.
//!
//! A blocking caller borrows a connection and reads on its own thread; an
//! async caller's closure runs on one of the pool's threads, so that nothing
//! blocks the runtime. Both draw from the same permits, in turn.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, mpsc};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::connection::{self, Role};
use crate::park::block_on;
use crate::writer::run_caught;
use crate::{Error, Options, Result};

pub(crate) struct Readers {
    shared: Arc<Shared>,
    waiting: AtomicUsize,
    capacity: usize,
    threads: OnceLock<mpsc::Sender<Task>>,
}

struct Shared {
    /// `None` until first used, and again after a close.
    slots: Vec<Mutex<Option<Connection>>>,
    permits: Arc<Semaphore>,
    path: PathBuf,
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
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self> {
        let count = options.readers.max(1);
        let slots: Vec<_> = (0..count).map(|_| Mutex::new(None)).collect();
        // One now, so that a file that cannot be read is known at open.
        if let Some(slot) = slots.first() {
            *lock(slot) = Some(connection::open(path, options, Role::Reader)?);
        }
        Ok(Self {
            shared: Arc::new(Shared {
                slots,
                permits: Arc::new(Semaphore::new(count)),
                path: path.into(),
                options: options.clone(),
            }),
            waiting: AtomicUsize::new(0),
            capacity: options.read_queue,
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
        let _permit = match self.shared.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let _place = self.wait_for_place()?;
                block_on(self.shared.permits.acquire()).map_err(|_| Error::Closed)?
            }
        };
        self.shared.run(closure)
    }

    pub(crate) async fn read<T, F>(&self, closure: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let permits = Arc::clone(&self.shared.permits);
        let permit = match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _place = self.wait_for_place()?;
                permits.acquire_owned().await.map_err(|_| Error::Closed)?
            }
        };
        let (reply, answer) = oneshot::channel();
        self.spawn(permit, move |shared| {
            if !reply.is_closed() {
                let _ = reply.send(shared.run(closure));
            }
        })?;
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Counts this caller among those who wait, until the guard is dropped.
    fn wait_for_place(&self) -> Result<impl Drop + '_> {
        struct Place<'a>(&'a AtomicUsize);
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let place = Place(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.capacity {
            return Err(Error::QueueFull {
                queue: "read",
                capacity: self.capacity,
            });
        }
        Ok(place)
    }

    fn spawn(
        &self,
        permit: OwnedSemaphorePermit,
        task: impl FnOnce(&Shared) + Send + 'static,
    ) -> Result<()> {
        let tasks = match self.threads.get() {
            Some(tasks) => tasks,
            None => {
                let started = start_threads(&self.shared)?;
                self.threads.get_or_init(|| started)
            }
        };
        // Unbounded, yet never holds more than there are permits.
        tasks
            .send(Box::new(move |shared| {
                task(shared);
                drop(permit);
            }))
            .map_err(|_| Error::Closed)
    }

    pub(crate) fn close(&self) {
        self.shared.permits.close();
        for slot in &self.shared.slots {
            *lock(slot) = None;
        }
    }
}

impl Shared {
    /// Runs `closure` on a free connection. The caller holds a permit, so one
    /// is free or about to be.
    fn run<T>(&self, closure: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let mut slot = self.free_slot();
        if self.permits.is_closed() {
            return Err(Error::Closed);
        }
        let conn = match &*slot {
            Some(conn) => conn,
            None => slot.insert(connection::open(&self.path, &self.options, Role::Reader)?),
        };
        let outer = READING.replace(self.id());
        let result = run_caught(closure, conn);
        READING.set(outer);
        if !conn.is_autocommit() && conn.execute_batch("ROLLBACK").is_err() {
            // A snapshot left open would hold back checkpoints for ever.
            *slot = None;
        }
        result
    }

    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn free_slot(&self) -> MutexGuard<'_, Option<Connection>> {
        let count = self.slots.len();
        let first = LAST_SLOT.get();
        let first = if first < count {
            first
        } else {
            spread() % count
        };
        loop {
            for offset in 0..count {
                let index = (first + offset) % count;
                let Some(slot) = self.slots.get(index) else {
                    continue;
                };
                match slot.try_lock() {
                    Ok(guard) => {
                        LAST_SLOT.set(index);
                        return guard;
                    }
                    Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                    Err(TryLockError::WouldBlock) => {}
                }
            }
            std::thread::yield_now();
        }
    }
}

/// Spreads threads that come for the first time over the slots.
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
