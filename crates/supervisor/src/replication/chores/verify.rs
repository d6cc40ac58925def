//! Proves that what was stored can be restored, before it has to be.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use monolite_ltx::Txid;
use monolite_replica::history::plan;
use monolite_replica::{
    Follower, IntegrityCheck, Replica, RestoreError, State, Status, VerifyOptions,
};
use tokio::time::Instant;

use super::super::replicated::Shared;
use super::verified::Verified;
use super::{millis, now_ms, pauses};

/// Files that are downloaded at a time: there is no hurry.
const PARALLEL: usize = 2;

/// Proves what is due, until it is ended.
pub(super) async fn verify(shared: Arc<Shared>, follower: Arc<Follower>, every: Duration) {
    let (first, pause) = pauses(every);
    let mut verified = Verified::load(&shared.replication.state);
    let mut too_large = HashSet::new();
    tokio::time::sleep(first).await;
    loop {
        for status in follower.status() {
            let is_settled = status.state == State::Following && status.txid.0 > 0;
            let Some(replica) = replica(&shared, &status).filter(|_| is_settled) else {
                continue;
            };
            let name = replica.name();
            if !verified.is_due(&name, status.txid, now_ms(), millis(every)) {
                continue;
            }
            match size(&replica).await {
                Ok(bytes) if bytes > shared.replication.verify_bytes => {
                    verified.note(&name, status.txid, now_ms());
                    if too_large.insert(name.clone()) {
                        let mib = bytes >> 20;
                        tracing::info!(replica = name, mib, "not verified by itself: too large");
                    }
                }
                Ok(_) => prove(&shared, &replica, &status, &mut verified).await,
                // Another time: that it cannot be reached is said elsewhere.
                Err(_) => {}
            }
        }
        tokio::time::sleep(pause).await;
    }
}

fn replica(shared: &Shared, status: &Status) -> Option<Replica> {
    let mut all = shared.replication.destinations.iter();
    let destination = all.find(|one| one.name() == status.destination)?;
    Some(destination.replica(&status.database))
}

/// What a restore would download.
async fn size(replica: &Replica) -> Result<u64, RestoreError> {
    let files = replica.list_all().await?;
    // That it cannot be restored is found out by trying.
    Ok(plan(&files, None, None).map_or(0, |plan| plan.bytes()))
}

async fn prove(shared: &Shared, replica: &Replica, status: &Status, verified: &mut Verified) {
    let (database, destination) = (&status.database, &status.destination);
    let began = Instant::now();
    let options = VerifyOptions {
        parallel: PARALLEL,
        // The checksums prove that it is what was here.
        integrity_check: IntegrityCheck::IfUnproven,
        scratch: shared.replication.state.clone(),
        ..VerifyOptions::default()
    };
    match monolite_replica::verify(replica, options).await {
        Ok(proven) => {
            verified.note(&replica.name(), proven.txid, now_ms());
            tracing::info!(
                database,
                destination,
                txid = %proven.txid,
                took_ms = began.elapsed().as_millis() as u64,
                "the replica was verified: it can be restored"
            );
        }
        Err(RestoreError::Storage(error)) if error.is_transient() => {
            tracing::debug!(database, destination, %error, "not verified now");
        }
        Err(error) => {
            // Said again each time, also if nothing changes.
            verified.note(&replica.name(), Txid(0), now_ms());
            let error = error.to_string();
            tracing::error!(
                database,
                destination,
                error,
                "the replica CANNOT be restored"
            );
        }
    }
}
