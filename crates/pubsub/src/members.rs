//! Who is present in a channel: plain functions over a connection to the pub/sub
//! file.
//!
//! A member is present in a channel while at least one **slot** holds it: one for
//! each browser tab or connection. Slots belong to the **lease** of a process,
//! which says until when they are valid. A change is published as a message in
//! the same transaction, on a channel of its own: a join with the member's first
//! slot, a leave with its last. So watchers see exactly the history of the
//! table, in order.
//!
//! A lease runs by the machine's steady clock, within one boot: setting the wall
//! clock ends none, and a lease of an earlier boot is over. The slots of a lease
//! that ran out are removed by whichever process comes first ([`reap`]); until
//! then [`members`] no longer shows them.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::sqlite;
use crate::message::{RESERVED, check_name, timestamp};
use crate::operations::{Bounds, Now, Publisher, bounds};
use crate::{Error, Result};

/// Slots removed by one call of [`reap`].
const REAP_STEP: i64 = 512;
/// Largest description of a member, as JSON, in bytes.
pub const META_MAX_BYTES: usize = 16 << 10;

/// The number of a lease; never used twice in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId(pub(crate) i64);

/// One who is present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// Its name, unique in the channel.
    pub name: String,
    /// Its descriptions, one for each of its slots, the oldest first.
    pub metas: Vec<Value>,
    /// When its oldest slot joined, by that process's wall clock; to the
    /// millisecond.
    pub joined_at: Timestamp,
}

/// What watchers get, as the payload of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Change {
    Join { member: String, meta: Value },
    Update { member: String, meta: Value },
    Leave { member: String },
}

/// One presence of a member.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// Unique within its lease.
    pub number: i64,
    /// The channel.
    pub channel: String,
    /// The member's name.
    pub member: String,
    /// The member's description, of at most [`META_MAX_BYTES`] as JSON.
    pub meta: Value,
}

/// The channel on which the changes of the members of `channel` are published.
pub(crate) fn changes_channel(channel: &str) -> String {
    format!("{}presence:{channel}", RESERVED)
}

pub(crate) fn check(slot: &Slot) -> Result<()> {
    check_name("channel", &slot.channel)?;
    check_name("member", &slot.member)?;
    let bytes = slot.meta.to_string().len();
    if bytes > META_MAX_BYTES {
        return Err(Error::TooLarge {
            channel: slot.channel.clone(),
            bytes,
            max: META_MAX_BYTES,
        });
    }
    Ok(())
}

fn publish_change(conn: &Connection, now: Now, channel: &str, change: &Change) -> Result<()> {
    let payload = serde_json::to_vec(change).map_err(|source| Error::Json {
        what: "write the change of a member as JSON",
        source,
    })?;
    let mut publisher = Publisher::new(conn, now)?;
    publisher.add(&changes_channel(channel), &payload)?;
    publisher.finish()
}

/// Takes a lease for `lease_ms`.
///
/// # Errors
/// [`Error::Sqlite`].
pub fn lease(conn: &Connection, now: Now, boot: &str, lease_ms: i64) -> Result<LeaseId> {
    conn.execute(
        "INSERT INTO _monolite_pubsub_lease (boot, until_ms) VALUES (?1, ?2)",
        (boot, now.steady_ms.saturating_add(lease_ms)),
    )
    .map_err(sqlite("take a presence lease"))?;
    Ok(LeaseId(conn.last_insert_rowid()))
}

/// Renews a lease for `lease_ms` from now, if it has not run out.
///
/// # Errors
/// [`Error::LeaseLost`]: take a new one and join again; [`Error::Sqlite`].
pub fn beat(conn: &Connection, now: Now, boot: &str, lease: LeaseId, lease_ms: i64) -> Result<()> {
    let renewed = conn
        .prepare_cached(
            "UPDATE _monolite_pubsub_lease SET until_ms = ?1
             WHERE id = ?2 AND boot = ?3 AND until_ms >= ?4",
        )
        .and_then(|mut renew| {
            renew.execute((
                now.steady_ms.saturating_add(lease_ms),
                lease.0,
                boot,
                now.steady_ms,
            ))
        })
        .map_err(sqlite("renew a presence lease"))?;
    match renewed {
        0 => Err(Error::LeaseLost),
        _ => Ok(()),
    }
}

