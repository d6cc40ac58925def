//! Publishing inside the app's own transaction, in another file.
//!
//! A row of the outbox is a message to be published. It is in the app's file, so
//! that it exists exactly if the app's transaction commits. A relay ([`take_in`],
//! then [`delete`]) moves it:
//!
//! 1. in **one** transaction on the pub/sub file, which begins first: read the
//!    outbox as it is *now*, publish the rows that are not in
//!    `_monolite_pubsub_relayed`, and record them there;
//! 2. delete the rows from the outbox, in a transaction on the app's file;
//! 3. in the next round of 1: delete the records of rows that the outbox no
//!    longer has.
//!
//! **No loss**: a row leaves the outbox only after the commit that published it.
//! **No duplicate**: a process that dies between 1 and 2 leaves rows that are
//! recorded; the next round only deletes them. A record is deleted only inside
//! 1, by a process that sees the outbox without the row: SQLite runs one such
//! transaction at a time, and the next one sees the outbox no older. So relays of
//! several processes can run at once. **Order**: rows are published in the order
//! of their ids, which is the order of the app's commits.
//!
//! A row is identified by its id *and* a random token: if the app's file is
//! restored from a backup, ids repeat, tokens do not. Rows that the restored file
//! holds as unpublished are published, again if their record was deleted. If the
//! pub/sub file was rebuilt meanwhile, the rows still in the outbox are published
//! in the new file; subscribers that resume get a gap in any case.

use std::collections::BTreeSet;

use monolite_component::Schema;
use rusqlite::Connection;

use crate::error::sqlite;
use crate::message::{PAYLOAD_MAX_BYTES, check_message};
use crate::operations::{Now, Publisher};
use crate::{Error, NewMessage, Result};

/// The tables in the app's file.
pub const SCHEMA: Schema = Schema {
    component: "outbox",
    versions: &[include_str!("outbox.sql")],
};

/// Rows moved by one round.
const ROUND_ROWS: usize = 512;
/// Payload bytes after which a round ends.
const ROUND_BYTES: usize = 1 << 20;

/// Creates the outbox in the app's file; [`PubSub::relay`](crate::PubSub::relay)
/// does it too.
///
/// # Errors
/// [`Error::Schema`].
pub fn install(conn: &Connection) -> Result<()> {
    Ok(SCHEMA.install(conn)?)
}

/// Publishes with the transaction that is open on `conn`, a connection to the
/// app's file: it is delivered soon after that commits, and never otherwise.
///
/// ```
/// # let app = rusqlite::Connection::open_in_memory().unwrap();
/// use monolite_pubsub::{NewMessage, outbox};
///
/// outbox::install(&app)?; // Once.
/// let tx = app.unchecked_transaction().unwrap();
/// // … the app's own writes …
/// outbox::publish(&tx, &NewMessage::new("orders", "42 paid"))?;
/// tx.commit().unwrap();
/// # Ok::<(), monolite_pubsub::Error>(())
/// ```
///
/// # Errors
/// [`Error::Name`]; [`Error::TooLarge`] over [`PAYLOAD_MAX_BYTES`];
/// [`Error::NoOutbox`]; [`Error::Sqlite`].
pub fn publish(conn: &Connection, message: &NewMessage) -> Result<()> {
    check_message(message, PAYLOAD_MAX_BYTES)?;
    let mut insert = conn
        .prepare_cached("INSERT INTO _monolite_outbox (channel, payload) VALUES (?1, ?2)")
        .map_err(|source| match exists(conn) {
            Ok(false) => Error::NoOutbox,
            _ => sqlite("publish through the outbox")(source),
        })?;
    insert
        .execute((&message.channel, &message.payload))
        .map_err(sqlite("publish through the outbox"))?;
    Ok(())
}

fn exists(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = '_monolite_outbox')",
        [],
        |row| row.get(0),
    )
}

/// True if the outbox has rows: one cheap read of the app's file.
///
/// # Errors
/// [`Error::Sqlite`].
pub fn is_pending(app: &Connection) -> Result<bool> {
    let failed = sqlite("look into the outbox");
    app.prepare_cached("SELECT EXISTS (SELECT 1 FROM _monolite_outbox)")
        .map_err(&failed)?
        .query_row([], |row| row.get(0))
        .map_err(failed)
}

