//! The engine on one SQLite file.
//!
//! The file is not synced (`synchronous=OFF`): messages are gone in an hour
//! anyway, and a stall at a checkpoint would be the longest delay of a message.
//! The death of a process loses nothing by that; a crash of the machine may
//! damage the file, which is therefore trusted after it only if its last user
//! had closed it ([`AfterCrash::Discard`]). Subscribers would not notice that
//! another file has the name, so a file in use is never replaced
//! ([`WhileInUse::Refuse`]).

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use monolite_component::{
    AfterCrash, Clock, FileRules, InUse, OpenError, Opened, OwnFile, WhileInUse, file,
};
use monolite_store::{Combiner, Options, Store, Synchronous, Watch};
use rusqlite::Connection;

use super::engine::{Answer, Commits, Engine};
use super::options::PubSubOptions;
use crate::members::{self, LeaseId, Slot};
use crate::operations::{self, Now};
use crate::outbox::{self, RowKey};
use crate::{Ask, Bounds, Error, Member, MessageId, NewMessage, Page, Result, page};

const RULES: FileRules = FileRules {
    table_prefix: "_monolite_pubsub_",
    side_files: &[],
    after_crash: AfterCrash::Discard,
    while_in_use: WhileInUse::Refuse,
};

impl OpenError for Error {
    fn is_damage(&self) -> bool {
        match self {
            Self::Schema(error) => file::is_schema_damage(error),
            Self::Sqlite { source, .. } => file::is_damage(source),
            Self::Store { source, .. } => file::is_store_damage(source),
            _ => false,
        }
    }
}

/// Messages in one SQLite file.
#[derive(Debug)]
pub(crate) struct SqliteEngine {
    store: Store,
    publishes: Combiner<NewMessage, MessageId>,
    clock: Arc<dyn Clock>,
    boot: Arc<str>,
    lease_ms: i64,
    /// `None` once closed.
    in_use: Mutex<Option<InUse>>,
}

impl SqliteEngine {
    pub(crate) fn open(path: &Path, options: &PubSubOptions) -> Result<(Self, Opened)> {
        let own = OwnFile::new(path, RULES, &*options.clock)?;
        let file = own.open(None, || open_store(own.path(), options))?;
        let clock = Arc::clone(&options.clock);
        let publishes = file.value.combine(move |tx, messages: &[NewMessage]| {
            operations::publish_many(tx, Now::of(&*clock), messages).map_err(Error::into_store)
        });
        let engine = Self {
            store: file.value,
            publishes,
            boot: options.clock.boot_id().into(),
            clock: Arc::clone(&options.clock),
            lease_ms: i64::try_from(options.presence_lease.as_millis()).unwrap_or(i64::MAX),
            in_use: Mutex::new(Some(file.in_use)),
        };
        Ok((engine, file.opened))
    }

    /// Runs an operation in a write transaction.
    fn write<T: Send + 'static>(
        &self,
        what: &'static str,
        run: impl FnOnce(&Connection, Now, &str) -> Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        let (clock, boot) = (Arc::clone(&self.clock), Arc::clone(&self.boot));
        Box::pin(async move {
            self.store
                .write(move |tx| run(tx, Now::of(&*clock), &boot).map_err(Error::into_store))
                .await
                .map_err(Error::from_store(what))
        })
    }

    /// Runs an operation that reads a few pages.
    fn read<T: Send + 'static>(
        &self,
        what: &'static str,
        run: impl FnOnce(&Connection, Now, &str) -> Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        let (clock, boot) = (Arc::clone(&self.clock), Arc::clone(&self.boot));
        Box::pin(async move {
            self.store
                .read_point(move |conn| {
                    run(conn, Now::of(&*clock), &boot).map_err(Error::into_store)
                })
                .await
                .map_err(Error::from_store(what))
        })
    }
}

fn open_store(path: &Path, options: &PubSubOptions) -> Result<Store> {
    const WHAT: &str = "open the pub/sub file";
    let store = Store::open(
        path,
        Options::new()
            .synchronous(Synchronous::Off)
            .busy_timeout(options.busy_timeout)
            .write_queue(options.write_queue)
            .incremental_vacuum(true)
            .journal_size_limit_bytes(16 << 20)
            // Every statement uses a key.
            .optimize_every(None),
    )
    .map_err(|source| Error::Store { what: WHAT, source })?;
    let (clock, window) = (options.clock.clone(), options.window);
    store
        .write_blocking(move |tx| {
            operations::install(tx, &*clock, window).map_err(Error::into_store)
        })
        .map_err(Error::from_store(WHAT))
        .inspect_err(|_| store.clone().close_blocking())?;
    Ok(store)
}

struct StoreCommits(Watch);

