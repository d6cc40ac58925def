//! Snapshots on the volume itself.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use monolite_app::Settings;
use monolite_replica::backup::{Check, local};

use super::file::cancellable;
use super::{Batch, Made, Source, now};
use crate::bar::Bar;
use crate::{Failure, replication, timestamp};

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn take(sources: &[Source], settings: &Settings, full: bool) -> Result<Batch, Failure> {
    let volume = replication::volume(settings)?;
    let days = days(settings);
    Ok(Batch::of(sources, |source| {
        let Some(name) = &source.name else {
            bail!(
                "{} is not in the volume {}; give -o for a copy of it",
                source.path.display(),
                volume.display()
            );
        };
        let dir = local::directory(&volume, Path::new(name));
        let (path, bar) = (source.path.clone(), Bar::new(source.shown()));
        let (taken, removed) = cancellable(|cancel| {
            let mut options = local::TakeOptions {
                cancel,
                ..local::TakeOptions::default()
            };
            if full {
                options.check = Check::Full;
            }
            move || {
                let now_ms = now();
                let taken = local::take(&path, &dir, now_ms, &options, &bar)?;
                let removed = local::prune(&dir, now_ms, days)?;
                Ok((taken, removed))
            }
        })?;
        Ok(Made {
            database: source.shown(),
            path: taken.path,
            size: taken.bytes,
            written: taken.bytes,
            timestamp: timestamp::show(taken.taken_ms),
            removed: removed.into_iter().map(|old| old.path).collect(),
        })
    }))
}

fn days(settings: &Settings) -> u32 {
    let seconds = settings.keep_daily.as_secs();
    u32::try_from(seconds.div_ceil(DAY.as_secs())).unwrap_or(u32::MAX)
}
