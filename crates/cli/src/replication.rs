//! The volume of a verb and its replicas, as the settings say.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use monolite_app::{ReplicaError, Settings};
use monolite_ltx::Txid;
use monolite_replica::{Destination, Replica};
use monolite_volume::{Lock, Purpose, Volume};

use crate::Failure;
use crate::flags::environment;

/// Where the volume is replicated to; empty if it is not.
pub(crate) fn destinations(settings: &Settings) -> Result<Vec<Destination>, Failure> {
    monolite_app::destinations(settings, &environment()).map_err(failure)
}

/// As [`destinations`], for a verb that can do nothing without one.
pub(crate) fn required(settings: &Settings) -> Result<Vec<Destination>, Failure> {
    let destinations = destinations(settings)?;
    if destinations.is_empty() {
        let error = anyhow!(
            "no replica is set: give --replica s3://BUCKET/PREFIX (or a folder), or set MONOLITE_REPLICA"
        );
        return Err(Failure::Usage(error));
    }
    Ok(destinations)
}

/// A destination named by its URL, with the key of the settings.
pub(crate) fn destination(url: &str, settings: &Settings) -> Result<Destination, Failure> {
    monolite_app::destination(url, settings, &environment()).map_err(failure)
}

/// A wrong setting is wrong usage; anything else failed.
pub(crate) fn failure(error: ReplicaError) -> Failure {
    match error.is_usage() {
        true => Failure::Usage(error.into()),
        false => Failure::Error(error.into()),
    }
}

/// The data directory, which need not exist, and what is known of it.
pub(crate) fn place(settings: &Settings) -> Volume {
    monolite_app::volume(settings, &environment())
}

/// The data directory, which exists.
pub(crate) fn volume(settings: &Settings) -> Result<PathBuf, Failure> {
    let place = place(settings);
    if place.dir.is_dir() {
        return Ok(place.dir);
    }
    Err(Failure::Error(anyhow!(
        "there is no directory {}; name the volume with --data",
        place.dir.display()
    )))
}

/// Keeps every other `monolite` from the volume while this one, called
/// `monolite VERB`, changes what is in it.
pub(crate) fn lock(volume: &Path, verb: &str) -> Result<Lock, Failure> {
    Ok(Lock::acquire(
        volume,
        &Purpose::new(format!("monolite {verb}")),
    )?)
}

/// The last transaction that the volume knows is stored in `replica`, if that is one of
/// its own.
pub(crate) fn stored_txid(
    settings: &Settings,
    volume: &Path,
    database: &str,
    replica: &Replica,
) -> Option<Txid> {
    let destinations = destinations(settings).ok()?;
    let is_it = |one: &&Destination| one.replica(database).name() == replica.name();
    let destination = destinations.iter().find(is_it)?;
    let state = monolite_app::state(volume);
    // A comparison less, if they cannot be read.
    monolite_replica::stored_txid(&state, destination, database)
        .ok()
        .flatten()
}
