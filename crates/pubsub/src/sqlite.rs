//! The engine on a SQLite file.

use std::sync::{Arc, Mutex, PoisonError};

use monolite_component::Clock;
use monolite_store::{Combiner, Store, Watch};
use rusqlite::Connection;

use crate::engine::{Answer, Commits, Engine};
use crate::file::{self, InUse, Opened};
use crate::members::{self, Place};
use crate::operations::{self, Now};
use crate::outbox::{self, RowKey};
use crate::{Ask, Bounds, Error, Member, MessageId, NewMessage, Page, PubSubOptions, Result, page};

/// Messages in one SQLite file.
#[derive(Debug)]
pub(crate) struct SqliteEngine {
    store: Store,
    publishes: Combiner<NewMessage, MessageId>,
    clock: Arc<dyn Clock>,
    boot: Arc<str>,
    lease_ms: i64,
    in_use: Mutex<Option<InUse>>,
}

impl SqliteEngine {
    pub(crate) fn open(path: &std::path::Path, options: &PubSubOptions) -> Result<(Self, Opened)> {
        let (store, in_use, opened) = file::open(path, options)?;
        let clock = Arc::clone(&options.clock);
        let publishes = store.combine(move |tx, messages: &[NewMessage]| {
            operations::publish_many(tx, Now::of(&*clock), messages).map_err(Error::into_store)
        });
        let engine = Self {
            store,
            publishes,
            boot: options.clock.boot().into(),
            clock: Arc::clone(&options.clock),
            lease_ms: i64::try_from(options.presence_lease.as_millis()).unwrap_or(i64::MAX),
            in_use: Mutex::new(Some(in_use)),
        };
        Ok((engine, opened))
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

struct StoreCommits(Watch);

impl Commits for StoreCommits {
    fn changed(&mut self) -> Answer<'_, ()> {
        Box::pin(async { self.0.changed().await.map_err(Error::from_store("wait")) })
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

    fn lease(&self) -> Answer<'_, i64> {
        let lease_ms = self.lease_ms;
        self.write("take a presence lease", move |tx, now, boot| {
            members::lease(tx, now, boot, lease_ms)
        })
    }

    fn beat(&self, lease: i64) -> Answer<'_, ()> {
        let lease_ms = self.lease_ms;
        self.write("renew a presence lease", move |tx, now, boot| {
            members::beat(tx, now, boot, lease, lease_ms)
        })
    }

    fn reap(&self) -> Answer<'_, ()> {
        Box::pin(async {
            loop {
                // A transaction a step: publishers get in between.
                let step = self.write("take out members that are gone", |tx, now, boot| {
                    members::reap(tx, now, boot)
                });
                if !step.await? {
                    return Ok(());
                }
            }
        })
    }

    fn join(&self, lease: i64, places: Vec<Place>) -> Answer<'_, ()> {
        self.write("join a channel", move |tx, now, boot| {
            let mut places = places.iter();
            places.try_for_each(|place| members::join(tx, now, boot, lease, place))
        })
    }

    fn update(&self, lease: i64, place: Place) -> Answer<'_, ()> {
        self.write("update a member", move |tx, now, _| {
            members::update(tx, now, lease, &place)
        })
    }

    fn leave(&self, lease: i64, places: Vec<i64>) -> Answer<'_, ()> {
        self.write("leave a channel", move |tx, now, _| {
            let mut places = places.iter();
            places.try_for_each(|place| members::leave(tx, now, lease, *place))
        })
    }

    fn release(&self, lease: i64) -> Answer<'_, ()> {
        self.write("give a presence lease back", move |tx, now, _| {
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
            // Not marked `clean`, it is made anew after a start of the machine.
            let _ = in_use.finish();
        }
    }
}
