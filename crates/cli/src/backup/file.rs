//! Copies in files, and one on standard output.

use std::path::PathBuf;

use monolite_replica::backup::{self, BackupOptions, Cancel, Check, Compression, Error};

use super::{Batch, Made, Source, now};
use crate::bar::Bar;
use crate::{Failure, task, timestamp};

pub(super) struct How {
    pub(super) overwrite: bool,
    pub(super) check: bool,
}

pub(super) fn copy(sources: &[Source], targets: &[PathBuf], how: &How) -> Batch {
    let pairs = sources.iter().zip(targets);
    Batch::of(pairs, |(source, target)| {
        let now_ms = now();
        let copied = cancellable(|cancel| {
            let options = BackupOptions {
                overwrite: how.overwrite,
                check: if how.check { Check::Full } else { Check::None },
                cancel,
                ..BackupOptions::default()
            };
            let (path, target) = (source.path.clone(), target.clone());
            let bar = Bar::new(source.shown());
            move || backup::to_file(&path, &target, &options, &bar)
        })?;
        Ok(Made {
            database: source.shown(),
            path: target.clone(),
            size: copied.bytes(),
            written: copied.written,
            timestamp: timestamp::show(now_ms),
            removed: Vec::new(),
        })
    })
}

pub(super) fn to_stdout(source: &Source) -> Result<(), Failure> {
    let path = source.path.clone();
    let bar = Bar::new(source.shown());
    let copied = cancellable(|cancel| {
        move || {
            let out = std::io::stdout().lock();
            backup::to_writer(&path, out, Compression::None, &bar, &cancel)
        }
    });
    Ok(copied.map(drop)?)
}

/// Does `work` on a thread of its own; a signal cancels it, and waits until it
/// has removed what it had begun.
pub(super) fn cancellable<T: Send + 'static, W>(work: impl FnOnce(Cancel) -> W) -> anyhow::Result<T>
where
    W: FnOnce() -> backup::Result<T> + Send + 'static,
{
    let cancel = Cancel::default();
    let work = work(cancel.clone());
    let runtime = task::runtime()?;
    let result = runtime.block_on(async {
        let mut working = tokio::task::spawn_blocking(work);
        tokio::select! {
            done = &mut working => done,
            _ = task::asked_to_stop()? => {
                cancel.cancel();
                working.await
            }
        }
        .map_err(std::io::Error::other)
    });
    result?.map_err(|error| match error {
        Error::Cancelled => {
            anyhow::Error::from(error).context("cancelled by a signal; nothing was left behind")
        }
        error => error.into(),
    })
}
