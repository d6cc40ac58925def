//! Which files a restore is made of, and ways around those that are damaged.
//!
//! Invariant: the state never changes on the way. What is restored is the state
//! that was asked for, from files that are each whole and together prove it, or
//! nothing is.

use std::sync::Arc;

use monolite_ltx::Txid;

use super::build::Build;
use super::error::RestoreError;
use super::target;
use crate::history::{Target, states, time_of};
use crate::progress::Progress;
use crate::storage::{FileInfo, Replica, SNAPSHOT_LEVEL};

/// Ways that are tried. Each may download a whole database.
const WAYS_MAX: usize = 12;

/// The files of a replica, without those that turned out not to be usable.
pub(super) struct Route<'a> {
    replica: &'a Replica,
    target: Target,
    progress: &'a Arc<dyn Progress>,
    /// All that are listed.
    listed: Vec<FileInfo>,
    /// Those of them that are not known to be unusable.
    usable: Vec<FileInfo>,
    /// The state, once it is known.
    txid: Option<Txid>,
    /// What the last plan consists of.
    planned: Vec<FileInfo>,
    /// Why files are not used, the first first.
    damages: Vec<RestoreError>,
    /// What was found wrong while the state was looked for.
    notes: Vec<String>,
    ways: usize,
    relisted: bool,
}

impl<'a> Route<'a> {
    pub(super) async fn begin(
        replica: &'a Replica,
        target: Target,
        progress: &'a Arc<dyn Progress>,
    ) -> Result<Self, RestoreError> {
        progress.begin("looking what there is", None);
        let listed = replica.list_all().await?;
        Ok(Self {
            replica,
            target,
            progress,
            usable: listed.clone(),
            listed,
            txid: None,
            planned: Vec::new(),
            damages: Vec::new(),
            notes: Vec::new(),
            ways: 0,
            relisted: false,
        })
    }

    /// The next way.
    ///
    /// # Errors
    /// There is none, and why.
    pub(super) async fn next(&mut self) -> Result<Build<'a>, RestoreError> {
        loop {
            match self.plan().await {
                Ok(build) => return Ok(build),
                Err(error) => self.avoid(error).await?,
            }
        }
    }

    async fn plan(&mut self) -> Result<Build<'a>, RestoreError> {
        let txid = match self.txid {
            Some(txid) => txid,
            None => {
                let (replica, notes) = (self.replica, &mut self.notes);
                target::wanted(replica, &self.listed, self.target, notes).await?
            }
        };
        self.txid = Some(txid);
        self.planned.clear();
        let newest = self.listed.iter().map(|file| file.max).max();
        let is_newest = self.damages.is_empty() && newest == Some(txid);
        let plan = match target::lead_to(self.replica, &self.usable, txid, is_newest) {
            Ok(plan) => plan,
            Err(error) if self.damages.is_empty() => return Err(error),
            Err(_) => return Err(self.broken(txid).await),
        };
        self.planned.clone_from(&plan.files);
        Build::of(self.replica, plan, self.progress).await
    }

    /// Takes the files out that `error` is about.
    ///
    /// # Errors
    /// `error` itself, if it is about no file, or about too many.
    pub(super) async fn avoid(&mut self, error: RestoreError) -> Result<(), RestoreError> {
        self.ways += 1;
        if self.ways > WAYS_MAX {
            return Err(error);
        }
        if error.is_gone() && !self.relisted {
            // Merged and deleted meanwhile.
            self.relisted = true;
            self.listed = self.replica.list_all().await?;
            self.usable.clone_from(&self.listed);
            self.txid = None;
            self.damages.clear();
            return Ok(());
        }
        let before = self.usable.len();
        if let Some(name) = error.damaged_file() {
            let replica = self.replica;
            self.usable.retain(|file| replica.name_of(file) != name);
        } else if error.is_misfit() {
            self.without_merged();
        }
        if self.usable.len() == before {
            return Err(error);
        }
        self.damages.push(error);
        Ok(())
    }

    /// Of files that are whole, and wrong together, the merged ones were made of
    /// others, which may still be there; and an older snapshot may be right.
    fn without_merged(&mut self) {
        let Some(first) = self.planned.first().cloned() else {
            return;
        };
        let is_merged = |file: &FileInfo| (1..SNAPSHOT_LEVEL).contains(&file.level);
        let merged: Vec<FileInfo> = (self.planned.iter())
            .filter(|file| is_merged(file))
            .cloned()
            .collect();
        match merged.is_empty() {
            true => self.usable.retain(|file| *file != first),
            false => self.usable.retain(|file| !merged.contains(file)),
        }
    }

    /// No way is left.
    async fn broken(&mut self, txid: Txid) -> RestoreError {
        let source = self.damages.swap_remove(0);
        if source.is_misfit() {
            // Which of the files is wrong, and which older states are, is not known.
            return source;
        }
        let older = states(&self.usable);
        let older = older.iter().rfind(|state| **state < txid);
        let best = match older {
            Some(state) => {
                let time = time_of(self.replica, &self.usable, *state).await;
                Some((*state, time.ok().flatten().unwrap_or(0)))
            }
            None => None,
        };
        let after = best.map_or(Txid(0), |(state, _)| state);
        let lost = states(&self.listed).into_iter();
        let lost = lost.filter(|state| *state > after && *state <= txid);
        RestoreError::Broken {
            replica: self.replica.name(),
            txid,
            lost: lost.count(),
            source: Box::new(source),
            best,
        }
    }

    /// What was gone around.
    pub(super) fn damages(self) -> Vec<String> {
        let damages = self.damages.iter().map(ToString::to_string);
        self.notes.into_iter().chain(damages).collect()
    }
}
