//! Publishing and pruning: plain functions over a connection to the pub/sub file.
//!
//! Invariants:
//! - **`seq` is the order of commits.** A message takes the highest `seq` plus
//!   one inside the write transaction, of which SQLite runs one at a time.
//! - **A `seq` is never used again.** The newest row is never deleted, so the
//!   highest `seq` is always in the file and needs no counter of its own.
//! - **There are no holes**: a transaction that is rolled back gives its `seq`
//!   back, and pruning deletes the oldest rows only. So `oldest` and `newest`
//!   say exactly which messages are held.
//! - `file_ms` and `total_bytes` never go down from a row to the next. So the
//!   oldest row alone says whether anything exceeds the window.
//!
//! Age is measured in **file time**: the machine's steady clock, continued from
//! one boot to the next by `offset_ms`. Setting the wall clock deletes nothing
//! and keeps nothing for ever; the time while the machine is off does not count.

use std::time::Duration;

use monolite_component::{Clock, Schema};
use rusqlite::{Connection, OptionalExtension};

use crate::error::sqlite;
use crate::message::{PAYLOAD_MAX_BYTES, ROW_BYTES, check_message};
use crate::{MessageId, NewMessage, Result};

/// The tables of the pub/sub file.
pub const SCHEMA: Schema = Schema {
    component: "pubsub",
    versions: &[include_str!("schema.sql")],
};

/// Messages between two looks at the window.
const PRUNE_EVERY: i64 = 64;
/// Most messages deleted at one look: four times what was added since the last,
/// so that a window that was made smaller is reached soon, and in small steps.
const PRUNE_STEP: i64 = 4 * PRUNE_EVERY;
/// Free pages returned to the filesystem at one look.
const VACUUM_STEP: i64 = 64;
/// Free pages that the file keeps for later messages.
const SPARE_PAGES: i64 = 1024;

/// How long messages are kept. A message is deleted once any of the three limits
/// is exceeded, when others are published: nothing runs for it while nothing is
/// published. Each limit may be exceeded by what is published between two looks
/// at it: 64 messages or a 64th of the bytes.
///
/// ```
/// # use std::time::Duration;
/// # use monolite_pubsub::Window;
/// let window = Window::new().time(Duration::from_secs(600)).bytes(16 << 20);
/// # let _ = window;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Window {
    pub(crate) time: Duration,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
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

impl Window {
    /// One hour, 1,000,000 messages, 64 MiB.
    pub fn new() -> Self {
        Self::default()
    }

    /// Longest time that a message is kept, of time in which the machine runs.
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Most messages kept; at least 1.
    pub fn messages(mut self, messages: u64) -> Self {
        self.messages = messages;
        self
    }

    /// Most bytes kept: payloads, channel names, and 64 for each message.
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }
}

/// The time of an operation, by both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// [`Clock::now_ms`].
    pub wall_ms: i64,
    /// [`Clock::monotonic_ms`].
    pub steady_ms: i64,
}

impl Now {
    /// What a clock says now.
    pub fn of(clock: &dyn Clock) -> Self {
        Self {
            wall_ms: clock.now_ms(),
            steady_ms: clock.monotonic_ms(),
        }
    }
}

/// Which messages the file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// See [`MessageId::epoch`].
    pub epoch: u64,
    /// `seq` of the oldest message held; `newest + 1` if there is none.
    pub oldest: u64,
    /// `seq` of the newest message ever; 0 if there is none.
    pub newest: u64,
    /// Bytes of the messages held, as [`Window::bytes`] counts.
    pub bytes: u64,
}

/// Creates the tables and sets the window, for every process that has the file
/// open. Call it once after opening the file, in a write transaction.
///
/// # Errors
/// [`Error::Schema`](crate::Error::Schema),
/// [`Error::Sqlite`](crate::Error::Sqlite).
pub fn install(conn: &Connection, clock: &dyn Clock, window: Window) -> Result<()> {
    SCHEMA.install(conn)?;
    let failed = sqlite("set the window of messages");
    let boot = clock.boot_id();
    let bounds = [
        i64::try_from(window.time.as_millis()).unwrap_or(i64::MAX),
        i64::try_from(window.messages.max(1)).unwrap_or(i64::MAX),
        i64::try_from(window.bytes).unwrap_or(i64::MAX),
    ];
    // Most often there is nothing to write.
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
            clock.monotonic_ms(),
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
    check_message(message, PAYLOAD_MAX_BYTES)?;
    let mut publisher = Publisher::new(conn, now)?;
    let id = publisher.add(&message.channel, &message.payload)?;
    publisher.finish()?;
    Ok(id)
}

/// Publishes messages in order; returns their ids in the same order.
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
        check_message(message, PAYLOAD_MAX_BYTES)?;
        ids.push(publisher.add(&message.channel, &message.payload)?);
    }
    publisher.finish()?;
    Ok(ids)
}

