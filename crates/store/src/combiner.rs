//! Many callers' writes of one kind, done by one closure.
//!
//! A closure of its own costs every write a savepoint, an allocation and a slot of
//! the queue. Writes of one kind that rarely fail can share them.
//!
//! Invariants:
//! - an item is answered after the COMMIT that holds it, like any write;
//! - an item that fails does so alone: if `run` fails for several, each is run
//!   again by itself;
//! - an item is in exactly one batch, and a batch is run once: it takes items
//!   until its closure begins, and is then no longer the open one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{Error, Inner, Result, Store};

/// Most items of one batch: about a millisecond of a transaction.
const BATCH_MAX: usize = 512;

/// Writes of one kind, by many callers; made by [`Store::combine`]. Cheap to
/// clone.
///
/// ```
/// # use monolite_store::{Error, Options, Store};
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = Store::open(dir.path().join("a.sqlite3"), Options::default())?;
/// # store.write_blocking(|tx| Ok(tx.execute_batch("CREATE TABLE visit (path TEXT)")?))?;
/// let visits = store.combine(|tx, paths: &[String]| {
///     let mut insert = tx.prepare_cached("INSERT INTO visit VALUES (?1)")?;
///     paths.iter().map(|path| Ok(insert.insert([path])?)).collect()
/// });
/// let id = visits.write_blocking("/".to_string())?;
/// assert_eq!(id, 1);
/// # Ok::<(), Error>(())
/// ```
pub struct Combiner<I, O> {
    store: Store,
    shared: Arc<Shared<I, O>>,
}

impl<I, O> Clone for Combiner<I, O> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

type Run<I, O> = dyn Fn(&Connection, &[I]) -> Result<Vec<O>> + Send + Sync;

struct Shared<I, O> {
    run: Box<Run<I, O>>,
    /// The batch that still takes items.
    open: Mutex<Option<Arc<Batch<I, O>>>>,
    /// Items not yet answered.
    waiting: AtomicUsize,
}

struct Batch<I, O> {
    items: Mutex<Items<I, O>>,
}

struct Items<I, O> {
    values: Vec<I>,
    replies: Vec<oneshot::Sender<Result<O>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<I: Send + 'static, O: Send + 'static> Combiner<I, O> {
    pub(crate) fn new<F>(store: Store, run: F) -> Self
    where
        F: Fn(&Connection, &[I]) -> Result<Vec<O>> + Send + Sync + 'static,
    {
        Self {
            store,
            shared: Arc::new(Shared {
                run: Box::new(run),
                open: Mutex::default(),
                waiting: AtomicUsize::new(0),
            }),
        }
    }

    /// Writes one item, and answers after the commit with what `run` returned
    /// for it.
    ///
    /// # Errors
    /// As [`Store::write`]. At most as many items wait as the store's
    /// `write_queue` allows.
    pub async fn write(&self, item: I) -> Result<O> {
        self.store.check_process()?;
        let writer = &self.store.inner.writer;
        let _caller = writer.enter();
        let mut answer = self.submit(item)?;
        let result = match writer.spin(&mut answer) {
            Some(result) => result,
            None => answer.await.unwrap_or(Err(Error::Closed)),
        };
        self.store.classify(result)
    }

    /// As [`Combiner::write`], blocking this thread. Not for async code.
    ///
    /// # Errors
    /// As [`Combiner::write`].
    pub fn write_blocking(&self, item: I) -> Result<O> {
        self.store.check_process()?;
        let writer = &self.store.inner.writer;
        if writer.is_this_thread() {
            return Err(Error::Nested("write"));
        }
        let _caller = writer.enter();
        let answer = self.submit(item)?;
        self.store.classify(writer.wait(answer))
    }

    fn submit(&self, item: I) -> Result<oneshot::Receiver<Result<O>>> {
        let capacity = self.store.inner.options.write_queue;
        if self.shared.waiting.fetch_add(1, Ordering::Relaxed) >= capacity {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::QueueFull {
                queue: "write",
                capacity,
            });
        }
        let (reply, answer) = oneshot::channel();
        let mut open = lock(&self.shared.open);
        if let Some(batch) = &*open {
            let mut items = lock(&batch.items);
            if items.values.len() < BATCH_MAX {
                items.values.push(item);
                items.replies.push(reply);
                return Ok(answer);
            }
        }
        let batch = Arc::new(Batch {
            items: Mutex::new(Items {
                values: vec![item],
                replies: vec![reply],
            }),
        });
        self.begin(Arc::clone(&batch)).inspect_err(|_| {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        })?;
        *open = Some(batch);
        Ok(answer)
    }

