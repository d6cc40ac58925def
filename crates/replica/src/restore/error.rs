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
    #[error("{name}: {source}; an earlier state, or another replica, may be whole")]
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
        "{replica} says that its database has {pages} pages, which its {bytes} bytes cannot hold: its newest file was not made by replication"
    )]
    Oversized {
        /// The replica.
        replica: String,
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

    /// Whether a file that was listed is not there any more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_not_found())
    }
}