/// Which messages the file holds now.
///
/// # Errors
/// [`Error::Sqlite`](crate::Error::Sqlite).
pub fn bounds(conn: &Connection) -> Result<Bounds> {
    let failed = sqlite("read the bounds of the messages");
    // One statement, so that all of it is of one snapshot.
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

/// The row that describes the file, as far as a publisher needs it.
struct File {
    epoch: i64,
    offset_ms: i64,
    keep_ms: i64,
    keep_messages: i64,
    keep_bytes: i64,
}

fn file(conn: &Connection) -> Result<File> {
    let failed = sqlite("read the window of messages");
    conn.prepare_cached(
        "SELECT epoch, offset_ms, keep_ms, keep_messages, keep_bytes FROM _monolite_pubsub_file",
    )
    .map_err(&failed)?
    .query_row([], |row| {
        Ok(File {
            epoch: row.get(0)?,
            offset_ms: row.get(1)?,
            keep_ms: row.get(2)?,
            keep_messages: row.get(3)?,
            keep_bytes: row.get(4)?,
        })
    })
    .map_err(failed)
}

/// What pruning needs of a message.
#[derive(Clone, Copy)]
struct Row {
    seq: i64,
    file_ms: i64,
    total_bytes: i64,
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        seq: row.get(0)?,
        file_ms: row.get(1)?,
        total_bytes: row.get(2)?,
    })
}

fn newest(conn: &Connection) -> Result<Option<Row>> {
    let failed = sqlite("find the newest message");
    conn.prepare_cached(
        "SELECT seq, file_ms, total_bytes FROM _monolite_pubsub_message ORDER BY seq DESC LIMIT 1",
    )
    .map_err(&failed)?
    .query_row([], row)
    .optional()
    .map_err(failed)
}

/// Appends messages inside the caller's write transaction, and deletes the oldest
/// in small steps.
pub(crate) struct Publisher<'c> {
    conn: &'c Connection,
    file: File,
    before: Row,
    last: Row,
    wall_ms: i64,
}

impl<'c> Publisher<'c> {
    pub(crate) fn new(conn: &'c Connection, now: Now) -> Result<Self> {
        let file = file(conn)?;
        let before = newest(conn)?.unwrap_or(Row {
            seq: 0,
            file_ms: 0,
            total_bytes: 0,
        });
        let mut last = before;
        last.file_ms = last
            .file_ms
            .max(now.steady_ms.saturating_add(file.offset_ms));
        Ok(Self {
            conn,
            file,
            before,
            last,
            wall_ms: now.wall_ms,
        })
    }

    pub(crate) fn add(&mut self, channel: &str, payload: &[u8]) -> Result<MessageId> {
        let failed = sqlite("publish a message");
        let bytes = channel.len() + payload.len() + ROW_BYTES;
        let seq = self.last.seq + 1;
        let total_bytes = self.last.total_bytes + i64::try_from(bytes).unwrap_or(i64::MAX);
        self.conn
            .prepare_cached("INSERT INTO _monolite_pubsub_message VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
            .map_err(&failed)?
            .execute((
                seq,
                self.last.file_ms,
                total_bytes,
                self.wall_ms,
                channel,
                payload,
            ))
            .map_err(failed)?;
        self.last.seq = seq;
        self.last.total_bytes = total_bytes;
        Ok(id(self.file.epoch, seq))
    }

    /// Deletes old messages, if enough was published since the last look.
    pub(crate) fn finish(self) -> Result<()> {
        let bytes_every = (self.file.keep_bytes / PRUNE_EVERY).max(1);
        let crossed = |from: i64, to: i64, every: i64| to / every - from / every;
        let looks = crossed(self.before.seq, self.last.seq, PRUNE_EVERY).max(
            crossed(self.before.total_bytes, self.last.total_bytes, bytes_every).min(PRUNE_EVERY),
        );
        if looks > 0 {
            self.prune(looks.saturating_mul(PRUNE_STEP))?;
        }
        Ok(())
    }

    /// Deletes up to `most` of the oldest messages that exceed the window.
    fn prune(&self, most: i64) -> Result<()> {
        let failed = sqlite("delete old messages");
        let over = |row: &Row| {
            row.seq <= self.last.seq - self.file.keep_messages
                || row.total_bytes <= self.last.total_bytes - self.file.keep_bytes
                || row.file_ms < self.last.file_ms.saturating_sub(self.file.keep_ms)
        };
        let mut oldest = self
            .conn
            .prepare_cached(
                "SELECT seq, file_ms, total_bytes FROM _monolite_pubsub_message
                 ORDER BY seq LIMIT ?1",
            )
            .map_err(&failed)?;
        let mut rows = oldest.query([most]).map_err(&failed)?;
        let mut keep_from = None;
        while let Some(found) = rows.next().map_err(&failed)? {
            let found = row(found).map_err(&failed)?;
            // The newest stays: the next `seq` is counted from it.
            if !over(&found) || found.seq == self.last.seq {
                break;
            }
            keep_from = Some(found.seq + 1);
        }
        drop(rows);
        if let Some(keep_from) = keep_from {
            self.conn
                .prepare_cached("DELETE FROM _monolite_pubsub_message WHERE seq < ?1")
                .map_err(&failed)?
                .execute([keep_from])
                .map_err(&failed)?;
            self.shrink().map_err(failed)?;
        }
        Ok(())
    }

    /// Shrinks the file if more than half of it is free pages; otherwise they
    /// are used again.
    fn shrink(&self) -> rusqlite::Result<()> {
        let ask = |pragma: &str| self.conn.query_row(pragma, [], |row| row.get::<_, i64>(0));
        let free = ask("PRAGMA freelist_count")?;
        if free < SPARE_PAGES || free * 2 < ask("PRAGMA page_count")? {
            return Ok(());
        }
        let mut vacuum = self
            .conn
            .prepare(&format!("PRAGMA incremental_vacuum({VACUUM_STEP})"))?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }
}
