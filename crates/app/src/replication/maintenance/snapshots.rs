//! Snapshots of the databases on their own volume: the quickest way back after a mistake, as long as
//! the disk works.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use monolite_platform::path::with_suffix;
use monolite_replica::backup::Error;
use monolite_replica::backup::local::{self, Snapshot, TakeOptions};

use super::super::context::{Context, has_content, millis, now_ms};
use super::pauses;

/// Number of days of which the last snapshot is kept.
const DAYS: u32 = 5;
/// A snapshot must leave this part of the disk free, a quarter: the app needs it more.
const FREE_SHARE: u64 = 4;

/// Takes them, until the task is aborted.
pub(super) async fn take(context: Arc<Context>, every: Duration) {
    let (first, pause) = pauses(every);
    let mut failing = HashSet::new();
    tokio::time::sleep(first).await;
    loop {
        for path in context.find().await {
            let Some(name) = context.name(&path) else {
                continue;
            };
            let (volume, at) = (context.volume.clone(), path.clone());
            let of = name.clone();
            let taken = tokio::task::spawn_blocking(move || one(&volume, &at, &of, every)).await;
            let Ok(taken) = taken else { return };
            log(&name, taken, &mut failing);
        }
        tokio::time::sleep(pause).await;
    }
}

/// Logs what is new: a snapshot, or that none can be taken.
fn log(name: &str, taken: Result<Option<Snapshot>, String>, failing: &mut HashSet<String>) {
    match taken {
        Ok(None) => {}
        Ok(Some(snapshot)) => {
            failing.remove(name);
            tracing::info!(
                database = name,
                snapshot = %snapshot.path.display(),
                bytes = snapshot.bytes,
                "kept a snapshot on the volume"
            );
        }
        Err(why) => {
            if failing.insert(name.into()) {
                tracing::warn!(database = name, why, "no snapshot is kept on the volume");
            }
        }
    }
}

/// Takes one if it is due, and removes old ones.
fn one(
    volume: &Path,
    path: &Path,
    name: &str,
    every: Duration,
) -> Result<Option<Snapshot>, String> {
    let text = |error: Error| error.to_string();
    let dir = local::directory(volume, Path::new(name));
    let now = now_ms();
    let newest = local::list(&dir).map_err(text)?.pop();
    let due = newest.is_none_or(|newest| {
        now - newest.taken_ms >= millis(every) && written_ms(path) > newest.taken_ms
    });
    if !due || has_content(path) != Some(true) {
        return Ok(None);
    }
    local::prune(&dir, now, DAYS).map_err(text)?;
    check_space(volume, path)?;
    let taken = local::take(path, &dir, now, &TakeOptions::default(), &()).map_err(text)?;
    // One more day has begun with it.
    local::prune(&dir, now, DAYS).map_err(text)?;
    Ok(Some(taken))
}

/// When the database was written last.
fn written_ms(path: &Path) -> i64 {
    let times = [path.to_owned(), with_suffix(path, "-wal")].map(|file| {
        let written = std::fs::metadata(file)
            .and_then(|file| file.modified())
            .ok()?;
        written.duration_since(UNIX_EPOCH).ok().map(millis)
    });
    times.into_iter().flatten().max().unwrap_or(0)
}

fn check_space(volume: &Path, path: &Path) -> Result<(), String> {
    let bytes: u64 = [path.to_owned(), with_suffix(path, "-wal")]
        .iter()
        .filter_map(|file| std::fs::metadata(file).ok())
        .map(|file| file.len())
        .sum();
    let Ok(disk) = rustix::fs::statvfs(volume) else {
        return Ok(());
    };
    let left = disk
        .f_bavail
        .saturating_mul(disk.f_frsize)
        .saturating_sub(bytes);
    let wanted = disk.f_blocks.saturating_mul(disk.f_frsize) / FREE_SHARE;
    if left < wanted {
        return Err(format!(
            "{} MiB would stay free of the volume, less than a quarter of it",
            left >> 20
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_taken_when_it_is_due_and_something_was_written() {
        // In memory there is room, whatever the disk of the machine has.
        let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        let path = dir.path().join("app.db");
        let conn = rusqlite::Connection::open(&path).unwrap();
        conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n)")
            .unwrap();
        let take = |every| one(dir.path(), &path, "app.db", every).unwrap();
        let first = take(Duration::from_secs(3600)).expect("the first");
        assert!(
            first
                .path
                .starts_with(dir.path().join(".monolite/snapshots/app.db"))
        );
        assert_eq!(take(Duration::from_secs(3600)), None, "not due yet");
        let read = rusqlite::Connection::open(&first.path).unwrap();
        let tables: i64 = read
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 1);
    }
}
