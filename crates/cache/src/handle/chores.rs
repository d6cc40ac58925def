//! What the janitor's thread does when it is due.

use std::sync::Arc;
use std::time::Duration;

use super::janitor::{Inner, Work};
use super::shared::Shared;
use crate::{Key, Result, Sweep};

/// Pause after each step of a sweep, so that it takes a part of one core.
const PAUSE: Duration = Duration::from_millis(2);

/// None of this is worth an error: what fails is tried again when it is due
/// again, and a damaged file is noticed by whoever uses it.
pub(crate) fn serve(inner: &Inner, shared: &Arc<Shared>) {
    loop {
        match inner.next(shared) {
            Work::Stop => return,
            Work::Shrink => {
                let _ = shrink(inner, shared);
            }
            Work::Sweep => {
                if let Ok(Some(next)) = sweep(inner, shared) {
                    let mut todo = inner.lock();
                    todo.due_ms = Some(todo.due_ms.map_or(next, |due| due.min(next)));
                }
            }
            Work::Fold => {
                let _ = fold(shared);
            }
            Work::Checkpoint(waiting) => {
                let _ = checkpoint(shared);
                for done in waiting {
                    let _ = done.send(());
                }
            }
            Work::Signs(claims) => {
                let _ = signs(shared, claims);
            }
            Work::Abandon(claims) => {
                let _ = abandon(shared, claims);
            }
        }
    }
}

/// Answers when the next sweep will find something.
fn sweep(inner: &Inner, shared: &Arc<Shared>) -> Result<Option<i64>> {
    let mut sweep = Sweep::default();
    while !sweep.done {
        let files = shared.files()?;
        let now = shared.wall_ms();
        let tables = &files.tables;
        files
            .store
            .read_blocking(|conn| Ok(tables.sweep_look(conn, &mut sweep, now)?))?;
        if sweep.found() {
            let (tables, mut found) = (Arc::clone(tables), sweep.clone());
            files
                .store
                .write_blocking(move |conn| Ok(tables.sweep_out(conn, &mut found, now)?))?;
            sweep.forget();
        }
        if inner.lock().stop {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    let files = shared.files()?;
    let (tables, shared) = (Arc::clone(&files.tables), Arc::clone(shared));
    let claims: bool = files.store.read_blocking(|conn| {
        let any = "SELECT EXISTS (SELECT 1 FROM _monolite_cache_claim)";
        Ok(conn.query_row(any, [], |row| row.get(0))?)
    })?;
    if claims {
        files
            .store
            .write_blocking(move |conn| Ok(tables.drop_void_claims(conn, shared.moment())?))?;
    }
    Ok(sweep.next_ms)
}

fn shrink(inner: &Inner, shared: &Shared) -> Result<()> {
    let mut shrunk = false;
    loop {
        let files = shared.files()?;
        let (tables, now) = (Arc::clone(&files.tables), shared.wall_ms());
        let more = files
            .store
            .write_blocking(move |conn| Ok(tables.shrink(conn, now)?))?;
        if !more || inner.lock().stop {
            break;
        }
        shrunk = true;
        std::thread::sleep(PAUSE);
    }
    if shrunk { checkpoint(shared) } else { Ok(()) }
}

fn fold(shared: &Shared) -> Result<()> {
    let files = shared.files()?;
    let tables = Arc::clone(&files.tables);
    Ok(files
        .store
        .write_blocking(move |conn| Ok(tables.fold_hits(conn)?))?)
}

fn signs(shared: &Arc<Shared>, claims: Vec<(Key, i64)>) -> Result<()> {
    let files = shared.files()?;
    let (tables, shared) = (Arc::clone(&files.tables), Arc::clone(shared));
    Ok(files.store.write_blocking(move |conn| {
        Ok(tables.extend(conn, &claims, shared.lease_ms(), shared.moment())?)
    })?)
}

fn abandon(shared: &Shared, claims: Vec<(Key, i64)>) -> Result<()> {
    let files = shared.files()?;
    let tables = Arc::clone(&files.tables);
    Ok(files.store.write_blocking(move |conn| {
        for (key, token) in &claims {
            tables.release(conn, key, *token)?;
        }
        Ok(())
    })?)
}

/// On a connection of its own: the writer's is always inside a transaction.
fn checkpoint(shared: &Shared) -> Result<()> {
    use monolite_store::rusqlite::{Connection, OpenFlags};
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(&shared.path, flags)?;
    conn.busy_timeout(Duration::from_secs(1))?;
    conn.pragma_update(None, "synchronous", 0)?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}