impl Commits for StoreCommits {
    fn changed(&mut self) -> Answer<'_, ()> {
        Box::pin(async {
            let changed = self.0.changed().await;
            changed.map_err(Error::from_store("wait for messages"))
        })
    }
}

impl Engine for SqliteEngine {
    fn publish(&self, message: NewMessage) -> Answer<'_, MessageId> {
        Box::pin(async {
            let answer = self.publishes.write(message).await;
            answer.map_err(Error::from_store("publish a message"))
        })
    }

    fn publish_blocking(&self, message: NewMessage) -> Result<MessageId> {
        let answer = self.publishes.write_blocking(message);
        answer.map_err(Error::from_store("publish a message"))
    }

    fn publish_many(&self, messages: Vec<NewMessage>) -> Answer<'_, Vec<MessageId>> {
        self.write("publish messages", move |tx, now, _| {
            operations::publish_many(tx, now, &messages)
        })
    }

    fn bounds(&self) -> Answer<'_, Bounds> {
        self.read("read the bounds of the messages", |conn, _, _| {
            operations::bounds(conn)
        })
    }

    fn tail(&self, ask: Ask) -> Answer<'_, Page> {
        self.read("read messages", move |conn, _, _| page(conn, &ask))
    }

    fn page(&self, ask: Ask) -> Answer<'_, Page> {
        Box::pin(async move {
            self.store
                .read(move |conn| page(conn, &ask).map_err(Error::into_store))
                .await
                .map_err(Error::from_store("read messages"))
        })
    }

    fn commits(&self) -> Result<Box<dyn Commits>> {
        let watch = self.store.watch();
        let watch = watch.map_err(Error::from_store("watch for messages"))?;
        Ok(Box::new(StoreCommits(watch)))
    }

    fn take_in(&self, app: Arc<Mutex<Connection>>) -> Answer<'_, Vec<RowKey>> {
        self.write("relay messages", move |tx, now, _| {
            let app = app.lock().unwrap_or_else(PoisonError::into_inner);
            outbox::take_in(tx, &app, now)
        })
    }

    fn lease(&self) -> Answer<'_, LeaseId> {
        let lease_ms = self.lease_ms;
        self.write("take a presence lease", move |tx, now, boot| {
            members::lease(tx, now, boot, lease_ms)
        })
    }

    fn beat(&self, lease: LeaseId) -> Answer<'_, ()> {
        let lease_ms = self.lease_ms;
        self.write("renew a presence lease", move |tx, now, boot| {
            members::beat(tx, now, boot, lease, lease_ms)
        })
    }

    fn reap(&self) -> Answer<'_, ()> {
        Box::pin(async {
            loop {
                // A transaction for each step, so that publishers get in
                // between.
                let step = self.write("remove members whose lease ran out", |tx, now, boot| {
                    members::reap(tx, now, boot)
                });
                if !step.await? {
                    return Ok(());
                }
            }
        })
    }

    fn join(&self, lease: LeaseId, slots: Vec<Slot>) -> Answer<'_, ()> {
        self.write("join a channel", move |tx, now, boot| {
            let mut slots = slots.iter();
            slots.try_for_each(|slot| members::join(tx, now, boot, lease, slot))
        })
    }

    fn update(&self, lease: LeaseId, slot: Slot) -> Answer<'_, ()> {
        self.write("update a member", move |tx, now, _| {
            members::update(tx, now, lease, &slot)
        })
    }

    fn leave(&self, lease: LeaseId, slots: Vec<i64>) -> Answer<'_, ()> {
        self.write("leave a channel", move |tx, now, _| {
            let mut slots = slots.iter();
            slots.try_for_each(|slot| members::leave(tx, now, lease, *slot))
        })
    }

    fn release(&self, lease: LeaseId) -> Answer<'_, ()> {
        self.write("release a presence lease", move |tx, now, _| {
            members::release(tx, now, lease)
        })
    }

    fn members(&self, channel: String) -> Answer<'_, Vec<Member>> {
        self.read("list the members of a channel", move |conn, now, boot| {
            members::members(conn, now, boot, &channel)
        })
    }

    fn roster(&self, channel: String) -> Answer<'_, (Bounds, Vec<Member>)> {
        self.read("list the members of a channel", move |conn, _, _| {
            members::roster(conn, &channel)
        })
    }

    fn next_expiry_ms(&self) -> Answer<'_, Option<i64>> {
        self.read("find the first lease to run out", |conn, now, boot| {
            members::next_expiry_ms(conn, now, boot)
        })
    }

    fn close_blocking(&self) {
        self.store.clone().close_blocking();
        let in_use = self
            .in_use
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(in_use) = in_use {
            // If it fails, the file is discarded after the next boot.
            let _ = in_use.close();
        }
    }
}
