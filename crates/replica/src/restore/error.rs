//! Everything that can go wrong with a restore, one clear line each.

use std::io;
use std::path::{Path, PathBuf};

use monolite_ltx::{Checksum, Txid};

use crate::history::PlanError;
use crate::storage::StorageError;

/// What was being done, to what, and how to fix it. No error leaves a part of a
/// database behind, and none touches what was there before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// No files lead to the state.
    #[error("cannot restore from {replica}: {source}")]
    Plan {
        /// The replica.
        replica: String,
        /// What is missing.
        source: PlanError,
    },
    /// The time asked for is before anything that is kept.
    #[error(
        "{replica} holds no state of {asked}: it is {distance} older than the oldest, of {oldest} (transaction {txid})"
    )]
    TooOld {
        /// The replica.
        replica: String,
        /// The time asked for.
        asked: String,
        /// How far that is from the oldest.
        distance: String,
        /// The time of the oldest state.
        oldest: String,
        /// The oldest state.
        txid: Txid,
    },
    /// There is a file with the database's name.
    #[error("{} exists already; it was left as it is. Name another file, or allow it to be replaced", .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// What has the database's name is a folder, or another thing that is no file.
    #[error("{} is not the name of a regular file; name a file", .path.display())]
    NotAFile {
        /// What is there.
        path: PathBuf,
    },
    /// A process has the database that is to be replaced open.
    #[error("{} is in use by another process; stop it before its database is replaced", .path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// The database to be replaced has a WAL or a journal that SQLite cannot
    /// recover.
    #[error("cannot make {} ready to be replaced: {source}; it was left as it is. Move it away together with its -wal and -journal files", .path.display())]
    Replace {
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// A file of the replica is not what its name says.
    #[error("{name} holds {found}: it was renamed, or replaced by another one")]
    Swapped {
        /// The file.
        name: String,
        /// What it holds.
        found: String,
    },
    /// A file of the replica is damaged.
    #[error("{name}: {source}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong with it.
        source: monolite_ltx::Error,
    },
    /// The files together lack a page.
    #[error(
        "no file of {replica} holds page {pgno} of the state at transaction {txid}: the files do not belong together; an earlier state, or another replica, may be whole"
    )]
    MissingPage {
        /// The replica.
        replica: String,
        /// The page, counted from 1.
        pgno: u32,
        /// The state.
        txid: Txid,
    },
    /// A header claims more pages than all files can hold.
    #[error(
        "{name} says that the database has {pages} pages, which the {bytes} bytes of all files cannot hold: it was not made by replication"
    )]
    Oversized {
        /// The file.
        name: String,
        /// Pages.
        pages: u32,
        /// Bytes of all files of the state.
        bytes: u64,
    },
    /// The pages are not the database that was replicated.
    #[error(
        "the pages of {replica} at transaction {txid} have the checksum {computed}, and it should be {expected}: they are not the state that was replicated; an earlier state, or another replica, may be whole"
    )]
    Checksum {
        /// The replica.
        replica: String,
        /// The state.
        txid: Txid,
        /// The checksum that was stored with the state.
        expected: Checksum,
        /// The checksum of what was restored.
        computed: Checksum,
    },
    /// Files of the replica are damaged, and no others lead to the state.
    #[error(
        "{source}; no other files of {replica} lead to transaction {txid}: {}",
        not_restorable(*.lost, *.best)
    )]
    Broken {
        /// The replica.
        replica: String,
        /// The state.
        txid: Txid,
        /// The first damage that was found.
        source: Box<RestoreError>,
        /// The newest older state that the other files lead to, and its time in
        /// milliseconds since 1970.
        best: Option<(Txid, i64)>,
        /// How many states after that, up to the one asked for, cannot be restored.
        lost: usize,
    },
    /// SQLite found the database damaged.
    #[error("the state of {replica} at transaction {txid} is damaged, and it was so when it was replicated if its checksums are right: {}", .findings.join("; "))]
    Corrupt {
        /// The replica.
        replica: String,
        /// The state.
        txid: Txid,
        /// SQLite's words, at most ten.
        findings: Vec<String>,
    },
    /// The disk is too full.
    #[error("the disk that holds {} is full: {needed} bytes are needed; what was written was removed. Free some space, or name another path", .path.display())]
    DiskFull {
        /// Where the database was to be.
        path: PathBuf,
        /// The size of the database.
        needed: u64,
    },
    /// The system's answer about a file of this machine.
    #[error("cannot {what} {}: {source}", .path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The bucket's or the folder's answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The task was ended from outside.
    #[error("the restore was ended before it was done")]
    Ended,
}

impl RestoreError {
    pub(super) fn file(what: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.into();
        Self::File { what, path, source }
    }

    /// The newest state that the replica's files lead to where they do not lead to
    /// the one asked for; its time is not known for a gap.
    #[must_use]
    pub fn best(&self) -> Option<Txid> {
        match self {
            Self::Broken { best, .. } => best.map(|(txid, _)| txid),
            Self::Plan {
                source: PlanError::Gap { after, .. },
                ..
            } => Some(*after),
            Self::Plan {
                source: PlanError::Unavailable { before, .. },
                ..
            } => *before,
            _ => None,
        }
    }

    /// The file that is not what was stored, if it is one file.
    pub(super) fn damaged_file(&self) -> Option<&str> {
        match self {
            Self::Damaged { name, .. }
            | Self::Swapped { name, .. }
            | Self::Oversized { name, .. } => Some(name),
            Self::Storage(error) if error.is_damage() || error.is_not_found() => error.file_name(),
            _ => None,
        }
    }

    /// Whether files that are each whole do not make the state together.
    pub(super) fn is_misfit(&self) -> bool {
        matches!(self, Self::MissingPage { .. } | Self::Checksum { .. })
    }

    /// Whether a file that was listed is not there any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_not_found())
    }
}

fn not_restorable(lost: usize, best: Option<(Txid, i64)>) -> String {
    let states = match lost {
        1 => "1 state".into(),
        lost => format!("{lost} states"),
    };
    match best {
        Some((txid, ms)) => format!(
            "{states} cannot be restored; the newest that can be is transaction {txid} of {}",
            super::target::instant(ms)
        ),
        None => format!(
            "{states} cannot be restored, and no older one can be; another replica may be whole"
        ),
    }
}
