//! What files a replica has, known without asking again.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use monolite_ltx::Txid;

use super::due::{Merge, Timed};
use super::plan::{PlanError, plan};
use super::retention::Policy;
use super::{merge, times};
use crate::error::{Error, Result};
use crate::storage::{FileInfo, Replica, SNAPSHOT_LEVEL, StorageError};
use monolite_platform::failpoint;

/// Bytes of small files that all catalogs of this process keep in memory together,
/// so that what was just stored need not be fetched to be merged.
const KEEP_BYTES: usize = 16 << 20;
/// Files that a list lacks and that are asked for one by one, the newest first: some
/// providers' lists are stale. Beyond that the list is believed.
const CONFIRMED_MAX: usize = 16;
/// Larger files are fetched again.
const KEEP_FILE: usize = 256 << 10;

static KEPT_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The files of one replica: listed once, and then kept up to date by what is
/// stored and deleted through it.
///
/// Another machine may change the replica meanwhile; what the catalog believes
/// is then set right once a file turns out to be gone.
#[derive(Debug)]
pub struct Catalog {
    /// By level, first and last transaction.
    files: Vec<FileInfo>,
    /// Files that are there and damaged, with what is wrong: neither merged nor
    /// counted on for a state, and deleted as the others are.
    damaged: Vec<(FileInfo, String)>,
    /// The times of some states, by the file's key.
    times: BTreeMap<Key, i64>,
    kept: Kept,
    scratch: PathBuf,
}

type Key = (u8, Txid, Txid, bool);

fn key(file: &FileInfo) -> Key {
    (file.level, file.min, file.max, file.sealed)
}

/// What [`Catalog::maintain`] has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Maintained {
    /// How many merged files were made.
    pub merged: usize,
    /// How many files were deleted.
    pub deleted: usize,
}

impl Catalog {
    /// Lists the replica, all its levels: one request for each thousand files.
    ///
    /// # Errors
    /// It cannot be listed.
    pub async fn load(replica: &Replica) -> Result<Self> {
        Ok(Self {
            files: replica.list_all().await?,
            damaged: Vec::new(),
            times: BTreeMap::new(),
            kept: Kept::default(),
            scratch: std::env::temp_dir(),
        })
    }

    /// Has files that are too large for memory made in `dir`, while they are
    /// merged. They have no name there, or are removed. Without this, it is the
    /// system's folder for temporary files.
    #[must_use]
    pub fn scratch_in(mut self, dir: &Path) -> Self {
        self.scratch = dir.into();
        self
    }

    /// The files that are not known to be damaged, by level and then by what they
    /// lead to.
    #[must_use]
    pub fn files(&self) -> &[FileInfo] {
        &self.files
    }

    /// The newest state there is.
    #[must_use]
    pub fn newest(&self) -> Option<Txid> {
        self.files.iter().map(|file| file.max).max()
    }

    /// The newest snapshot.
    #[must_use]
    pub fn newest_snapshot(&self) -> Option<&FileInfo> {
        // The last in order: all snapshots begin with the first transaction.
        self.files
            .last()
            .filter(|file| file.level >= SNAPSHOT_LEVEL)
    }

    /// Compares with what the replica lists now: one request for each thousand files.
    /// Those that are not there any more, or that have another size than when they
    /// were stored, do not count from now on.
    ///
    /// # Errors
    /// It cannot be listed.
    pub async fn audit(&mut self, replica: &Replica) -> Result<()> {
        let listed = replica.list_all().await?;
        let mut missing = Vec::new();
        for file in &self.files {
            match listed.binary_search_by_key(&key(file), key) {
                Ok(at) if listed[at].size == file.size => {}
                Ok(at) => {
                    let (name, size) = (replica.name_of(file), listed[at].size);
                    let why = format!("{name} has {size} bytes, and {} were stored", file.size);
                    self.damaged.push((listed[at].clone(), why));
                }
                Err(_) => missing.push(file.clone()),
            }
        }
        missing.sort_unstable_by_key(|file| std::cmp::Reverse(file.max));
        let mut gone: Vec<FileInfo> = self.damaged.iter().map(|(file, _)| file.clone()).collect();
        for (nth, file) in missing.into_iter().enumerate() {
            if nth >= CONFIRMED_MAX || !replica.exists(&file).await? {
                gone.push(file);
            }
        }
        self.forget(&gone);
        Ok(())
    }

