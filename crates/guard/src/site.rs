//! A volume, and how a migration on it is guarded.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::allow::Allowance;
use super::compare::Depth;
use super::error::Result;
use super::news::{Cancel, News};
use super::pages::Prints;

/// Why there is no snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoSnapshot {
    /// The disk has no room for it.
    Room {
        /// How much is needed, in words.
        why: String,
        /// Bytes to be freed for it, where known.
        missing: Option<u64>,
    },
    /// Anything else.
    Other(String),
}

/// Finds the databases of the volume.
pub type Find = Arc<dyn Fn() -> Vec<PathBuf> + Send + Sync>;

/// What a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// A plain database file, whole and on disk.
    File(PathBuf),
    /// There is nothing in the database.
    Empty,
    /// It only has the name of one: it is left alone, whatever happens to it.
    NotADatabase,
}

/// Takes a snapshot of a database into a directory, which is made for it.
pub type Snapshot = Arc<dyn Fn(&Path, &Path) -> Result<Taken, NoSnapshot> + Send + Sync>;

/// Tells which ranges of bytes of two files, the database first, are equal
/// because they are the same blocks of the disk: ascending, apart, and true
/// while nobody writes to them. None, where that is not known.
pub type SameBlocks = Arc<dyn Fn(&Path, &Path) -> Vec<Range<u64>> + Send + Sync>;

/// Remembers what was written to a snapshot that this process took.
pub type Remember = Arc<dyn Fn(&Path) -> Option<Arc<Prints>> + Send + Sync>;

/// Has the disk keep what a file holds; also of a database that this process has
/// open, whose locks on it must not be lost by that.
pub type SyncFile = Arc<dyn Fn(&Path) -> std::io::Result<()> + Send + Sync>;

/// Ends what an interrupted migration has left running on the volume, and waits
/// until it is gone. It is told the databases.
pub type Survivors = Arc<dyn Fn(&[PathBuf]) -> Survived + Send + Sync>;

/// What an interrupted migration had left running.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survived {
    /// Who did not end by themselves, in words.
    pub ended: Vec<String>,
    /// The databases that one of them had open for writing, or the log, and may
    /// have written to until it was gone.
    pub written: Vec<PathBuf>,
}

/// A volume, and what the guard needs from outside.
#[derive(Clone)]
pub struct Site {
    /// The data directory, absolute.
    pub volume: PathBuf,
    /// Finds the databases to guard in it.
    pub find: Find,
    /// Takes snapshots.
    pub snapshot: Snapshot,
    /// Spares the reading of what a snapshot shares with its database.
    pub same_blocks: SameBlocks,
    /// Spares the reading of a snapshot that was just written.
    pub prints: Remember,
    /// Has the disk keep a file.
    pub sync: SyncFile,
    /// Ends what an interrupted migration has left running.
    pub survivors: Survivors,
    /// Is told the news; must not block.
    pub tell: Arc<dyn Fn(News) + Send + Sync>,
    /// Milliseconds since 1970.
    pub clock: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Ends what waits.
    pub cancel: Cancel,
    /// No part of this process has a database of the volume open, so that
    /// locks of other processes may be looked for.
    pub is_alone: bool,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("volume", &self.volume)
            .finish_non_exhaustive()
    }
}

/// What if another process has a database open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Others {
    /// The migration is not begun.
    #[default]
    Refuse,
    /// It is run and judged, but never put back: what they wrote would be lost.
    Leave,
    /// It is run, judged and put back; the state that is put back over is kept
    /// as a file.
    Keep,
}

/// What to do with a migration that was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Interrupted {
    /// Put back, unless somebody has used the database since.
    #[default]
    PutBackIfUnused,
    /// Put back in any case.
    PutBack,
    /// Take the databases as they are.
    Keep,
}

/// How one migration is guarded.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What is meant to be lost.
    pub allow: Vec<Allowance>,
    /// How thoroughly damage is looked for.
    pub depth: Depth,
    /// What if somebody else has a database open.
    pub others: Others,
}
