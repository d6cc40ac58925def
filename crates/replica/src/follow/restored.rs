//! What is recorded on the volume of a database's replica: which state the database
//! was restored to, for the follower that comes after the restore, and what is stored.

use std::path::Path;

use monolite_ltx::{Checksum, Txid};

use super::sent_record::SentRecord;
use super::state_files::StateFiles;
use crate::error::{Error, Result};
use crate::map::PageMap;
use crate::storage::Destination;

/// Records that the database on the volume is the state `txid` of its replica in
/// `destination`, or follows from it, so that a [`Follower`](super::Follower)
/// with the directory `state` sends what comes after it there. To be called
/// before anybody writes to the database.
///
/// With `map`, the checksums of that state's pages, the follower need not
/// download it to know them. Should the replica hold a later state when it
/// begins, that counts as written by somebody else, as without this.
///
/// # Errors
/// The directory cannot be made or written.
pub fn record_restored(
    state: &Path,
    destination: &Destination,
    database: &str,
    txid: Txid,
    map: Option<&PageMap>,
) -> Result<()> {
    std::fs::create_dir_all(state).map_err(|error| Error::file(state, error))?;
    let files = StateFiles::new(state, destination.name(), database);
    if let Some(map) = map {
        let path = files.map();
        map.save(&path).map_err(|error| Error::file(&path, error))?;
    }
    let path = files.restored();
    // Files are never overwritten: their number alone identifies the state.
    let point = (txid, map.map_or(Checksum::EMPTY, PageMap::checksum));
    SentRecord::new(point)
        .write(&path)
        .map_err(|error| Error::file(&path, error))
}

/// The last transaction of a database that the records in `state` say is stored in
/// `destination`; `None`: they say nothing.
///
/// # Errors
/// The records cannot be read.
pub fn stored_txid(
    state: &Path,
    destination: &Destination,
    database: &str,
) -> Result<Option<Txid>> {
    let files = StateFiles::new(state, destination.name(), database);
    let path = files.map();
    let map = PageMap::load(&path).map_err(|error| Error::file(&path, error))?;
    let path = files.sent();
    let sent = SentRecord::read(&path).map_err(|error| Error::file(&path, error))?;
    // What was to be sent after may be stored or not.
    let known = [map.map(|map| map.txid()), sent.map(|sent| sent.stored())];
    Ok(known
        .into_iter()
        .flatten()
        .max()
        .filter(|txid| *txid > Txid(0)))
}
