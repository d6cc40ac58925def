//! All pages, compared with what the replica holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use monolite_ltx::{Header, Txid};

use super::{Known, Shipper, none};
use crate::error::{Error, Result};
use crate::follow::aside::{aside, step_back};
use crate::follow::encode;
use crate::follow::status::State;
use crate::map::PageMap;
use crate::steps;
use crate::storage::SNAPSHOT_LEVEL;
use crate::wal::{Opened, Snapshot};

/// Where large files are made.
#[derive(Clone)]
struct Files {
    difference: PathBuf,
    whole: PathBuf,
}

impl Shipper {
    /// Compares all pages with the map and sends those that differ; all of
    /// them if there is nothing to go on from, or if a snapshot is due.
    pub(super) async fn compare(&mut self, known: &mut Known) -> Result<()> {
        known.compare = true;
        self.board.update(|board| board.state = State::Comparing);
        let shared = self.shared.clone();
        let _permit = shared.comparers.acquire().await;
        let (path, inbox) = (self.path.clone(), self.inbox.clone());
        let snapshot = self
            .blocking(move || inbox.replace(Opened::new(&path)?))
            .await?;
        if snapshot.pages() == 0 {
            // Not a database yet.
            return Ok(());
        }
        let files = Files {
            difference: self.map_file.with_extension("ltx-new"),
            whole: self.snapshot_file(),
        };
        let sent = if known.anew || snapshot.page_size() != known.map.page_size() {
            self.send_anew(known, snapshot, &files.whole).await
        } else {
            self.send_difference(known, snapshot, &files).await
        };
        let _ = std::fs::remove_file(&files.difference);
        sent?;
        // What came into the inbox since the snapshot began may be older than
        // it: until a slide that begins now.
        self.database.slide().await.map_err(|()| Error::Closed)?;
        known.compare = false;
        known.must_equal = false;
        Ok(())
    }

    /// Sends all pages as the replica's next state.
    async fn send_anew(&self, known: &mut Known, snapshot: Snapshot, file: &Path) -> Result<()> {
        let (by, path) = (self.by(known), file.to_owned());
        let mut map = none(snapshot.page_size(), known.map.txid());
        let (map, header) = aside(move || {
            room(&path, &snapshot)?;
            let sums = encode::compare(&snapshot, &map)?;
            map.apply(&sums, snapshot.pages(), Txid(map.txid().0 + 1));
            step_back();
            let header = encode::whole(&snapshot, &map, by, &path)?;
            Ok((map, header))
        })
        .await?;
        steps::reached("snapshot.encoded");
        let stored = self.put_file(known, SNAPSHOT_LEVEL, &header, file).await;
        let _ = std::fs::remove_file(file);
        stored?;
        known.map = Arc::new(map);
        known.anew = false;
        known.whole = false;
        Ok(())
    }

    /// Sends the pages that are not as the map says; and, if one is due, makes
    /// a snapshot and begins to send it.
    async fn send_difference(
        &self,
        known: &mut Known,
        snapshot: Snapshot,
        files: &Files,
    ) -> Result<()> {
        let (by, files, map) = (self.by(known), files.clone(), known.map.clone());
        let (database, must_equal) = (self.path.clone(), known.must_equal);
        let whole = std::mem::take(&mut known.whole);
        let (path, made) = (files.difference.clone(), files.whole.clone());
        let (sums, header, snapshot) = aside(move || {
            let sums = encode::compare(&snapshot, &map)?;
            let same = sums.is_empty() && snapshot.pages() == map.len();
            if !same && must_equal {
                return Err(Error::Behind {
                    path: database,
                    pages: sums.len(),
                });
            }
            let header = match same {
                true => None,
                false => Some(encode::difference(&snapshot, &map, &sums, by, &path)?),
            };
            let whole = whole.then(|| {
                room(&made, &snapshot)?;
                let mut map = PageMap::clone(&map);
                if let Some(header) = &header {
                    map.apply(&sums, header.commit, header.max);
                }
                step_back();
                encode::whole(&snapshot, &map, by, &made)
            });
            // The log may be reset while that is sent.
            drop(snapshot);
            Ok((sums, header, whole))
        })
        .await?;
        steps::reached("sync.compared");
        if let Some(header) = header {
            self.put_file(known, 0, &header, &files.difference).await?;
            Arc::make_mut(&mut known.map).apply(&sums, header.commit, header.max);
        }
        match snapshot {
            Some(Ok(header)) => {
                steps::reached("snapshot.encoded");
                known.beside.made(Ok(()));
                self.send_snapshot(known, header, files.whole);
            }
            // Syncs go on without it.
            Some(Err(error)) => known.beside.made(Err(error.to_string())),
            None => {}
        }
        Ok(())
    }

    /// Sends a snapshot beside everything else, however long that takes.
    fn send_snapshot(&self, known: &mut Known, header: Header, file: PathBuf) {
        let replica = self.replica.clone();
        known.beside.send(async move {
            let put = replica.put_file(SNAPSHOT_LEVEL, &header, &file, Arc::new(|_| ()));
            let stored = put.await;
            let _ = tokio::fs::remove_file(&file).await;
            stored
        });
    }
}

/// Leaves a tenth of the disk to the databases, between 64 MiB and 1 GiB.
fn room(file: &Path, snapshot: &Snapshot) -> Result<()> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let stat = rustix::fs::statvfs(dir).map_err(|error| Error::file(dir, error.into()))?;
    let needed = u64::from(snapshot.pages()) * u64::from(snapshot.page_size());
    let tenth = (stat.f_blocks / 10).saturating_mul(stat.f_frsize);
    let kept = tenth.clamp(64 << 20, 1 << 30);
    let free = stat
        .f_bavail
        .saturating_mul(stat.f_frsize)
        .saturating_sub(kept);
    if free >= needed {
        return Ok(());
    }
    Err(Error::NoRoom {
        dir: dir.into(),
        needed,
        free,
    })
}