    /// Why the files do not lead to the state `txid`, which was stored; `None`: they do.
    #[must_use]
    pub fn gap(&self, txid: Txid) -> Option<String> {
        let why = match plan(&self.files, None, None) {
            Ok(plan) if plan.txid >= txid => return None,
            Ok(plan) => format!(
                "the files with the transactions after {} are missing",
                plan.txid
            ),
            Err(PlanError::Empty) => "all files are missing".into(),
            Err(error) => error.to_string(),
        };
        Some(match self.damaged.first() {
            Some((_, damage)) => format!("{damage}; without damaged files: {why}"),
            None => why,
        })
    }

    /// What is wrong with files that are damaged.
    pub fn damages(&self) -> impl Iterator<Item = &str> {
        self.damaged.iter().map(|(_, why)| why.as_str())
    }

    /// How long ago the newest snapshot was stored, in milliseconds; of a
    /// replica without one, longer than anything.
    #[must_use]
    pub fn snapshot_age_ms(&self, now_ms: i64) -> i64 {
        self.newest_snapshot()
            .map_or(i64::MAX, |file| now_ms.saturating_sub(file.stored_ms))
    }

    /// Takes in a file that was stored; `time_ms` is its header's timestamp.
    pub fn add(&mut self, file: FileInfo, time_ms: i64) {
        let key_of = key(&file);
        self.times.insert(key_of, time_ms);
        match self.files.binary_search_by_key(&key_of, key) {
            Ok(at) => self.files[at] = file,
            Err(at) => self.files.insert(at, file),
        }
    }

    /// Like [`add`](Self::add), for a caller that still has the file's content: it is kept
    /// in memory until it is merged, if it is small and the bound on memory allows it.
    pub fn add_with(&mut self, file: FileInfo, time_ms: i64, body: Bytes) {
        self.kept.add(key(&file), body);
        self.add(file, time_ms);
    }

