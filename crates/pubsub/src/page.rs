//! Reads messages for a subscriber, a page at a time.

use std::sync::Arc;

use rusqlite::{Connection, Rows};

use crate::error::sqlite;
use crate::message::timestamp;
use crate::operations::{Bounds, bounds, id};
use crate::{Message, Result};

/// Most rows that one page looks at.
const PAGE_ROWS: usize = 512;
/// Payload bytes after which a page ends.
const PAGE_BYTES: usize = 1 << 20;
/// Up to this many channels are read by the index, one after the other.
const BY_INDEX: usize = 8;

/// True for the channels whose messages are wanted.
pub type Wanted = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What a subscriber asks for.
#[derive(Clone)]
pub struct Ask {
    /// Messages after this `seq`.
    pub after: u64,
    /// The names of the only channels that can be wanted, if they are known.
    pub only: Option<Arc<[Arc<str>]>>,
    /// Which messages to return.
    pub wanted: Wanted,
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask")
            .field("after", &self.after)
            .field("only", &self.only)
            .finish_non_exhaustive()
    }
}

/// A part of the file, in the order of `seq`.
#[derive(Debug)]
pub struct Page {
    /// Which messages the file held when this was read.
    pub bounds: Bounds,
    /// The wanted messages of this part, in order.
    pub messages: Vec<Arc<Message>>,
    /// The last `seq` of this part; ask for what comes after it next.
    pub upto: u64,
}

impl Page {
    /// True if there was nothing after this part when it was read.
    pub fn is_last(&self) -> bool {
        self.upto >= self.bounds.newest
    }
}

/// Reads what comes after `ask.after`: at most 512 rows and about 1 MiB. If older
/// messages were pruned it begins with the oldest: compare `ask.after` with
/// `bounds.oldest`, which is of the same snapshot, to see the gap.
///
/// # Errors
/// [`Error::Sqlite`](crate::Error::Sqlite).
pub fn page(conn: &Connection, ask: &Ask) -> Result<Page> {
    if conn.is_autocommit() {
        let failed = sqlite("read messages");
        let snapshot = conn.unchecked_transaction().map_err(&failed)?;
        let page = read(conn, ask)?;
        snapshot.finish().map_err(failed)?;
        return Ok(page);
    }
    read(conn, ask)
}

fn read(conn: &Connection, ask: &Ask) -> Result<Page> {
    let bounds = bounds(conn)?;
    let mut found = Found {
        epoch: bounds.epoch.cast_signed(),
        bytes: 0,
        messages: Vec::new(),
    };
    let after = ask.after.max(bounds.oldest.saturating_sub(1));
    let upto = if after >= bounds.newest {
        ask.after
    } else {
        match &ask.only {
            Some(channels) if channels.len() <= BY_INDEX => {
                by_index(conn, after, bounds.newest, channels, &mut found)?
            }
            _ => scan(conn, after, bounds.newest, ask, &mut found)?,
        }
    };
    Ok(Page {
        bounds,
        messages: found.messages,
        upto,
    })
}

struct Found {
    epoch: i64,
    bytes: usize,
    messages: Vec<Arc<Message>>,
}

impl Found {
    fn add(&mut self, seq: i64, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
        let message = Message {
            id: id(self.epoch, seq),
            published_at: timestamp(row, 1)?,
            channel: row.get_ref(2)?.as_str()?.into(),
            payload: row.get_ref(3)?.as_blob()?.to_vec(),
        };
        self.bytes += message.payload.len();
        self.messages.push(Arc::new(message));
        Ok(())
    }
}

/// Reads all channels, row by row. A payload nobody wants is not read.
fn scan(conn: &Connection, after: u64, newest: u64, ask: &Ask, found: &mut Found) -> Result<u64> {
    let failed = sqlite("read messages");
    let mut statement = conn
        .prepare_cached(
            "SELECT seq, published_ms, channel, payload FROM _monolite_pubsub_message
             WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )
        .map_err(&failed)?;
    let mut rows = statement
        .query((after.cast_signed(), PAGE_ROWS.cast_signed()))
        .map_err(&failed)?;
    let mut upto = newest;
    let mut looked_at = 0;
    while let Some(row) = rows.next().map_err(&failed)? {
        let seq: i64 = row.get(0).map_err(&failed)?;
        let channel = row.get_ref(2).map_err(&failed)?;
        if (ask.wanted)(channel.as_str().unwrap_or_default()) {
            found.add(seq, row).map_err(&failed)?;
        }
        looked_at += 1;
        if looked_at == PAGE_ROWS || found.bytes >= PAGE_BYTES {
            upto = seq.unsigned_abs();
            break;
        }
    }
    Ok(upto)
}

/// Reads a few channels, each by the index, and sorts the messages.
fn by_index(
    conn: &Connection,
    after: u64,
    newest: u64,
    channels: &[Arc<str>],
    found: &mut Found,
) -> Result<u64> {
    let failed = sqlite("read the messages of a channel");
    let mut statement = conn
        .prepare_cached(
            "SELECT seq, published_ms, channel, payload FROM _monolite_pubsub_message
             WHERE channel = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4",
        )
        .map_err(&failed)?;
    let mut upto = newest;
    for channel in channels {
        found.bytes = 0;
        let rows = statement
            .query((
                channel,
                after.cast_signed(),
                // What comes after the end of another channel's part is not
                // returned.
                upto.cast_signed(),
                PAGE_ROWS.cast_signed(),
            ))
            .map_err(&failed)?;
        if let Some(end) = take(rows, found, PAGE_BYTES / channels.len()).map_err(&failed)? {
            upto = upto.min(end);
        }
    }
    found.messages.retain(|message| message.id.seq <= upto);
    found
        .messages
        .sort_unstable_by_key(|message| message.id.seq);
    Ok(upto)
}

/// Where it ended, if at a limit.
fn take(mut rows: Rows<'_>, found: &mut Found, bytes: usize) -> rusqlite::Result<Option<u64>> {
    let mut taken = 0;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        found.add(seq, row)?;
        taken += 1;
        if taken == PAGE_ROWS || found.bytes >= bytes {
            return Ok(Some(seq.unsigned_abs()));
        }
    }
    Ok(None)
}
