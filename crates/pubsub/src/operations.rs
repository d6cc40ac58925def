//! Publishing and reading, as plain functions over a connection to the pub/sub
//! file.
//!
//! Invariants:
//! - **`seq` is the order of commits.** A message takes the highest `seq` plus
//!   one inside the write transaction, of which SQLite lets one run at a time.
//! - **A `seq` is never used again.** The newest row is never deleted, so that
//!   the highest `seq` is always in the file; no counter is written beside it.
//! - **There are no holes**: `seq` is given and taken back with the
//!   transaction, and pruning takes from the oldest end only. So `oldest` and
//!   `newest` say exactly what the window holds.
//! - `file_ms` and `total_bytes` never go down from a row to the next. So the
//!   oldest row alone says whether anything is over a bound.
//!
//! Age is measured in **file time**: the machine's steady clock, carried on
//! from one start of the machine to the next by `offset_ms`. A wall clock that
//! is stepped wipes nothing and keeps nothing for ever; the time the machine
//! was off does not count.

use std::time::Duration;

use monolite_component::{Clock, Schema};
use rusqlite::{Connection, OptionalExtension};

use crate::error::sqlite;
use crate::message::ROW_BYTES;
use crate::name::{self, PAYLOAD_MAX_BYTES};
use crate::publisher::{Publisher, newest};
use crate::{MessageId, NewMessage, Result};

/// The tables of the pub/sub file.
pub const SCHEMA: Schema = Schema {
    component: "pubsub",
    versions: &[include_str!("schema.sql")],
};

/// For how long messages are kept. A message goes once any of the three is
/// exceeded, when others are published: nothing runs for it while nothing is.
/// Each may be exceeded by what is published between two looks, 64 messages or
/// a 64th of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Default 1 h, of time in which the machine runs.
    pub time: Duration,
    /// Default 1,000,000; at least 1.
    pub messages: u64,
    /// Payloads, channels and 64 bytes each. Default 64 MiB.
    pub bytes: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(3600),
            messages: 1_000_000,
            bytes: 64 << 20,
        }
    }
}

/// The moment of a write.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// [`Clock::wall_ms`].
    pub wall_ms: i64,
    /// [`Clock::steady_ms`].
    pub steady_ms: i64,
}

impl Now {
    /// The moment of a clock.
    pub fn of(clock: &dyn Clock) -> Self {
        Self {
            wall_ms: clock.wall_ms(),
            steady_ms: clock.steady_ms(),
        }
    }
}

/// What the file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// See [`MessageId::epoch`].
    pub epoch: u64,
    /// The oldest message held; `newest + 1` if there is none.
    pub oldest: u64,
    /// The newest message ever; 0 if there is none.
    pub newest: u64,
    /// Bytes of the messages held, as [`Window::bytes`] counts.
    pub bytes: u64,
}

/// Makes the tables and sets the window, for every process that has the file
/// open. To be called once by whoever opens the file, in a write transaction.
///
/// # Errors
/// [`Error::Schema`](crate::Error::Schema),
/// [`Error::Sqlite`](crate::Error::Sqlite).
pub fn install(conn: &Connection, clock: &dyn Clock, window: Window) -> Result<()> {
    SCHEMA.install(conn)?;
    let failed = sqlite("set the window of messages");
    let boot = clock.boot();
    let bounds = [
        i64::try_from(window.time.as_millis()).unwrap_or(i64::MAX),
        i64::try_from(window.messages.max(1)).unwrap_or(i64::MAX),
        i64::try_from(window.bytes).unwrap_or(i64::MAX),
    ];
    // Most often nothing is to be written.
    let known = conn
        .query_row(
            "SELECT 1 FROM _monolite_pubsub_file
             WHERE boot = ?1 AND keep_ms = ?2 AND keep_messages = ?3 AND keep_bytes = ?4",
            (&boot, bounds[0], bounds[1], bounds[2]),
            |_| Ok(()),
        )
        .optional()
        .map_err(&failed)?;
    if known.is_some() {
        return Ok(());
    }
    let last_ms = newest(conn)?.map_or(0, |row| row.file_ms);
    conn.execute(
        "INSERT INTO _monolite_pubsub_file VALUES (1, random(), ?1, ?2 - ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET
             keep_ms = excluded.keep_ms,
             keep_messages = excluded.keep_messages,
             keep_bytes = excluded.keep_bytes,
             offset_ms = iif(boot = excluded.boot, offset_ms, excluded.offset_ms),
             boot = excluded.boot",
        (
            boot,
            last_ms,
            clock.steady_ms(),
            bounds[0],
            bounds[1],
            bounds[2],
        ),
    )
    .map_err(failed)?;
    Ok(())
}

