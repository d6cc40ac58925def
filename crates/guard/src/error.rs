//! Why a migration could not be guarded. Unless an error says so, no database was changed by the
//! guard.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

use monolite_platform::lock::LockError;

use crate::files::with_suffix;
use crate::snapshots;

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done, to what, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Asked to end before the migration began.
    #[error("ended before the migration began")]
    Cancelled,
    /// There is no way back without a snapshot, so nothing was begun.
    #[error("no snapshot of {database} can be taken, so the migration was not begun: {why}")]
    Snapshot {
        /// The database.
        database: String,
        /// Why not.
        why: String,
    },
    /// Somebody else may write meanwhile: what they write would be lost should
    /// the database be put back.
    #[error(
        "{database} is open in {by}: what that writes would be lost if the migration had to be put back. Stop it first, or let `monolite run --migrate` hold the requests meanwhile; with --while-running the migration is run all the same, and is judged but not put back"
    )]
    InUse {
        /// The database.
        database: String,
        /// Who has it open.
        by: String,
    },
    /// A migration was interrupted: what is written now would be lost when it
    /// is put back.
    #[error(
        "a migration (`{}`) was interrupted, and is not put back yet; nothing was changed. `monolite migrate --interrupted put-back` puts the databases back as they were before it, `--interrupted keep` takes them as they are", .command.escape_debug()
    )]
    Interrupted {
        /// The command.
        command: String,
    },
    /// To put back would lose what is there, of which no copy can be kept.
    #[error(
        "{database} was not put back: what is there now would be lost, since no copy of it can be kept: {why}. Start again once that is solved; if the disk is full, `monolite migrate --interrupted put-back` does without a copy; `--interrupted keep` takes the databases as they are. The state from before the migration is in {}",
        .snapshot.display()
    )]
    NoCopy {
        /// The database.
        database: String,
        /// Why there is none.
        why: String,
        /// Its state before the migration.
        snapshot: PathBuf,
    },
    /// A migration was interrupted, and its processes still run.
    #[error(
        "a migration (`{command}`) was interrupted, and {database} is still open in {by}: wait until that ends, or stop it; then start again. `monolite migrate --interrupted put-back` puts back all the same, and keeps a copy of what is there if there is room"
    )]
    StillRunning {
        /// The command.
        command: String,
        /// The database.
        database: String,
        /// Who has it open.
        by: String,
    },
    /// A migration was interrupted, and somebody has used the database since.
    #[error(
        "a migration (`{command}`) was interrupted, and {database} was written to, or put in place, after its end: to put it back would lose that. Look at it; then `monolite migrate --interrupted keep` takes it as it is, and `--interrupted put-back` restores {} and keeps a copy of what is there if there is room", .snapshot.display()
    )]
    WrittenSince {
        /// The command.
        command: String,
        /// The database.
        database: String,
        /// Its state before the migration.
        snapshot: PathBuf,
    },
    /// The journal of a migration that was interrupted cannot be understood.
    #[error(
        "{} is the journal of an interrupted migration, and cannot be understood: {why}. The states from before are in that directory; move it away once the databases are as they should be",
        .path.display()
    )]
    Journal {
        /// The journal.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The database is not as it was, and could not be made so.
    #[error("{}", not_rolled_back(.database, .why, .file, .snapshot))]
    Rollback {
        /// The database.
        database: String,
        /// Why not.
        why: String,
        /// Its file.
        file: PathBuf,
        /// Its state before the migration.
        snapshot: PathBuf,
    },
    /// SQLite's answer.
    #[error("cannot {what} {}: {source}", .path.display())]
    Sqlite {
        /// What was being done.
        what: &'static str,
        /// To which database.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// The system's answer.
    #[error("cannot {what} {}: {source}", .path.display())]
    File {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn at(what: &'static str, path: &Path, source: rusqlite::Error) -> Self {
        let path = path.into();
        Self::Sqlite { what, path, source }
    }

    pub(super) fn sqlite(what: &'static str, conn: &Connection, source: rusqlite::Error) -> Self {
        Self::at(what, Path::new(conn.path().unwrap_or_default()), source)
    }

    pub(super) fn file(what: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.into();
        Self::File { what, path, source }
    }

    /// Another process writes to a database that is about to be rolled back.
    pub(crate) fn written(file: &Path) -> Self {
        let busy = io::Error::new(io::ErrorKind::ResourceBusy, "another process writes to it");
        Self::file("put back", file, busy)
    }

    /// Whether it is [`written`](Self::written).
    pub(crate) fn is_written(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::ResourceBusy)
    }

    /// Whether SQLite finds the file damaged, or no database at all.
    pub(crate) fn is_damage(&self) -> bool {
        let Self::Sqlite { source, .. } = self else {
            return false;
        };
        let damage = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase];
        source
            .sqlite_error_code()
            .is_some_and(|code| damage.contains(&code))
    }
}

impl From<LockError> for Error {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Cancelled(_) => Self::Cancelled,
            LockError::Io { what, path, source } => Self::File { what, path, source },
            other => Self::file("lock", Path::new(""), io::Error::other(other)),
        }
    }
}

fn not_rolled_back(database: &str, why: &str, file: &Path, snapshot: &Path) -> String {
    let failed = format!("{database} could not be put back: {why}");
    if !snapshot.exists() {
        return format!(
            "{failed}. Without the snapshot only a backup has its state from before the migration; `monolite migrate --interrupted keep` takes the databases as they are"
        );
    }
    format!(
        "{failed}. Start again once that is solved, and it is put back then; or, while nothing has it open and the disk has room for one more copy, run `{}` and after that `monolite migrate --interrupted keep`",
        by_hand(file, snapshot)
    )
}

/// Commands that write a snapshot over its database. Nothing is removed, and on a full disk nothing
/// is changed: the copy is made first, under another name.
fn by_hand(file: &Path, snapshot: &Path) -> String {
    let new = snapshots::unused_path(&with_suffix(file, ".restored"));
    let old = snapshots::unused_path(&with_suffix(file, ".replaced"));
    let [file, new, old] = [file, &new, &old].map(|path| path.display().to_string());
    let (from, to) = (shell_quoted(snapshot), quoted(&new));
    let mut commands = vec![format!(
        "{{ cp -p {from} {to} || {{ rm -f {to}; false; }}; }}"
    )];
    // The logs, too: they must not be replayed over the snapshot.
    for suffix in ["", "-wal", "-journal", "-shm"] {
        let (from, to) = (
            quoted(&format!("{file}{suffix}")),
            quoted(&format!("{old}{suffix}")),
        );
        commands.push(format!("{{ [ ! -e {from} ] || mv {from} {to}; }}"));
    }
    commands.push(format!("mv {} {}", quoted(&new), quoted(&file)));
    commands.join(" && ")
}

/// A path as one word of a shell.
pub(crate) fn shell_quoted(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// One word of a shell.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "._-/:=%,".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}
