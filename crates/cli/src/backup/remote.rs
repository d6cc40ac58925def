//! A copy in object storage: a replica, made or brought up to date.
//!
//! It is what `monolite replicate --once` makes, so that a second backup to
//! the same place sends only what changed, and each of them can be restored.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use monolite_app::Settings;
use monolite_replica::Find;
use monolite_volume::layout;

use super::Source;
use crate::bar::Bar;
use crate::replicate::Start;
use crate::{Failure, print, replication, task};

pub(super) fn store(
    sources: &[Source],
    url: &str,
    settings: &Settings,
    json: bool,
) -> Result<(), Failure> {
    let destination = replication::destination(url, settings)?;
    let volume = replication::volume(settings)?;
    let known = replication::destinations(settings)?;
    if known.iter().any(|known| known.name() == destination.name()) {
        return Err(Failure::Usage(anyhow!(
            "{} is the volume's replica; `monolite replicate --once` brings it up to date",
            destination.name()
        )));
    }
    if let Some(outside) = sources.iter().find(|source| source.name.is_none()) {
        let (path, volume) = (outside.path.display(), volume.display());
        return Err(Failure::Usage(anyhow!(
            "{path} is not in the volume {volume}; name its directory with --data"
        )));
    }
    // A writer of its own: to the replica of another volume it is a stranger.
    let state = layout::backup_state(&volume);
    std::fs::create_dir_all(&state).map_err(|error| {
        anyhow::Error::from(error).context(format!("cannot make {}", state.display()))
    })?;
    let _lock = replication::lock(&state, "backup")?;
    let paths: Vec<PathBuf> = sources.iter().map(|source| source.path.clone()).collect();
    let find: Find = Arc::new(move || paths.clone());
    let name = destination.name().to_owned();
    let start = Start {
        state,
        find,
        options: monolite_app::follow_options(settings),
        volume,
        destinations: vec![destination],
    };
    let stored = task::block_on(async {
        let bar = Bar::new(match sources {
            [source] => source.shown(),
            _ => format!("{} databases", sources.len()),
        });
        start.store(&bar).await
    })?;
    stored.print(json)?;
    if !json && stored.failed.is_empty() {
        print::lines([format!("restore with: monolite restore {name}")])?;
    }
    stored.verdict()
}
