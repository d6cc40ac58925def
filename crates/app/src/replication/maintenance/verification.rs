//! Verifies that what was stored can be restored, before it has to be.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use monolite_replica::history::plan;
use monolite_replica::{
    Follower, IntegrityCheck, Replica, RestoreError, State, Status, VerifyOptions,
};
use tokio::time::Instant;

use super::super::context::{Context, millis, now_ms};
use super::pauses;
use super::proofs::Proofs;

/// Files that are downloaded at the same time: there is no hurry.
const PARALLEL: usize = 2;

/// The replicas whose last verification failed, by their names. For the health page and the
/// heartbeat.
#[derive(Debug, Default)]
pub(in super::super) struct Failed(Mutex<HashSet<String>>);

impl Failed {
    /// How many of those in `all` there are.
    pub(in super::super) fn count(&self, context: &Context, all: &[Status]) -> usize {
        let failed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_empty() {
            return 0;
        }
        let replicas = all.iter().filter_map(|status| replica(context, status));
        replicas
            .filter(|replica| failed.contains(&replica.name()))
            .count()
    }

    pub(super) fn set(&self, names: HashSet<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }
}

/// Verifies what is due, until the task is aborted.
pub(super) async fn verify(
    context: Arc<Context>,
    follower: Arc<Follower>,
    mut proofs: Proofs,
    failed: Arc<Failed>,
    every: Duration,
) {
    let (first, pause) = pauses(every);
    let mut too_large = HashSet::new();
    tokio::time::sleep(first).await;
    loop {
        for status in follower.status() {
            let is_settled = status.state == State::Following && status.txid.0 > 0;
            let Some(replica) = replica(&context, &status).filter(|_| is_settled) else {
                continue;
            };
            let name = replica.name();
            // One that failed and has a new snapshot since is proven at once.
            let is_repaired = proofs.failed_at(&name).is_some_and(|failed_ms| {
                let repair = status.repair.as_ref();
                repair.is_some_and(|repair| repair.done.is_some() && repair.found_ms >= failed_ms)
            });
            if !proofs.is_due(&name, status.txid, now_ms(), millis(every)) && !is_repaired {
                continue;
            }
            // One that failed is not left like that because it has grown.
            let is_failed = proofs.failed().contains(&name);
            match size(&replica).await {
                Ok(bytes) if bytes > context.options.verify_bytes && !is_failed => {
                    proofs.note(&name, status.txid, now_ms());
                    if too_large.insert(name.clone()) {
                        let mib = bytes >> 20;
                        tracing::info!(
                            replica = name,
                            mib,
                            "not verified automatically: too large"
                        );
                    }
                }
                Ok(_) => {
                    prove(&context, &follower, &replica, &status, &mut proofs).await;
                    failed.set(proofs.failed());
                }
                // Later: the report says that it cannot be reached.
                Err(_) => {}
            }
        }
        tokio::time::sleep(pause).await;
    }
}

fn replica(context: &Context, status: &Status) -> Option<Replica> {
    let mut all = context.options.destinations.iter();
    let destination = all.find(|one| one.name() == status.destination)?;
    Some(destination.replica(&status.database))
}

/// What a restore would download.
async fn size(replica: &Replica) -> Result<u64, RestoreError> {
    let files = replica.list_all().await?;
    // If it cannot be restored, the verification finds that out.
    Ok(plan(&files, None, None).map_or(0, |plan| plan.bytes()))
}

/// What cannot be restored, or only because there are other files than the damaged
/// ones, gets a new snapshot.
async fn prove(
    context: &Context,
    follower: &Follower,
    replica: &Replica,
    status: &Status,
    proofs: &mut Proofs,
) {
    let (database, destination) = (&status.database, &status.destination);
    let began = Instant::now();
    let options = VerifyOptions {
        parallel: PARALLEL,
        // The checksums prove that it is what was here.
        integrity_check: IntegrityCheck::IfUnproven,
        scratch: context.options.state.clone(),
        ..VerifyOptions::default()
    };
    match monolite_replica::verify(replica, options).await {
        Ok(proven) => {
            proofs.note(&replica.name(), proven.txid, now_ms());
            tracing::info!(
                database,
                destination,
                txid = %proven.txid,
                took_ms = began.elapsed().as_millis() as u64,
                "the replica was verified: it can be restored"
            );
            if let Some(first) = proven.damages.first() {
                let files = proven.damages.len();
                tracing::warn!(
                    database,
                    destination,
                    files,
                    first,
                    "files of the replica are damaged"
                );
                follower.repair(database, destination, first);
            }
        }
        Err(RestoreError::Storage(error)) if error.is_transient() => {
            tracing::debug!(database, destination, %error, "not verified now");
        }
        Err(error) => {
            proofs.note_failed(&replica.name(), now_ms());
            let error = error.to_string();
            tracing::error!(
                database,
                destination,
                error,
                "the replica CANNOT be restored"
            );
            follower.repair(database, destination, &error);
        }
    }
}
