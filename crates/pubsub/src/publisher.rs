//! Appends messages, and deletes the oldest in small steps.

use rusqlite::{Connection, OptionalExtension};

use crate::error::sqlite;
use crate::message::ROW_BYTES;
use crate::operations::{Now, id};
use crate::{MessageId, Result};

/// Messages between two looks at the bounds.
const PRUNE_EVERY: i64 = 64;
/// Most messages deleted at one look: four times what came since the last, so
/// that a window that was made smaller is reached soon and in small steps.
const PRUNE_STEP: i64 = 4 * PRUNE_EVERY;
/// Free pages given back to the disk at one look.
const VACUUM_STEP: i64 = 64;
/// Free pages the file keeps for messages to come.
const SPARE_PAGES: i64 = 1024;

/// The row of the file, as far as a publisher needs it.
struct File {
    epoch: i64,
    offset_ms: i64,
    keep_ms: i64,
    keep_messages: i64,
    keep_bytes: i64,
}

fn file(conn: &Connection) -> Result<File> {
    let failed = sqlite("read what the pub/sub file keeps");
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

/// What pruning knows of a message.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    seq: i64,
    pub(crate) file_ms: i64,
    total_bytes: i64,
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        seq: row.get(0)?,
        file_ms: row.get(1)?,
        total_bytes: row.get(2)?,
    })
}

pub(crate) fn newest(conn: &Connection) -> Result<Option<Row>> {
    let failed = sqlite("find the newest message");
    conn.prepare_cached(
        "SELECT seq, file_ms, total_bytes FROM _monolite_pubsub_message ORDER BY seq DESC LIMIT 1",
    )
    .map_err(&failed)?
    .query_row([], row)
    .optional()
    .map_err(failed)
}

/// Appends to the file inside the caller's write transaction.
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

    /// Prunes, if enough was published since the last look.
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

    /// Deletes up to `most` of the oldest messages, as far as they are over a
    /// bound.
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
            // The newest stays: it is what the next one counts on from.
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
            self.give_back().map_err(failed)?;
        }
        Ok(())
    }

    /// Shrinks the file where much of it is empty; else its pages are used
    /// again.
    fn give_back(&self) -> rusqlite::Result<()> {
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
