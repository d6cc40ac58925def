//! Lists who is present.

use rusqlite::Connection;

use crate::error::sqlite;
use crate::operations::{Now, bounds};
use crate::{Bounds, Error, Member, Result};

/// Who is present in a channel, by key.
///
/// # Errors
/// [`Error::Sqlite`], [`Error::Json`].
pub fn members(conn: &Connection, now: Now, boot: &str, channel: &str) -> Result<Vec<Member>> {
    list(conn, channel, boot, now.steady_ms)
}

/// As [`members`], with those whose lease ran out and of whom nobody was told
/// yet: what all that was told adds up to, with the newest `seq` it holds.
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

/// `boot`: of the leases that count; empty for any.
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
        let key = row.get_ref(0).map_err(&failed)?;
        let key = key.as_str().unwrap_or_default();
        let meta: String = row.get(2).map_err(&failed)?;
        let meta = serde_json::from_str(&meta).map_err(|source| Error::Json {
            what: "read what is said of a member",
            source,
        })?;
        match members.last_mut() {
            Some(last) if last.key == key => last.metas.push(meta),
            _ => members.push(Member {
                key: key.into(),
                metas: vec![meta],
                joined_ms: row.get(1).map_err(&failed)?,
            }),
        }
    }
    Ok(members)
}
