//! From a file that `monolite backup` made, compressed or not.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::anyhow;
use monolite_app::DATABASE;
use monolite_replica::backup;

use super::from_local::{Source, one};
use super::orders::{How, orders};
use super::outcome::{Done, Line};
use crate::Failure;
use crate::selection::Selection;

/// The file that `named` means, if it is one outside of the volume.
pub(super) fn find(named: Option<&str>, volume: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(named.filter(|named| !named.contains("://"))?).ok()?;
    let is_database = volume.join(named?).exists() || path.starts_with(volume);
    (path.is_file() && !is_database).then_some(path)
}

/// Restores it to the file that is named, else to the database of its name on the volume.
pub(super) async fn restore(from: PathBuf, volume: &Path, how: &How) -> Result<Done, Failure> {
    if backup::compression_of(&from)?.is_none() {
        return Err(Failure::Error(anyhow!(
            "{}: it is neither a database nor a compressed backup of one",
            from.display()
        )));
    }
    let name = database(&from);
    let selection = Selection::Database(name.clone());
    let orders = orders([name.as_str()].into_iter(), &selection, volume, how)?;
    let mut done = Done::default();
    for order in orders.all {
        if order.skip {
            done.lines.push(Line::skipped(order));
            continue;
        }
        let began = Instant::now();
        match one(Source::Backup(from.clone()), &order).await? {
            Ok(kept) => done.lines.push(Line {
                skipped: false,
                kept,
                from: Some(from.display().to_string()),
                size: std::fs::metadata(&order.out).ok().map(|file| file.len()),
                seconds: Some(began.elapsed().as_secs_f64()),
                ..Line::skipped(order)
            }),
            Err(error) => done.failed.push(error),
        }
    }
    Ok(done)
}

/// The database that the backup is of: its name without what says how it is compressed.
fn database(from: &Path) -> String {
    let name = from
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| DATABASE.into());
    let plain = [".gz", ".zst"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    plain.unwrap_or(&name).to_owned()
}