    /// Queues the closure that will do the whole batch.
    fn begin(&self, batch: Arc<Batch<I, O>>) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let running = Arc::clone(&batch);
        let work = move |conn: &Connection| {
            {
                let mut open = lock(&shared.open);
                if open
                    .as_ref()
                    .is_some_and(|open| Arc::ptr_eq(open, &running))
                {
                    *open = None;
                }
            }
            // Nobody else takes it now.
            let items = lock(&running.items);
            let outputs = (shared.run)(conn, &items.values)?;
            if outputs.len() != items.values.len() {
                return Err(Error::app("a combined write must answer every item"));
            }
            Ok(outputs)
        };
        let (shared, store) = (Arc::clone(&self.shared), Arc::downgrade(&self.store.inner));
        let then = move |result: Result<Vec<O>>| {
            let items = {
                let mut items = lock(&batch.items);
                Items {
                    values: std::mem::take(&mut items.values),
                    replies: std::mem::take(&mut items.replies),
                }
            };
            let count = items.replies.len();
            shared.settle(items, result, &store);
            shared.waiting.fetch_sub(count, Ordering::Relaxed);
        };
        self.store.inner.writer.submit_then(work, then)
    }
}

impl<I: Send + 'static, O: Send + 'static> Shared<I, O> {
    /// Answers everyone, on the writer's thread.
    fn settle(self: &Arc<Self>, items: Items<I, O>, result: Result<Vec<O>>, store: &Weak<Inner>) {
        match result {
            Ok(outputs) => {
                for (reply, output) in items.replies.into_iter().zip(outputs) {
                    let _ = reply.send(Ok(output));
                }
            }
            Err(error) if items.replies.len() <= 1 => {
                if let Some(reply) = items.replies.into_iter().next() {
                    let _ = reply.send(Err(error));
                }
            }
            Err(error) => match error.of_the_store() {
                // No item's fault: it would fail for each alone as well.
                Some(_) => {
                    for reply in items.replies {
                        let copy = error.of_the_store().unwrap_or(Error::Closed);
                        let _ = reply.send(Err(copy));
                    }
                }
                None => self.one_by_one(items, store),
            },
        }
    }

    /// One of them made all fail: each gets a closure of its own.
    fn one_by_one(self: &Arc<Self>, items: Items<I, O>, store: &Weak<Inner>) {
        let Some(inner) = store.upgrade() else {
            return; // Dropped replies say that the store is closed.
        };
        for (value, reply) in items.values.into_iter().zip(items.replies) {
            let shared = Arc::clone(self);
            let work = move |conn: &Connection| {
                let output = (shared.run)(conn, std::slice::from_ref(&value))?.pop();
                output.ok_or_else(|| Error::app("a combined write must answer every item"))
            };
            let refused = Arc::new(Mutex::new(Some(reply)));
            let reply = Arc::clone(&refused);
            let queued = inner.writer.submit_then(work, move |result| {
                if let Some(reply) = lock(&reply).take() {
                    let _ = reply.send(result);
                }
            });
            if let Err(error) = queued
                && let Some(reply) = lock(&refused).take()
            {
                let _ = reply.send(Err(error));
            }
        }
    }
}

impl<I, O> std::fmt::Debug for Combiner<I, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Combiner")
            .field("store", &self.store)
            .finish()
    }
}