/// Publishes one message; subscribers get it once the transaction commits.
///
/// # Errors
/// [`Error::Name`](crate::Error::Name),
/// [`Error::TooLarge`](crate::Error::TooLarge) over
/// [`PAYLOAD_MAX_BYTES`], [`Error::Sqlite`](crate::Error::Sqlite).
pub fn publish(conn: &Connection, now: Now, message: &NewMessage) -> Result<MessageId> {
    name::check_message(message, PAYLOAD_MAX_BYTES)?;
    let mut publisher = Publisher::new(conn, now)?;
    let id = publisher.add(&message.channel, &message.payload)?;
    publisher.finish()?;
    Ok(id)
}

/// Publishes messages in order; the ids are in the places of the messages.
///
/// # Errors
/// As [`publish`].
pub fn publish_many<'m>(
    conn: &Connection,
    now: Now,
    messages: impl IntoIterator<Item = &'m NewMessage>,
) -> Result<Vec<MessageId>> {
    let mut publisher = Publisher::new(conn, now)?;
    let mut ids = Vec::new();
    for message in messages {
        name::check_message(message, PAYLOAD_MAX_BYTES)?;
        ids.push(publisher.add(&message.channel, &message.payload)?);
    }
    publisher.finish()?;
    Ok(ids)
}

/// What the file holds now.
///
/// # Errors
/// [`Error::Sqlite`](crate::Error::Sqlite).
pub fn bounds(conn: &Connection) -> Result<Bounds> {
    let failed = sqlite("read the bounds of the messages");
    // One statement: one snapshot.
    conn.prepare_cached(
        "SELECT epoch,
             (SELECT min(seq) FROM _monolite_pubsub_message),
             (SELECT max(seq) FROM _monolite_pubsub_message),
             (SELECT total_bytes FROM _monolite_pubsub_message ORDER BY seq DESC LIMIT 1),
             (SELECT total_bytes - octet_length(payload) - octet_length(channel)
                  FROM _monolite_pubsub_message ORDER BY seq LIMIT 1)
         FROM _monolite_pubsub_file",
    )
    .map_err(&failed)?
    .query_row([], |row| {
        let newest = row.get::<_, Option<i64>>(2)?.unwrap_or(0);
        let oldest = row.get::<_, Option<i64>>(1)?.unwrap_or(newest + 1);
        let total: Option<i64> = row.get(3)?;
        let before: Option<i64> = row.get(4)?;
        let held = total.zip(before).map_or(0, |(total, before)| {
            total - before + i64::try_from(ROW_BYTES).unwrap_or(0)
        });
        Ok(Bounds {
            epoch: row.get::<_, i64>(0)?.cast_unsigned(),
            oldest: oldest.unsigned_abs(),
            newest: newest.unsigned_abs(),
            bytes: held.unsigned_abs(),
        })
    })
    .map_err(failed)
}

pub(crate) fn id(epoch: i64, seq: i64) -> MessageId {
    MessageId {
        epoch: epoch.cast_unsigned(),
        seq: seq.unsigned_abs(),
    }
}