/// Adds a slot. Watchers get a join if it is the member's first.
///
/// # Errors
/// [`Error::LeaseLost`], [`Error::Name`], [`Error::TooLarge`] over
/// [`META_MAX_BYTES`], [`Error::Sqlite`].
pub fn join(conn: &Connection, now: Now, boot: &str, lease: LeaseId, slot: &Slot) -> Result<()> {
    check(slot)?;
    let failed = sqlite("join a channel");
    let held = conn
        .prepare_cached(
            "SELECT 1 FROM _monolite_pubsub_lease WHERE id = ?1 AND boot = ?2 AND until_ms >= ?3",
        )
        .and_then(|mut held| {
            held.query_row((lease.0, boot, now.steady_ms), |_| Ok(()))
                .optional()
        })
        .map_err(&failed)?;
    if held.is_none() {
        return Err(Error::LeaseLost);
    }
    let known = is_present(conn, &slot.channel, &slot.member).map_err(&failed)?;
    conn.prepare_cached(
        "INSERT INTO _monolite_pubsub_presence
             (channel, member, lease, place, joined_ms, meta) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET meta = excluded.meta",
    )
    .and_then(|mut insert| {
        insert.execute((
            &slot.channel,
            &slot.member,
            lease.0,
            slot.number,
            now.wall_ms,
            slot.meta.to_string(),
        ))
    })
    .map_err(failed)?;
    if known {
        return Ok(());
    }
    let change = Change::Join {
        member: slot.member.clone(),
        meta: slot.meta.clone(),
    };
    publish_change(conn, now, &slot.channel, &change)
}

fn is_present(conn: &Connection, channel: &str, member: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM _monolite_pubsub_presence
             WHERE channel = ?1 AND member = ?2)",
    )?
    .query_row((channel, member), |row| row.get(0))
}

/// Replaces the description of a slot; watchers get an update.
///
/// # Errors
/// [`Error::LeaseLost`] if there is no such slot; otherwise as [`join`].
pub fn update(conn: &Connection, now: Now, lease: LeaseId, slot: &Slot) -> Result<()> {
    check(slot)?;
    let changed = conn
        .prepare_cached(
            "UPDATE _monolite_pubsub_presence SET meta = ?1
             WHERE channel = ?2 AND member = ?3 AND lease = ?4 AND place = ?5",
        )
        .and_then(|mut update| {
            update.execute((
                slot.meta.to_string(),
                &slot.channel,
                &slot.member,
                lease.0,
                slot.number,
            ))
        })
        .map_err(sqlite("update a member"))?;
    if changed == 0 {
        return Err(Error::LeaseLost);
    }
    let change = Change::Update {
        member: slot.member.clone(),
        meta: slot.meta.clone(),
    };
    publish_change(conn, now, &slot.channel, &change)
}

