//! From a replica: the best one first, another if that cannot.

use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use monolite_ltx::Txid;
use monolite_replica::{
    Destination, Replica, RestoreError, RestoreOptions, Restored, Target, record_restored,
};

use super::orders::{Order, Orders};
use super::outcome::{Done, Line};
use crate::bar::Bar;
use crate::selection::{Found, Search};
use crate::{command, print};

/// Where the volume is, and what replicates it.
pub(super) struct Home<'a> {
    pub(super) volume: &'a Path,
    pub(super) destinations: &'a [Destination],
}

pub(super) async fn restore(
    orders: Orders,
    search: Search,
    target: Target,
    home: &Home<'_>,
) -> Done {
    let mut done = Done::default();
    // In the same order: that of the search.
    for (order, found) in orders.all.into_iter().zip(search.found) {
        if order.skip {
            done.lines.push(Line::skipped(order));
            continue;
        }
        match one(order, found, target, home).await {
            Ok(line) => done.lines.push(line),
            Err(error) => done.failed.push(error),
        }
    }
    done
}

async fn one(order: Order, found: Found, target: Target, home: &Home<'_>) -> anyhow::Result<Line> {
    let began = Instant::now();
    let candidates = newest_first(found.replicas).await;
    let mut left = candidates.iter().peekable();
    while let Some(candidate) = left.next() {
        let options = RestoreOptions {
            target,
            overwrite: order.overwrite,
            keep: order.keep,
            progress: Arc::new(Bar::new(&order.database)),
            ..RestoreOptions::default()
        };
        let replica = &candidate.replica;
        match monolite_replica::restore(replica, &order.out, options).await {
            Ok(restored) => {
                for damage in &restored.damages {
                    print::warning(&anyhow!("{damage}; other files were used instead"));
                }
                home.goes_on(&order, candidate, &candidates, &restored);
                let seconds = began.elapsed().as_secs_f64();
                return Ok(Line::restored(order, replica.name(), &restored, seconds));
            }
            Err(error) if left.peek().is_none() => {
                return Err(advised(error, &order, replica, home));
            }
            Err(error) => eprintln!("monolite: {error}; trying another replica"),
        }
    }
    anyhow::bail!("{}: no replica holds it", order.database)
}

/// With the command that restores the newest state that can be.
fn advised(
    error: RestoreError,
    order: &Order,
    replica: &Replica,
    home: &Home<'_>,
) -> anyhow::Error {
    let Some(best) = error.best() else {
        return error.into();
    };
    let mut rest = format!("--txid {best}");
    let is_home = order.out == home.volume.join(&order.database);
    let output = (!is_home).then_some(order.out.as_path());
    if order.overwrite && order.out.exists() {
        rest += " --overwrite";
    }
    let command = command::restore(&order.database, home.volume, replica, output, &rest);
    anyhow!("{error}; that one is restored by `{command}`")
}

/// A replica of a database, and how far it is, if that could be found out.
struct Candidate {
    replica: Replica,
    newest: Option<Newest>,
}

#[derive(Clone, Copy)]
struct Newest {
    txid: Txid,
    time_ms: i64,
    node_id: u64,
}

/// Each replica is as new as its destination let it be.
async fn newest_first(replicas: Vec<Replica>) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for replica in replicas {
        let newest = newest(&replica).await;
        candidates.push(Candidate { replica, newest });
    }
    // Of equals, the one named first.
    candidates.sort_by_key(|one| Reverse(one.newest.map(|newest| newest.time_ms)));
    candidates
}

async fn newest(replica: &Replica) -> Option<Newest> {
    let files = replica.list_all().await.ok()?;
    let newest = files
        .iter()
        .max_by_key(|file| (file.max, Reverse(file.level)))?;
    let header = replica.header(newest).await.ok()?;
    Some(Newest {
        txid: newest.max,
        time_ms: header.timestamp_ms,
        node_id: header.node_id,
    })
}

impl Home<'_> {
    /// Lets replication go on from what was restored to its place on the
    /// volume, also from an earlier state: whoever restores it has decided.
    fn goes_on(&self, order: &Order, from: &Candidate, all: &[Candidate], restored: &Restored) {
        let place = self.volume.join(&order.database);
        let is_at_home = |out: &Path| std::path::absolute(out).is_ok_and(|out| out == place);
        let Some(source) = from.newest.filter(|_| is_at_home(&order.out)) else {
            return;
        };
        let is_newest = restored.txid == source.txid;
        for candidate in all {
            let Some(newest) = candidate.newest else {
                continue;
            };
            let is_source = std::ptr::eq(candidate, from);
            // The same volume wrote both, and this no later; or it is given up.
            let is_before = newest.node_id == source.node_id
                && newest.node_id != 0
                && newest.time_ms <= source.time_ms;
            if is_source || is_before || !is_newest {
                let map = (is_source && is_newest).then_some(&restored.map);
                self.say(order, &candidate.replica, newest.txid, map);
            }
        }
    }

    fn say(
        &self,
        order: &Order,
        replica: &Replica,
        txid: Txid,
        map: Option<&monolite_replica::PageMap>,
    ) {
        let name = replica.name();
        let ours = |one: &&Destination| one.replica(&order.database).name() == name;
        let Some(destination) = self.destinations.iter().find(ours) else {
            return;
        };
        let state = monolite_app::state(self.volume);
        if let Err(error) = record_restored(&state, destination, &order.database, txid, map) {
            // It is found out by comparing then, or asked for.
            eprintln!("monolite: {error}");
        }
    }
}
