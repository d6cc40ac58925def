//! Moves messages from an app's outbox into the pub/sub file. [`outbox`] says
//! why none is lost and none doubled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use monolite_component::Background;
use monolite_store::{Store, Watch};
use rusqlite::{Connection, OpenFlags};

use super::engine::Engine;
use crate::error::sqlite;
use crate::{Error, Result, outbox};

/// First and longest pause after an error; it doubles in between.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// While the app commits without publishing: at most one look into the outbox
/// in this time.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A running relay; see [`PubSub::relay`](crate::PubSub::relay). It goes on
/// without this value, for as long as both its handle and the app's store are
/// open.
#[derive(Debug, Clone)]
pub struct Relay {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    relayed: AtomicU64,
    looks: AtomicU64,
    error: Mutex<Option<Arc<Error>>>,
}

impl Relay {
    /// Messages this relay moved.
    pub fn relayed(&self) -> u64 {
        self.shared.relayed.load(Ordering::Relaxed)
    }

    /// How often it looked into the outbox.
    pub fn looks(&self) -> u64 {
        self.shared.looks.load(Ordering::Relaxed)
    }

    /// The error that keeps it from relaying now. It tries again at least
    /// every 5 s; nothing is lost meanwhile.
    pub fn error(&self) -> Option<Arc<Error>> {
        let error = self.shared.error.lock();
        error.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_error(&self, error: Option<Error>) {
        let own = self.shared.error.lock();
        *own.unwrap_or_else(PoisonError::into_inner) = error.map(Arc::new);
    }
}

pub(crate) async fn start(
    engine: Arc<dyn Engine>,
    background: &Background,
    app: &Store,
) -> Result<Relay> {
    let failed = Error::from_store("create the outbox in the app's database");
    app.write(|tx| outbox::install(tx).map_err(Error::into_store))
        .await
        .map_err(failed)?;
    let watch = app
        .watch()
        .map_err(Error::from_store("watch the app's database"))?;
    // A connection of its own: one borrowed from the app's readers would wait
    // for the app while the pub/sub file is locked.
    let conn = Connection::open_with_flags(
        app.path(),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
    .and_then(|conn| conn.busy_timeout(Duration::from_secs(1)).map(|()| conn))
    .map_err(sqlite("open the app's database for the relay"))?;
    let relay = Relay {
        shared: Arc::default(),
    };
    let task = Task {
        engine,
        app: app.clone(),
        conn: Arc::new(Mutex::new(conn)),
        relay: relay.clone(),
    };
    background.spawn(task.run(watch))?;
    Ok(relay)
}

struct Task {
    engine: Arc<dyn Engine>,
    app: Store,
    conn: Arc<Mutex<Connection>>,
    relay: Relay,
}

impl Task {
    async fn run(self, mut watch: Watch) {
        let mut pause = RETRY_AFTER.0;
        loop {
            let began = Instant::now();
            match self.drain().await {
                Ok(moved) => {
                    self.relay.set_error(None);
                    pause = RETRY_AFTER.0;
                    if watch.changed().await.is_err() {
                        return;
                    }
                    if !moved && began.elapsed() < LOOK_EVERY {
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                }
                Err(Error::Closed | Error::Forked) => return,
                Err(error) => {
                    self.relay.set_error(Some(error));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_AFTER.1);
                }
            }
        }
    }

    /// Moves all there is; true if it moved any.
    async fn drain(&self) -> Result<bool> {
        let mut moved = false;
        loop {
            self.relay.shared.looks.fetch_add(1, Ordering::Relaxed);
            let pending = self
                .app
                .read_point(|conn| outbox::is_pending(conn).map_err(Error::into_store))
                .await
                .map_err(Error::from_store("look into the outbox"))?;
            if !pending {
                return Ok(moved);
            }
            let rows = self.engine.take_in(Arc::clone(&self.conn)).await?;
            if rows.is_empty() {
                return Ok(moved); // Another process was faster.
            }
            let count = rows.len() as u64;
            self.app
                .write(move |tx| outbox::delete(tx, &rows).map_err(Error::into_store))
                .await
                .map_err(Error::from_store("delete relayed messages from the outbox"))?;
            self.relay
                .shared
                .relayed
                .fetch_add(count, Ordering::Relaxed);
            moved = true;
        }
    }
}