/// Removes a slot, if there is one. Watchers get a leave if it was the member's
/// last.
///
/// # Errors
/// [`Error::Sqlite`].
pub fn leave(conn: &Connection, now: Now, lease: LeaseId, slot: i64) -> Result<()> {
    let failed = sqlite("leave a channel");
    let gone = conn
        .prepare_cached(
            "DELETE FROM _monolite_pubsub_presence WHERE lease = ?1 AND place = ?2
             RETURNING channel, member",
        )
        .and_then(|mut delete| {
            let rows = delete.query_map((lease.0, slot), |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(String, String)>>>()
        })
        .map_err(&failed)?;
    for (channel, member) in gone {
        if !is_present(conn, &channel, &member).map_err(&failed)? {
            publish_change(conn, now, &channel, &Change::Leave { member })?;
        }
    }
    Ok(())
}

/// Ends a lease, and removes all its slots.
///
/// # Errors
/// [`Error::Sqlite`].
pub fn release(conn: &Connection, now: Now, lease: LeaseId) -> Result<()> {
    while remove_some(conn, now, lease)? {}
    Ok(())
}

/// Removes the slots of a lease that ran out, at most 512 at a time; true if
/// there may be more.
///
/// # Errors
/// [`Error::Sqlite`].
pub fn reap(conn: &Connection, now: Now, boot: &str) -> Result<bool> {
    let dead: Option<i64> = conn
        .prepare_cached(
            "SELECT id FROM _monolite_pubsub_lease WHERE boot <> ?1 OR until_ms < ?2 LIMIT 1",
        )
        .and_then(|mut dead| {
            dead.query_row((boot, now.steady_ms), |row| row.get(0))
                .optional()
        })
        .map_err(sqlite("find the leases that ran out"))?;
    match dead {
        None => Ok(false),
        Some(lease) => remove_some(conn, now, LeaseId(lease)).map(|_| true),
    }
}

/// Removes some slots of a lease, and the lease itself with the last; true if
/// there may be more.
fn remove_some(conn: &Connection, now: Now, lease: LeaseId) -> Result<bool> {
    let failed = sqlite("end a lease");
    let slots: Vec<i64> = conn
        .prepare_cached("SELECT place FROM _monolite_pubsub_presence WHERE lease = ?1 LIMIT ?2")
        .and_then(|mut some| {
            let rows = some.query_map((lease.0, REAP_STEP), |row| row.get(0))?;
            rows.collect()
        })
        .map_err(&failed)?;
    for slot in &slots {
        leave(conn, now, lease, *slot)?;
    }
    if i64::try_from(slots.len()).is_ok_and(|count| count == REAP_STEP) {
        return Ok(true);
    }
    conn.execute(
        "DELETE FROM _monolite_pubsub_lease WHERE id = ?1",
        [lease.0],
    )
    .map_err(failed)?;
    Ok(false)
}

/// When the first of the leases runs out, in milliseconds from now; `None` if
/// there is none.
///
/// # Errors
/// [`Error::Sqlite`].
pub fn next_expiry_ms(conn: &Connection, now: Now, boot: &str) -> Result<Option<i64>> {
    conn.prepare_cached("SELECT min(iif(boot = ?1, until_ms, 0)) FROM _monolite_pubsub_lease")
        .and_then(|mut first| first.query_row([boot], |row| row.get::<_, Option<i64>>(0)))
        .map(|until| until.map(|until| until.saturating_sub(now.steady_ms).max(0)))
        .map_err(sqlite("find the first lease to run out"))
}

/// Who is present in a channel, in the order of their names.
///
/// # Errors
/// [`Error::Sqlite`], [`Error::Json`].
pub fn members(conn: &Connection, now: Now, boot: &str, channel: &str) -> Result<Vec<Member>> {
    list(conn, channel, boot, now.steady_ms)
}

/// As [`members`], including those whose lease ran out and who were not removed
/// yet: the sum of all changes published so far, up to the newest `seq`.
///
/// # Errors
/// As [`members`].
pub fn roster(conn: &Connection, channel: &str) -> Result<(Bounds, Vec<Member>)> {
    let failed = sqlite("list the members of a channel");
    let snapshot = conn.unchecked_transaction().map_err(&failed)?;
    let bounds = bounds(conn)?;
    let members = list(conn, channel, "", i64::MIN)?;
    snapshot.finish().map_err(failed)?;
    Ok((bounds, members))
}

/// `boot`: that of the leases that count; empty for all.
fn list(conn: &Connection, channel: &str, boot: &str, since_ms: i64) -> Result<Vec<Member>> {
    let failed = sqlite("list the members of a channel");
    let mut statement = conn
        .prepare_cached(
            "SELECT member, joined_ms, meta FROM _monolite_pubsub_presence
             JOIN _monolite_pubsub_lease ON id = lease
             WHERE channel = ?1 AND (boot = ?2 OR ?2 = '') AND until_ms >= ?3
             ORDER BY member, joined_ms, lease, place",
        )
        .map_err(&failed)?;
    let mut rows = statement
        .query((channel, boot, since_ms))
        .map_err(&failed)?;
    let mut members: Vec<Member> = Vec::new();
    while let Some(row) = rows.next().map_err(&failed)? {
        let name = row.get_ref(0).map_err(&failed)?;
        let name = name.as_str().unwrap_or_default();
        let meta: String = row.get(2).map_err(&failed)?;
        let meta = serde_json::from_str(&meta).map_err(|source| Error::Json {
            what: "read a member's description",
            source,
        })?;
        match members.last_mut() {
            Some(last) if last.name == name => last.metas.push(meta),
            _ => members.push(Member {
                name: name.into(),
                metas: vec![meta],
                joined_at: timestamp(row, 1).map_err(&failed)?,
            }),
        }
    }
    Ok(members)
}
