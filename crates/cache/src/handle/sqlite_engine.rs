//! The engine's functions, over what `sqlite.rs` has.

use std::fmt::Debug;
use std::sync::Arc;

use monolite_store::rusqlite::Connection;

use super::engine::{Engine, Reply};
use super::sqlite::{MANY_GETS, Sqlite};
use crate::{Change, Claim, Error, Found, Key, Outcome, Result, Stats, Write};

impl Engine for Sqlite {
    fn get(&self, key: Key) -> Reply<'_, Option<Found>> {
        Box::pin(self.look(key))
    }

    fn get_many(&self, keys: Vec<Key>) -> Reply<'_, Vec<Option<Found>>> {
        Box::pin(self.look_many(keys))
    }

    fn expires_ms(&self, key: Key) -> Reply<'_, Option<Option<i64>>> {
        Box::pin(async move {
            let files = self.shared.current(1).await?;
            let (tables, now) = (Arc::clone(&files.tables), self.shared.wall_ms());
            let read = move |conn: &Connection| Ok(tables.expires_ms(conn, &key, now)?);
            let found = files.store.read_point(read).await.map_err(Error::from);
            self.shared.mended(&files, found, None).await
        })
    }

    fn write(&self, key: Key, change: Change) -> Reply<'_, Outcome> {
        Box::pin(self.change(key, change))
    }

    fn write_many(&self, writes: Vec<(Key, Change)>) -> Reply<'_, Vec<Result<Outcome>>> {
        Box::pin(self.change_many(writes))
    }

    fn delete_tag(&self, tag: String) -> Reply<'_, u64> {
        Box::pin(async move {
            let mut total = 0;
            loop {
                let tag = tag.clone();
                let count = self
                    .run(move |conn, tables| tables.delete_tagged(conn, &tag, MANY_GETS))
                    .await?;
                self.committed(|tables| tables.committed_many());
                total += count as u64;
                if count < MANY_GETS {
                    return Ok(total);
                }
            }
        })
    }

    fn clear(&self, namespace: Option<String>) -> Reply<'_, u64> {
        Box::pin(self.clear_all(namespace))
    }

    fn remove_expired(&self) -> Reply<'_, u64> {
        Box::pin(self.sweep())
    }

    fn claim(&self, key: Key, token: i64) -> Reply<'_, Claim> {
        Box::pin(async move {
            // First: from now on it is kept alive, or abandoned.
            self.janitor.keep(key.clone(), token);
            let shared = Arc::clone(&self.shared);
            let wanted = key.clone();
            let claim = self
                .run(move |conn, tables| {
                    tables.claim(conn, &wanted, token, shared.lease_ms(), shared.moment())
                })
                .await;
            if !matches!(claim, Ok(Claim::Mine)) {
                self.janitor.forget(token);
            }
            claim
        })
    }

    fn settle(&self, key: Key, token: i64, value: Change) -> Reply<'_, ()> {
        Box::pin(async move {
            let due = value.due_ms(self.shared.wall_ms());
            let write = Arc::new(Write::new(key.clone(), value));
            let _place = self.place(write.weight()).await?;
            let shared = Arc::clone(&self.shared);
            let written = key.clone();
            let done = self
                .run_placed(move |conn, tables| {
                    // Whoever set or deleted the key meanwhile knows better.
                    if !tables.release(conn, &key, token)? {
                        return Ok(());
                    }
                    let outcomes = tables.apply(conn, &[&*write], shared.wall_ms())?;
                    for outcome in outcomes {
                        outcome?;
                    }
                    Ok(())
                })
                .await;
            done?;
            self.committed(|tables| tables.committed(&written));
            self.janitor.forget(token);
            if let Some(due) = due {
                self.janitor.due(due);
            }
            Ok(())
        })
    }

    fn abandon(&self, key: Key, token: i64) {
        self.janitor.abandon(key, token);
    }

    fn unclaimed(&self, key: Key) -> Reply<'_, ()> {
        Box::pin(self.until_unclaimed(key))
    }

    fn stats(&self) -> Reply<'_, Stats> {
        Box::pin(self.gather())
    }

    fn set_bound_bytes(&self, bytes: u64) -> Reply<'_, ()> {
        Box::pin(async move {
            let files = self.shared.files()?;
            files.tables.set_bound_bytes(bytes)?;
            loop {
                let now = self.shared.wall_ms();
                if !self
                    .run(move |conn, tables| tables.shrink(conn, now))
                    .await?
                {
                    break;
                }
            }
            self.janitor.checkpoint_and_wait().await
        })
    }

    fn close(&self) -> Reply<'_, ()> {
        Box::pin(self.end())
    }
}

impl Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite")
            .field("path", &self.shared.path)
            .finish()
    }
}
