//! From a snapshot on the volume.

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, io};

use anyhow::{Context, anyhow, bail};
use monolite_platform::durable::{Options, Temporary};
use monolite_replica::backup::{self, Cancel, local};
use monolite_replica::{Existing, Target, replace_database};

use super::orders::{Order, Orders};
use super::outcome::{Done, Line};
use crate::bar::Bar;
use crate::selection::Selection;
use crate::{Failure, timestamp};

/// As a restore from a replica makes its file.
const RESTORING: Options = Options::new("restoring").mode(0o666).owner_of_directory();

/// A snapshot of a database.
pub(super) struct Snapshot {
    pub(super) database: String,
    snapshot: local::Snapshot,
}

/// The snapshots that are meant, one of each database.
pub(super) fn find(
    selection: &Selection,
    volume: &Path,
    target: Target,
) -> Result<Vec<Snapshot>, Failure> {
    let names = match selection {
        Selection::Url(url) => {
            return Err(Failure::Usage(anyhow!(
                "{url}: --local restores from the volume itself; leave one of them out"
            )));
        }
        Selection::Database(name) => vec![name.clone()],
        Selection::All => databases(volume)?,
    };
    let mut found = Vec::new();
    for database in names {
        let all = list(volume, &database)?;
        let wanted = |one: &&local::Snapshot| match target {
            Target::Time(time_ms) => one.taken_ms <= time_ms,
            _ => true,
        };
        let Some(snapshot) = all.iter().rfind(wanted).cloned() else {
            let why = match all.first() {
                Some(oldest) => format!("the oldest is of {}", timestamp::show(oldest.taken_ms)),
                None => "there is none; `monolite backup --local` takes one".into(),
            };
            return Err(Failure::Error(anyhow!(
                "{database}: no snapshot on the volume {}: {why}",
                volume.display()
            )));
        };
        found.push(Snapshot { database, snapshot });
    }
    Ok(found)
}

/// The snapshots of one database, the oldest first.
pub(crate) fn list(volume: &Path, database: &str) -> Result<Vec<local::Snapshot>, Failure> {
    Ok(local::list(&local::directory(volume, Path::new(database)))?)
}

/// The databases that have snapshots on the volume.
pub(crate) fn databases(volume: &Path) -> Result<Vec<String>, Failure> {
    let root = local::directory(volume, Path::new(""));
    let mut names = Vec::new();
    let mut below = vec![root.clone()];
    while let Some(dir) = below.pop() {
        let listing = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            listing => listing.with_context(|| format!("cannot list {}", dir.display()))?,
        };
        for entry in listing.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                below.push(entry.path());
            }
        }
        if dir != root
            && !local::list(&dir)?.is_empty()
            && let Ok(name) = dir.strip_prefix(&root)
        {
            names.extend(name.to_str().map(str::to_owned));
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) async fn restore(orders: Orders, found: Vec<Snapshot>) -> Result<Done, Failure> {
    let mut done = Done::default();
    for (order, found) in orders.all.into_iter().zip(found) {
        if order.skip {
            done.lines.push(Line::skipped(order));
            continue;
        }
        let began = Instant::now();
        let from = found.snapshot.path.clone();
        match one(Source::Snapshot(from), &order).await? {
            Ok(kept) => done.lines.push(Line {
                skipped: false,
                kept,
                from: Some(found.snapshot.path.display().to_string()),
                timestamp: Some(timestamp::show(found.snapshot.taken_ms)),
                size: Some(found.snapshot.bytes),
                seconds: Some(began.elapsed().as_secs_f64()),
                ..Line::skipped(order)
            }),
            Err(error) => done.failed.push(error),
        }
    }
    Ok(done)
}

struct Cancelled(Cancel);

impl Drop for Cancelled {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A file that holds a database.
pub(super) enum Source {
    /// As SQLite reads it.
    Snapshot(PathBuf),
    /// Maybe compressed.
    Backup(PathBuf),
}

/// Copies a file to a temporary one, and renames that: whenever the machine dies, there
/// is the old database, whole, or the new one. Returns where the old one is kept.
pub(super) async fn one(
    from: Source,
    order: &Order,
) -> Result<anyhow::Result<Option<PathBuf>>, Failure> {
    let (out, existing) = (order.out.clone(), order.existing());
    let bar = Bar::new(&order.database);
    // Dropped when a signal ends this: then the copy ends, too.
    let cancel = Cancelled(Cancel::default());
    let token = cancel.0.clone();
    let work = move || replace(&from, &out, existing, &bar, &token);
    Ok(tokio::task::spawn_blocking(work).await?)
}

fn replace(
    from: &Source,
    out: &Path,
    existing: Existing,
    bar: &Bar,
    cancel: &Cancel,
) -> anyhow::Result<Option<PathBuf>> {
    // SQLite follows a link, too, and keeps the WAL beside what it leads to.
    let out = fs::canonicalize(out).unwrap_or_else(|_| out.to_owned());
    if out.exists() && existing == Existing::Refuse {
        bail!("{} exists already", out.display());
    }
    if let Some(dir) = out.parent().filter(|dir| *dir != Path::new("")) {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let options = match fs::metadata(&out) {
        Ok(old) => RESTORING.like(&old),
        Err(_) => RESTORING,
    };
    let copy = Temporary::create(&out, &options)
        .with_context(|| format!("cannot write next to {}", out.display()))?;
    match from {
        Source::Snapshot(from) => drop(backup::to_temporary(from, &copy, bar, cancel)?),
        Source::Backup(from) => backup::unpack(from, &copy, bar, cancel)?,
    }
    let kept = replace_database(copy.path(), &out, existing)?;
    copy.has_been_renamed();
    Ok(kept)
}
