//! Who is present in a channel, as plain functions over a connection to the
//! pub/sub file.
//!
//! A member is present in a channel while at least one **place** holds it: a
//! tab, a connection. Places belong to a **lease** of one process, which says
//! until when they are believed. Coming and going are told as messages in the
//! same transaction, on a channel beside the one they are about: a join with
//! the first place and a leave with the last. So those who watch see exactly
//! the history of the table, in order.
//!
//! A lease is renewed by the machine's steady clock, within one start of the
//! machine: a stepped wall clock ends none, and one of a former start is over.
//! What its end takes out of the table is done by whoever comes first
//! ([`reap`]); until then [`members`] no longer shows it.

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::sqlite;
use crate::operations::Now;
use crate::publisher::Publisher;
use crate::{Error, Result, name};

pub use crate::roster::{members, roster};

/// Places taken out by one call of [`reap`].
const REAP_STEP: i64 = 512;
/// Largest description of a member, as JSON, in bytes.
pub const META_MAX_BYTES: usize = 16 << 10;

/// One who is present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Member {
    /// Its name, unique in the channel.
    pub key: String,
    /// What was said of it, by each of its places, the oldest first.
    pub metas: Vec<Value>,
    /// When its oldest place came, in milliseconds since 1970.
    pub joined_ms: i64,
}

/// What is told to those who watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(crate) enum Told {
    Join { member: String, meta: Value },
    Update { member: String, meta: Value },
    Leave { member: String },
}

/// One place of a member.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Unique within its lease.
    pub place: i64,
    /// Where.
    pub channel: String,
    /// Who.
    pub member: String,
    /// What is said of it.
    pub meta: Value,
}

/// The channel on which the members of `channel` are told of.
pub(crate) fn told_on(channel: &str) -> String {
    format!("{}presence:{channel}", name::RESERVED)
}

pub(crate) fn check(place: &Place) -> Result<()> {
    name::check("channel", &place.channel)?;
    name::check("member", &place.member)?;
    let bytes = place.meta.to_string().len();
    if bytes > META_MAX_BYTES {
        return Err(Error::TooLarge {
            channel: place.channel.clone(),
            bytes,
            max: META_MAX_BYTES,
        });
    }
    Ok(())
}

fn tell(conn: &Connection, now: Now, channel: &str, told: &Told) -> Result<()> {
    let payload = serde_json::to_vec(told).map_err(|source| Error::Json {
        what: "tell of a member",
        source,
    })?;
    let mut publisher = Publisher::new(conn, now)?;
    publisher.add(&told_on(channel), &payload)?;
    publisher.finish()
}

/// Takes a lease for `lease_ms`.
///
/// # Errors
/// [`Error::Sqlite`].
pub fn lease(conn: &Connection, now: Now, boot: &str, lease_ms: i64) -> Result<i64> {
    conn.execute(
        "INSERT INTO _monolite_pubsub_lease (boot, until_ms) VALUES (?1, ?2)",
        (boot, now.steady_ms.saturating_add(lease_ms)),
    )
    .map_err(sqlite("take a presence lease"))?;
    Ok(conn.last_insert_rowid())
}

/// Renews a lease for `lease_ms` from now, if it has not run out.
///
/// # Errors
/// [`Error::LeaseLost`]: take a new one and join again; [`Error::Sqlite`].
pub fn beat(conn: &Connection, now: Now, boot: &str, lease: i64, lease_ms: i64) -> Result<()> {
    let renewed = conn
        .prepare_cached(
            "UPDATE _monolite_pubsub_lease SET until_ms = ?1
             WHERE id = ?2 AND boot = ?3 AND until_ms >= ?4",
        )
        .and_then(|mut renew| {
            renew.execute((
                now.steady_ms.saturating_add(lease_ms),
                lease,
                boot,
                now.steady_ms,
            ))
        })
        .map_err(sqlite("renew a presence lease"))?;
    match renewed {
        0 => Err(Error::LeaseLost(lease)),
        _ => Ok(()),
    }
}