    /// Merges what is due and deletes what may go. While nothing changes it
    /// costs no request; killed or failing anywhere it is taken up again by the
    /// next call, of this or of another machine.
    ///
    /// # Errors
    /// A file cannot be read, stored or deleted. What was done stays done.
    pub async fn maintain(
        &mut self,
        replica: &Replica,
        policy: &Policy,
        now_ms: i64,
    ) -> Result<Maintained> {
        let mut maintained = Maintained::default();
        let mut reloaded = false;
        loop {
            let once = self
                .maintain_once(replica, policy, now_ms, &mut maintained)
                .await;
            match once {
                Ok(()) => return Ok(maintained),
                // Another machine has merged and deleted: look at what it left.
                Err(Error::Storage(error)) if error.is_not_found() && !reloaded => {
                    reloaded = true;
                    self.reload(replica).await?;
                }
                Err(Error::Storage(error)) if self.set_aside_named(replica, &error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn maintain_once(
        &mut self,
        replica: &Replica,
        policy: &Policy,
        now_ms: i64,
        maintained: &mut Maintained,
    ) -> Result<()> {
        for level in [1, 2] {
            let known = self.timed(replica, policy, level).await?;
            for merge in policy.due(&known, level, now_ms) {
                match self.merge(replica, &merge, now_ms).await {
                    Ok(()) => maintained.merged += 1,
                    Err(error @ Error::Ltx { .. }) => {
                        // Which of them is it?
                        let found = merge::damaged(replica, &merge.files, &self.scratch).await?;
                        if found.is_empty() {
                            return Err(error);
                        }
                        self.set_aside(found);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let mut deletable = policy.deletable(&self.files, now_ms);
        if !self.damaged.is_empty() {
            let damaged = || self.damaged.iter().map(|(file, _)| file);
            let all: Vec<FileInfo> = self.files.iter().chain(damaged()).cloned().collect();
            let mut old = policy.deletable(&all, now_ms);
            old.retain(|file| damaged().any(|damaged| damaged == file));
            deletable.append(&mut old);
        }
        if !deletable.is_empty() {
            failpoint::reached("retention.deleting");
            replica.delete(&deletable).await?;
            failpoint::reached("retention.deleted");
            maintained.deleted += deletable.len();
            self.damaged.retain(|(file, _)| !deletable.contains(file));
            self.forget(&deletable);
        }
        Ok(())
    }

    async fn merge(&mut self, replica: &Replica, merge: &Merge, now_ms: i64) -> Result<()> {
        let files = merge.files.iter();
        let kept = files.map(|file| self.kept.get(&key(file))).collect();
        let (mut stored, time_ms, body) = merge::merge(replica, merge, kept, &self.scratch).await?;
        // In a folder it has the time of its content. What it covers is kept
        // for those who have planned to read that.
        stored.stored_ms = stored.stored_ms.max(now_ms);
        for file in &merge.files {
            self.kept.remove(&key(file));
        }
        match body {
            Some(body) => self.add_with(stored, time_ms, body),
            None => self.add(stored, time_ms),
        }
        Ok(())
    }

    fn forget(&mut self, gone: &[FileInfo]) {
        let mut gone: Vec<Key> = gone.iter().map(key).collect();
        gone.sort_unstable();
        self.files
            .retain(|file| gone.binary_search(&key(file)).is_err());
        for key in &gone {
            self.times.remove(key);
            self.kept.remove(key);
        }
    }

    /// Does not count on these files any more.
    fn set_aside(&mut self, damaged: Vec<(FileInfo, String)>) {
        let files: Vec<FileInfo> = damaged.iter().map(|(file, _)| file.clone()).collect();
        self.forget(&files);
        self.damaged.extend(damaged);
    }

    /// The same with the file that `error` says is damaged; `false`: it is about none.
    fn set_aside_named(&mut self, replica: &Replica, error: &StorageError) -> bool {
        let name = error.file_name().filter(|_| error.is_damage());
        let is_it = |file: &&FileInfo| Some(replica.name_of(file).as_str()) == name;
        let Some(file) = self.files.iter().find(is_it).cloned() else {
            return false;
        };
        self.set_aside(vec![(file, error.to_string())]);
        true
    }

    async fn reload(&mut self, replica: &Replica) -> Result<()> {
        self.files = replica.list_all().await?;
        let listed = std::mem::take(&mut self.damaged).into_iter();
        self.damaged = listed
            .filter(|(damaged, _)| self.files.contains(damaged))
            .collect();
        let damaged = &self.damaged;
        self.files
            .retain(|file| !damaged.iter().any(|(damaged, _)| damaged == file));
        let files = &self.files;
        let there = |at: &Key| files.binary_search_by_key(at, key).is_ok();
        self.times.retain(|at, _| there(at));
        Ok(())
    }

    /// The files with the times that matter for merging into `level`.
    async fn timed(&mut self, replica: &Replica, policy: &Policy, level: u8) -> Result<Vec<Timed>> {
        let mut timed: Vec<(Timed, bool)> = self
            .files
            .iter()
            .map(|file| {
                let known = self.times.get(&key(file)).copied();
                let time_ms = known.unwrap_or(file.stored_ms);
                let file = file.clone();
                (Timed { file, time_ms }, known.is_some())
            })
            .collect();
        for (file, time_ms) in times::learn(replica, policy, &mut timed, level).await? {
            self.times.insert(key(&file), time_ms);
        }
        Ok(timed.into_iter().map(|(timed, _)| timed).collect())
    }
}

/// The contents of files that were stored a moment ago.
#[derive(Debug, Default)]
struct Kept {
    bodies: BTreeMap<Key, Bytes>,
    /// The oldest first.
    order: VecDeque<Key>,
}

impl Kept {
    fn add(&mut self, at: Key, body: Bytes) {
        if body.len() > KEEP_FILE {
            return;
        }
        // This catalog's oldest are dropped; those of other catalogs cannot be.
        while KEPT_BYTES.load(Ordering::Relaxed) + body.len() > KEEP_BYTES {
            match self.order.front().copied() {
                Some(oldest) => self.remove(&oldest),
                None => return,
            }
        }
        self.remove(&at);
        KEPT_BYTES.fetch_add(body.len(), Ordering::Relaxed);
        self.bodies.insert(at, body);
        self.order.push_back(at);
    }

    fn get(&self, at: &Key) -> Option<Bytes> {
        self.bodies.get(at).cloned()
    }

    fn remove(&mut self, at: &Key) {
        if let Some(body) = self.bodies.remove(at) {
            KEPT_BYTES.fetch_sub(body.len(), Ordering::Relaxed);
            self.order.retain(|other| other != at);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let bytes = self.bodies.values().map(Bytes::len).sum();
        KEPT_BYTES.fetch_sub(bytes, Ordering::Relaxed);
    }
}
