//! Everything that can go wrong with a replica, one clear line each.

use std::io;
use std::path::{Path, PathBuf};

use monolite_ltx::Txid;
use monolite_platform::shell::quote;
use rusqlite::ErrorCode;

use crate::class::ErrorClass;
use crate::difference::Difference;
use crate::storage::StorageError;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, to what, and how to fix it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bucket or the folder that holds the replica.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// SQLite's own answer about a database.
    #[error("{}: {source}{}", path.display(), advice(path, source))]
    Database {
        /// The database.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// The SQLite that this program was linked with lacks something that
    /// replication needs.
    #[error(
        "replication needs SQLite {needed} or later, for {what}; this program was linked with \
         SQLite {version}: link it with a newer one"
    )]
    OldSqlite {
        /// The version that is there.
        version: &'static str,
        /// The oldest version that has it.
        needed: &'static str,
        /// What is missing.
        what: &'static str,
    },
    /// A file of this machine could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A page that must be there is not.
    #[error("{}: has no page {pgno}", path.display())]
    Page {
        /// The database.
        path: PathBuf,
        /// The page's number, from 1.
        pgno: u32,
    },
    /// The replica's newest state is not known to be an older one of this database,
    /// and differs from it.
    #[error("{}: {difference}", path.display())]
    ForeignState {
        /// The database.
        path: PathBuf,
        /// How the two differ, and what to do.
        difference: Box<Difference>,
    },
    /// A file that is known to be stored is not in the provider's list.
    #[error(
        "{name}: transaction {txid} is stored, and is not in the list that the provider gives; \
         the list is asked for again until it is"
    )]
    Unlisted {
        /// The replica.
        name: String,
        /// The transaction.
        txid: Txid,
    },
    /// A database that this process may only read.
    #[error("{}: this process may only read it; replication needs to lock it as a writer does", path.display())]
    ReadOnly {
        /// The database.
        path: PathBuf,
    },
    /// A replica that another volume wrote, and that cannot be restored to its newest
    /// state.
    #[error(
        "{name}: what it holds cannot be restored to its newest state, and was written by another \
         volume; begin a replica under another prefix, or go on here with --take-over"
    )]
    Unrestorable {
        /// The replica.
        name: String,
    },
    /// A file that has to be made first does not fit on the volume.
    #[error(
        "{}: a file of up to {needed} bytes has to be made here before it is sent; {free} are free, of \
         which {kept} are left to the databases; free some space, or name a directory on another disk \
         with --replica-scratch", dir.display()
    )]
    NoSpace {
        /// Where.
        dir: PathBuf,
        /// Bytes it may need.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Bytes of them that are not used for it.
        kept: u64,
    },
    /// A database that can be replicated only while its writers wait.
    #[error(
        "{}: not in WAL mode: it is replicated, but each time all of it is read while its writers \
         wait; run `PRAGMA journal_mode = WAL` in it, once", path.display()
    )]
    NotWal {
        /// The database.
        path: PathBuf,
    },
    /// Not everything that was committed was stored in the given time.
    #[error("not everything is stored: {why}")]
    NotSynced {
        /// Which databases, and why.
        why: String,
    },
    /// A task in the background ended unexpectedly; it is started again.
    #[error("merging of old files stopped ({what}) and is started again")]
    Background {
        /// What.
        what: String,
    },
    /// A process has files of the database open that were deleted or replaced.
    #[error(
        "{}: {process} has its file, -wal or -shm open, and that was deleted, renamed or replaced: \
         what the process commits has no name, and is lost when it ends; restart it", path.display()
    )]
    Unnamed {
        /// The database.
        path: PathBuf,
        /// The process.
        process: String,
    },
    /// This process has the old index of a database open, and cannot open the new one.
    #[error("{}: its -wal or -shm was replaced, and it is opened again in a moment", path.display())]
    OldIndex {
        /// The database.
        path: PathBuf,
    },
    /// What was committed to the database could not be read.
    #[error("the database could not be read: {why}")]
    NotRead {
        /// Why not.
        why: String,
    },
    /// The database is no longer followed.
    #[error("the database is no longer followed")]
    Closed,
    /// A file of a replica that is not a sound LTX file.
    #[error("{name}: {source}")]
    Ltx {
        /// The file.
        name: String,
        /// What is wrong with it.
        source: monolite_ltx::Error,
    },
}

impl Error {
    /// Whether waiting helps.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Storage(error) => error.class(),
            Self::Database { source, .. } => ErrorClass::of_sqlite(source),
            Self::File { source, .. } => ErrorClass::of_io(source),
            Self::OldSqlite { .. }
            | Self::ForeignState { .. }
            | Self::Unrestorable { .. }
            | Self::ReadOnly { .. }
            | Self::Ltx { .. } => ErrorClass::Permanent,
            Self::Page { .. }
            | Self::Unlisted { .. }
            | Self::NoSpace { .. }
            | Self::NotWal { .. }
            | Self::NotSynced { .. }
            | Self::Background { .. }
            | Self::NotRead { .. }
            | Self::Unnamed { .. }
            | Self::OldIndex { .. }
            | Self::Closed => ErrorClass::Transient,
        }
    }

    /// Whether nothing may be sent until somebody decides, or another machine stops.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::ForeignState { .. } | Self::Unrestorable { .. } => true,
            Self::Storage(error) => {
                error.is_lease() || matches!(error, StorageError::Copied { .. })
            }
            _ => false,
        }
    }

    /// Whether another machine has the lease: no try succeeds before it ends.
    pub(crate) fn is_held_by_another(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_held_by_another())
    }

    /// Whether the replica does not hold what was expected.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::Background { .. } | Self::Storage(StorageError::AlreadyExists { .. })
        )
    }

    pub(crate) fn database(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.into();
        Self::Database { path, source }
    }

    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        let path = path.into();
        Self::File { path, source }
    }

    pub(crate) fn ltx(name: impl Into<String>, source: monolite_ltx::Error) -> Self {
        let name = name.into();
        Self::Ltx { name, source }
    }
}

/// What to do about an error of SQLite.
fn advice(path: &Path, error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "; another process holds it locked. One that uses PRAGMA locking_mode = EXCLUSIVE lets \
             nobody else read it as long as it runs"
                .into()
        }
        Some(ErrorCode::NotADatabase) => {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            format!(
                "; if it is none, leave it out with --replica-exclude {}",
                quote(&name)
            )
        }
        _ => String::new(),
    }
}
