//! The newest state of a database in one destination.

use monolite_ltx::{Checksum, DatabaseChecksums, Header, Txid};
use monolite_replica::history::plan;
use monolite_replica::{Destination, PageMap, Replica, RestoreError, Restored, record_restored};

use super::replicated::Shared;
use super::stock::Holding;

/// A state that may be restored.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) destination: Destination,
    pub(super) replica: Replica,
    pub(super) txid: Txid,
    header: Header,
}

impl Candidate {
    /// Finds the newest state of what is held.
    pub(super) async fn look(holding: &Holding) -> Result<Self, RestoreError> {
        let replica = holding.destination.replica(&holding.called);
        let files = replica.list_all().await?;
        let failed = |source| RestoreError::Plan {
            replica: replica.name(),
            source,
        };
        let found = plan(&files, None, None).map_err(failed)?;
        let Some(newest) = found.files.last() else {
            return Err(RestoreError::Ended);
        };
        let header = replica.header(newest).await?;
        Ok(Self {
            destination: holding.destination.clone(),
            txid: found.txid,
            replica,
            header,
        })
    }

    pub(super) fn time_ms(&self) -> i64 {
        self.header.timestamp_ms
    }

    fn checksum(&self) -> Option<Checksum> {
        match self.header.checksums {
            DatabaseChecksums::Reserved { post, .. } => Some(post),
            _ => None,
        }
    }

    /// Whether this state is what `map` says.
    fn is(&self, map: &PageMap) -> bool {
        self.checksum() == Some(map.checksum())
            && self.header.commit == map.len()
            && self.header.page_size == map.page_size()
    }

    /// Whether what is here now, restored from `other`, leads on from this: the
    /// same volume wrote both, and this no later.
    fn is_before(&self, other: &Self) -> bool {
        self.header.node_id != 0
            && self.header.node_id == other.header.node_id
            && self.time_ms() <= other.time_ms()
    }
}

/// Leaves to the follower what it needs to go on in all destinations, after
/// `name` was restored from `from`.
pub(super) fn remember(
    shared: &Shared,
    name: &str,
    from: &Candidate,
    others: &[Candidate],
    restored: &Restored,
) {
    let state = &shared.replication.state;
    let say = |candidate: &Candidate, txid: Txid, map: Option<&PageMap>| {
        // Under another name it is not gone on with.
        if candidate.replica.name() != candidate.destination.replica(name).name() {
            return;
        }
        if let Err(error) = record_restored(state, &candidate.destination, name, txid, map) {
            let error = error.to_string();
            tracing::warn!(
                database = name,
                error,
                "the restored state will be read once more"
            );
        }
    };
    say(from, restored.txid, Some(&restored.map));
    for other in others {
        if other.is(&restored.map) {
            let mut map = restored.map.clone();
            map.set_txid(other.txid);
            say(other, other.txid, Some(&map));
        } else if other.is_before(from) {
            say(other, other.txid, None);
        }
    }
}
