//! What can be restored: from when to when, how finely, how large.

use std::collections::BTreeMap;

use monolite_ltx::Txid;

use super::plan::{PlanError, plan, states};
use super::times::time_of;
use crate::storage::{FileInfo, Replica, SNAPSHOT_LEVEL, StorageError};

/// Files with a damaged header that a history goes without; with more, it is an error.
const DAMAGED_MAX: usize = 100;

/// A state and when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The transaction.
    pub txid: Txid,
    /// In milliseconds since 1970.
    pub time_ms: i64,
}

/// What a replica holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The oldest state that can be restored; `None`: none can.
    pub oldest: Option<Point>,
    /// The newest state that can be restored.
    pub newest: Option<Point>,
    /// The states that can be restored, by how far apart they are: first all,
    /// then those in longer and longer steps, at last the snapshots.
    pub ranges: Vec<Range>,
    /// The whole databases, oldest first: each takes the least to be restored.
    pub snapshots: Vec<Snapshot>,
    /// Why the newest file does not lead to a state that can be restored.
    pub broken: Option<PlanError>,
    /// Files whose headers are damaged, one message each. The rest of the history is
    /// without them.
    pub damaged: Vec<String>,
    /// How many files there are.
    pub files: usize,
    /// Their bytes, as stored.
    pub bytes: u64,
}

/// States that can be restored, each the end of a file of one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The level: 0 holds every state, the levels above it one state for each
    /// span of time that was merged (with the default [`Policy`](crate::Policy),
    /// 1: 5 minutes, 2: an hour), 9 the snapshots.
    pub level: u8,
    /// How many states.
    pub states: usize,
    /// The oldest of them.
    pub oldest: Point,
    /// The newest of them.
    pub newest: Point,
}

/// A whole database in one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The state.
    pub state: Point,
    /// Bytes, as stored.
    pub size: u64,
}

/// Looks what can be restored from a replica: lists it, and reads the headers
/// of a few files to find out the times.
///
/// # Errors
/// It cannot be listed or read. That it is empty is no error.
pub async fn history(replica: &Replica) -> Result<History, StorageError> {
    match look(replica).await {
        // Merged and deleted meanwhile.
        Err(error) if error.is_not_found() => look(replica).await,
        other => other,
    }
}

async fn look(replica: &Replica) -> Result<History, StorageError> {
    let mut files = replica.list_all().await?;
    let (count, bytes) = (files.len(), files.iter().map(|file| file.size).sum());
    let mut damaged = Vec::new();
    let mut first = None;
    loop {
        match summary(replica, &files).await {
            Ok(history) => {
                // Most likely the key is another.
                if let Some(error) = first.filter(|_| history.newest.is_none()) {
                    return Err(error);
                }
                return Ok(History {
                    damaged,
                    files: count,
                    bytes,
                    ..history
                });
            }
            Err(error) if error.is_damage() && damaged.len() < DAMAGED_MAX => {
                let before = files.len();
                files.retain(|file| Some(replica.name_of(file).as_str()) != error.file_name());
                if files.len() == before {
                    return Err(error);
                }
                damaged.push(error.to_string());
                first = first.or(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
}

async fn summary(replica: &Replica, files: &[FileInfo]) -> Result<History, StorageError> {
    let states = states(files);
    let mut times = Times {
        replica,
        files,
        known: BTreeMap::new(),
    };
    let mut ranges = Vec::new();
    let mut snapshots = Vec::new();
    for level in 0..=SNAPSHOT_LEVEL {
        let of_level = files.iter().filter(|file| file.level == level);
        let mut ends: Vec<&FileInfo> = of_level
            .filter(|file| states.binary_search(&file.max).is_ok())
            .collect();
        ends.sort_unstable_by_key(|file| file.max);
        ends.dedup_by_key(|file| file.max);
        if let (Some(first), Some(last)) = (ends.first(), ends.last()) {
            ranges.push(Range {
                level,
                states: ends.len(),
                oldest: times.state(first.max).await?,
                newest: times.state(last.max).await?,
            });
        }
        if level == SNAPSHOT_LEVEL {
            for file in ends {
                snapshots.push(Snapshot {
                    state: times.state(file.max).await?,
                    size: file.size,
                });
            }
        }
    }
    let end = async |times: &mut Times<'_>, txid: Option<&Txid>| match txid {
        Some(txid) => times.state(*txid).await.map(Some),
        None => Ok(None),
    };
    Ok(History {
        oldest: end(&mut times, states.first()).await?,
        newest: end(&mut times, states.last()).await?,
        ranges,
        snapshots,
        broken: plan(files, None, None).err(),
        damaged: Vec::new(),
        files: files.len(),
        bytes: files.iter().map(|file| file.size).sum(),
    })
}

struct Times<'a> {
    replica: &'a Replica,
    files: &'a [FileInfo],
    known: BTreeMap<Txid, i64>,
}

impl Times<'_> {
    async fn state(&mut self, txid: Txid) -> Result<Point, StorageError> {
        if let Some(time_ms) = self.known.get(&txid).copied() {
            return Ok(Point { txid, time_ms });
        }
        let time_ms = time_of(self.replica, self.files, txid).await?.unwrap_or(0);
        self.known.insert(txid, time_ms);
        Ok(Point { txid, time_ms })
    }
}