/// Adds a place. Those who watch are told if it is the member's first.
///
/// # Errors
/// [`Error::LeaseLost`], [`Error::Name`], [`Error::TooLarge`] over
/// [`META_MAX_BYTES`], [`Error::Sqlite`].
pub fn join(conn: &Connection, now: Now, boot: &str, lease: i64, place: &Place) -> Result<()> {
    check(place)?;
    let failed = sqlite("join a channel");
    let held = conn
        .prepare_cached(
            "SELECT 1 FROM _monolite_pubsub_lease WHERE id = ?1 AND boot = ?2 AND until_ms >= ?3",
        )
        .and_then(|mut held| {
            held.query_row((lease, boot, now.steady_ms), |_| Ok(()))
                .optional()
        })
        .map_err(&failed)?;
    if held.is_none() {
        return Err(Error::LeaseLost(lease));
    }
    let known = is_present(conn, &place.channel, &place.member).map_err(&failed)?;
    conn.prepare_cached(
        "INSERT INTO _monolite_pubsub_presence
             (channel, member, lease, place, joined_ms, meta) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET meta = excluded.meta",
    )
    .and_then(|mut insert| {
        insert.execute((
            &place.channel,
            &place.member,
            lease,
            place.place,
            now.wall_ms,
            place.meta.to_string(),
        ))
    })
    .map_err(failed)?;
    if known {
        return Ok(());
    }
    let told = Told::Join {
        member: place.member.clone(),
        meta: place.meta.clone(),
    };
    tell(conn, now, &place.channel, &told)
}

fn is_present(conn: &Connection, channel: &str, member: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM _monolite_pubsub_presence
             WHERE channel = ?1 AND member = ?2)",
    )?
    .query_row((channel, member), |row| row.get(0))
}

/// Says something else of a place that is there; those who watch are told.
///
/// # Errors
/// [`Error::LeaseLost`] if it is not there; otherwise as [`join`].
pub fn update(conn: &Connection, now: Now, lease: i64, place: &Place) -> Result<()> {
    check(place)?;
    let changed = conn
        .prepare_cached(
            "UPDATE _monolite_pubsub_presence SET meta = ?1
             WHERE channel = ?2 AND member = ?3 AND lease = ?4 AND place = ?5",
        )
        .and_then(|mut update| {
            update.execute((
                place.meta.to_string(),
                &place.channel,
                &place.member,
                lease,
                place.place,
            ))
        })
        .map_err(sqlite("update a member"))?;
    if changed == 0 {
        return Err(Error::LeaseLost(lease));
    }
    let told = Told::Update {
        member: place.member.clone(),
        meta: place.meta.clone(),
    };
    tell(conn, now, &place.channel, &told)
}

/// Takes a place away, if it is there. Those who watch are told if it was the
/// member's last.
///
/// # Errors
/// [`Error::Sqlite`].
pub fn leave(conn: &Connection, now: Now, lease: i64, place: i64) -> Result<()> {
    let failed = sqlite("leave a channel");
    let gone = conn
        .prepare_cached(
            "DELETE FROM _monolite_pubsub_presence WHERE lease = ?1 AND place = ?2
             RETURNING channel, member",
        )
        .and_then(|mut delete| {
            let rows = delete.query_map((lease, place), |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<(String, String)>>>()
        })
        .map_err(&failed)?;
    for (channel, member) in gone {
        if !is_present(conn, &channel, &member).map_err(&failed)? {
            tell(conn, now, &channel, &Told::Leave { member })?;
        }
    }
    Ok(())
}

/// Gives a lease back, with all its places.
///
/// # Errors
/// [`Error::Sqlite`].
pub fn release(conn: &Connection, now: Now, lease: i64) -> Result<()> {
    while leave_some(conn, now, lease)? {}
    Ok(())
}

/// Takes the places of leases that ran out away, at most 512 at a time; true
/// if there is more.
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
        Some(lease) => leave_some(conn, now, lease).map(|_| true),
    }
}

/// Takes some places of a lease away, or else the lease; true if there may be
/// more.
fn leave_some(conn: &Connection, now: Now, lease: i64) -> Result<bool> {
    let failed = sqlite("take a lease back");
    let places: Vec<i64> = conn
        .prepare_cached("SELECT place FROM _monolite_pubsub_presence WHERE lease = ?1 LIMIT ?2")
        .and_then(|mut some| {
            let rows = some.query_map((lease, REAP_STEP), |row| row.get(0))?;
            rows.collect()
        })
        .map_err(&failed)?;
    for place in &places {
        leave(conn, now, lease, *place)?;
    }
    if i64::try_from(places.len()).is_ok_and(|count| count == REAP_STEP) {
        return Ok(true);
    }
    conn.execute("DELETE FROM _monolite_pubsub_lease WHERE id = ?1", [lease])
        .map_err(failed)?;
    Ok(false)
}

/// When the first of the leases runs out, in milliseconds from now; none if
/// there are no leases.
///
/// # Errors
/// [`Error::Sqlite`].
pub fn next_expiry_ms(conn: &Connection, now: Now, boot: &str) -> Result<Option<i64>> {
    conn.prepare_cached("SELECT min(iif(boot = ?1, until_ms, 0)) FROM _monolite_pubsub_lease")
        .and_then(|mut first| first.query_row([boot], |row| row.get::<_, Option<i64>>(0)))
        .map(|until| until.map(|until| until.saturating_sub(now.steady_ms).max(0)))
        .map_err(sqlite("find the first lease to run out"))
}
