//! Claims: which process computes a missing value.
//!
//! Invariants:
//! - at most one claim on a key is in force at a time, over all processes;
//! - a claim ends when its value is set, when its holder gives up, or when its
//!   lease runs out: a process that died delays nobody for longer.
//!
//! The lease runs by the machine's steady clock, which nobody sets; a claim of an
//! earlier boot is void.

use rusqlite::{Connection, OptionalExtension};

use crate::Result;
use crate::expiry::Expiry;
use crate::key::Key;
use crate::tables::Tables;

/// The time by both clocks; see [`monolite_component::Clock`].
#[derive(Debug, Clone, Copy)]
pub struct Moment<'b> {
    /// Wall clock.
    pub wall_ms: i64,
    /// Steady clock.
    pub steady_ms: i64,
    /// The boot that the steady clock counts from.
    pub boot: &'b str,
}

/// The answer of [`Tables::claim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The caller computes the value.
    Mine,
    /// The value has been set meanwhile.
    Present,
    /// Another task computes it.
    Taken {
        /// When the claim ends unless it is extended: a time of the steady
        /// clock, in milliseconds.
        until_ms: i64,
    },
}

impl Tables {
    /// Claims a key for `token`, a number nobody else uses.
    ///
    /// # Errors
    /// SQLite's.
    pub fn claim(
        &self,
        conn: &Connection,
        key: &Key,
        token: i64,
        lease_ms: i64,
        now: Moment<'_>,
    ) -> Result<Claim> {
        if self.expiry(conn, key, now.wall_ms)? != Expiry::Missing {
            return Ok(Claim::Present);
        }
        if let Some(until_ms) = self.claimed(conn, key, now)? {
            return Ok(Claim::Taken { until_ms });
        }
        let mut put = conn.prepare_cached(
            "INSERT OR REPLACE INTO _monolite_cache_claim VALUES (?1, ?2, ?3, ?4)",
        )?;
        let until = now.steady_ms.saturating_add(lease_ms);
        put.execute((self.id(key), token, until, now.boot))?;
        Ok(Claim::Mine)
    }

    /// Until when a key is claimed, if it is. Reads only.
    ///
    /// # Errors
    /// SQLite's.
    pub fn claimed(&self, conn: &Connection, key: &Key, now: Moment<'_>) -> Result<Option<i64>> {
        let mut get =
            conn.prepare_cached("SELECT until_ms, boot FROM _monolite_cache_claim WHERE id = ?1")?;
        let found: Option<(i64, String)> = get
            .query_row([self.id(key)], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(found
            .filter(|(until, boot)| *until > now.steady_ms && boot == now.boot)
            .map(|(until, _)| until))
    }

    /// Ends a claim, if it is still the caller's.
    ///
    /// # Errors
    /// SQLite's.
    pub fn release(&self, conn: &Connection, key: &Key, token: i64) -> Result<bool> {
        let mut delete =
            conn.prepare_cached("DELETE FROM _monolite_cache_claim WHERE id = ?1 AND token = ?2")?;
        Ok(delete.execute((self.id(key), token))? > 0)
    }

    /// Ends the claims on keys that are written: a value that is being computed
    /// for them is older than what is written now, and must not replace it.
    pub(crate) fn void_claims<'k>(
        &self,
        conn: &Connection,
        keys: impl Iterator<Item = &'k Key>,
    ) -> Result<()> {
        // Nearly always there are none.
        let mut any = conn.prepare_cached("SELECT 1 FROM _monolite_cache_claim LIMIT 1")?;
        if any.exists([])? {
            let mut delete =
                conn.prepare_cached("DELETE FROM _monolite_cache_claim WHERE id = ?1")?;
            for key in keys {
                delete.execute([self.id(key)])?;
            }
        }
        Ok(())
    }

    /// Ends all claims: for a tag or a namespace it is unknown which of them are
    /// meant. Their holders return what they compute without storing it.
    pub(crate) fn void_all_claims(conn: &Connection) -> Result<()> {
        conn.prepare_cached("DELETE FROM _monolite_cache_claim")?
            .execute([])?;
        Ok(())
    }

    /// Gives claims a new lease, beginning now.
    ///
    /// # Errors
    /// SQLite's.
    pub fn extend(
        &self,
        conn: &Connection,
        claims: &[(Key, i64)],
        lease_ms: i64,
        now: Moment<'_>,
    ) -> Result<()> {
        let until = now.steady_ms.saturating_add(lease_ms);
        let mut set = conn.prepare_cached(
            "UPDATE _monolite_cache_claim SET until_ms = ?3 WHERE id = ?1 AND token = ?2",
        )?;
        for (key, token) in claims {
            set.execute((self.id(key), token, until))?;
        }
        Ok(())
    }

    /// Removes the claims that are no longer in force.
    ///
    /// # Errors
    /// SQLite's.
    pub fn drop_void_claims(&self, conn: &Connection, now: Moment<'_>) -> Result<()> {
        conn.execute(
            "DELETE FROM _monolite_cache_claim WHERE boot <> ?1 OR until_ms <= ?2",
            (now.boot, now.steady_ms),
        )?;
        Ok(())
    }
}
