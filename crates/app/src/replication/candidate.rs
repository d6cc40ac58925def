//! The newest state of a database in one destination, which may be restored.

use monolite_ltx::{Checksum, DatabaseChecksums, Header, Txid};
use monolite_replica::history::plan;
use monolite_replica::{Destination, PageMap, Replica, RestoreError, Restored, record_restored};

use super::context::Context;
use super::inventory::Holding;

/// A state that may be restored.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) destination: Destination,
    pub(super) replica: Replica,
    pub(super) txid: Txid,
    header: Header,
}

impl Candidate {
    /// Finds the newest state of the database.
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

    /// Whether what was restored from `other` continues this state: the same volume wrote both, and
    /// this one not later.
    fn is_before(&self, other: &Self) -> bool {
        self.header.node_id != 0
            && self.header.node_id == other.header.node_id
            && self.time_ms() <= other.time_ms()
    }
}

/// Writes down what the follower needs to continue in all destinations, after `name` was restored
/// from `from`.
pub(super) fn remember(
    context: &Context,
    name: &str,
    from: &Candidate,
    others: &[Candidate],
    restored: &Restored,
) {
    let state = &context.options.state;
    let say = |candidate: &Candidate, txid: Txid, map: Option<&PageMap>| {
        // The follower does not continue a replica of another name.
        if candidate.replica.name() != candidate.destination.replica(name).name() {
            return;
        }
        if let Err(error) = record_restored(state, &candidate.destination, name, txid, map) {
            let error = error.to_string();
            tracing::warn!(
                database = name,
                error,
                "the restored state will be compared with the replica once more"
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