/// Identifies a row of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    id: i64,
    token: i64,
}

/// Publishes the oldest rows of the outbox of `app`, at most 512 and about
/// 1 MiB, in the write transaction that is open on `conn`. Returns all it
/// found: [`delete`] them once that is committed.
///
/// The transaction on `conn` must have begun before, as IMMEDIATE; `app` must
/// not be in one.
///
/// # Errors
/// [`Error::Sqlite`].
pub fn take_in(conn: &Connection, app: &Connection, now: Now) -> Result<Vec<RowKey>> {
    let failed = sqlite("read the outbox");
    let snapshot = app.unchecked_transaction().map_err(&failed)?;
    let source: i64 = app
        .prepare_cached("SELECT source FROM _monolite_outbox_source")
        .map_err(&failed)?
        .query_row([], |row| row.get(0))
        .map_err(&failed)?;
    let recorded = delete_old_records(conn, app, source)
        .map_err(sqlite("delete the records of relayed messages"))?;

    let mut found = Vec::new();
    let mut bytes = 0;
    let mut statement = app
        .prepare_cached(
            "SELECT id, token, channel, payload FROM _monolite_outbox ORDER BY id LIMIT ?1",
        )
        .map_err(&failed)?;
    let mut rows = statement
        .query([ROUND_ROWS.cast_signed()])
        .map_err(&failed)?;
    let mut publisher = Publisher::new(conn, now)?;
    while bytes < ROUND_BYTES
        && let Some(row) = rows.next().map_err(&failed)?
    {
        let key = RowKey {
            id: row.get(0).map_err(&failed)?,
            token: row.get(1).map_err(&failed)?,
        };
        found.push(key);
        if recorded.contains(&key) {
            continue;
        }
        let channel = row.get_ref(2).map_err(&failed)?;
        let payload = row.get_ref(3).map_err(&failed)?;
        let payload = payload.as_bytes().unwrap_or_default();
        bytes += payload.len();
        publisher.add(channel.as_str().unwrap_or_default(), payload)?;
        conn.prepare_cached("INSERT INTO _monolite_pubsub_relayed VALUES (?1, ?2, ?3)")
            .and_then(|mut insert| insert.execute((source, key.id, key.token)))
            .map_err(sqlite("record a relayed message"))?;
    }
    publisher.finish()?;
    drop(rows);
    drop(statement);
    snapshot.finish().map_err(failed)?;
    Ok(found)
}

/// Deletes the records whose rows are gone from the outbox; returns the rest.
fn delete_old_records(
    conn: &Connection,
    app: &Connection,
    source: i64,
) -> rusqlite::Result<BTreeSet<RowKey>> {
    let mut recorded = BTreeSet::new();
    let mut gone = Vec::new();
    let mut there = app.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM _monolite_outbox WHERE id = ?1 AND token = ?2)",
    )?;
    let mut records =
        conn.prepare_cached("SELECT id, token FROM _monolite_pubsub_relayed WHERE source = ?1")?;
    let mut rows = records.query([source])?;
    while let Some(row) = rows.next()? {
        let key = RowKey {
            id: row.get(0)?,
            token: row.get(1)?,
        };
        if there.query_row((key.id, key.token), |row| row.get(0))? {
            recorded.insert(key);
        } else {
            gone.push(key);
        }
    }
    let mut delete = conn.prepare_cached(
        "DELETE FROM _monolite_pubsub_relayed WHERE source = ?1 AND id = ?2 AND token = ?3",
    )?;
    for key in gone {
        delete.execute((source, key.id, key.token))?;
    }
    Ok(recorded)
}

/// Deletes rows that were published, from the app's file.
///
/// # Errors
/// [`Error::Sqlite`].
pub fn delete(app: &Connection, rows: &[RowKey]) -> Result<()> {
    let failed = sqlite("delete relayed messages from the outbox");
    let mut delete = app
        .prepare_cached("DELETE FROM _monolite_outbox WHERE id = ?1 AND token = ?2")
        .map_err(&failed)?;
    for row in rows {
        delete.execute((row.id, row.token)).map_err(&failed)?;
    }
    Ok(())
}
