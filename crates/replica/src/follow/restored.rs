//! What a restore leaves to the follower that comes after it.

use std::path::{Path, PathBuf};

use monolite_ltx::{Checksum, Txid};

use super::intent::Intent;
use super::volume::map_file;
use crate::error::{Error, Result};
use crate::map::PageMap;
use crate::storage::Destination;

/// Says that the database on the volume is the state `txid` of its replica in
/// `destination`, or leads on from it, so that a [`Follower`](super::Follower)
/// with the directory `state` sends what comes after it there. To be said
/// before anybody writes to the database.
///
/// With `map`, the checksums of that state's pages, the follower need not
/// download it to know them. Should the replica hold a later state when it
/// begins, that counts as written by somebody else, as without this.
///
/// # Errors
/// The directory cannot be made or written.
pub fn leads_on(
    state: &Path,
    destination: &Destination,
    database: &str,
    txid: Txid,
    map: Option<&PageMap>,
) -> Result<()> {
    std::fs::create_dir_all(state).map_err(|error| Error::file(state, error))?;
    let path = map_file(state, destination.name(), database);
    if let Some(map) = map {
        map.save(&path).map_err(|error| Error::file(&path, error))?;
    }
    let path = file(&path);
    // Files are never overwritten: their number alone tells the state.
    let point = (txid, map.map_or(Checksum::EMPTY, PageMap::checksum));
    Intent::new(point)
        .write(&path)
        .map_err(|error| Error::file(&path, error))
}

/// Beside the map.
pub(super) fn file(map: &Path) -> PathBuf {
    map.with_extension("restored")
}
