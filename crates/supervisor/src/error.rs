//! Why a run ended other than by being asked to.

use std::net::SocketAddr;
use std::time::Duration;

use monolite_guard::Verdict;
use monolite_volume::{Finding, LockError};

use crate::exit::Exit;

/// What went wrong, and what mends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The volume is not fit; the failures that were not allowed.
    #[error("the volume is not fit for production")]
    NotFit(Vec<Finding>),
    /// Another run has the volume.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// Somebody listens there already.
    #[error("port {} is in use on {}: stop what listens there, or choose another with --port", .0.port(), .0.ip())]
    PortInUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The data directory could not be made.
    #[error("cannot create the data directory {}: {source}", .path.display())]
    CreateData {
        /// The directory.
        path: std::path::PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A database is missing, and it cannot be found out who has it.
    #[error(
        "{database} is not on the volume, and what its replica holds cannot be found out: {why}; the app was not started. Mend that, or go without a replica: --replica none"
    )]
    NoStock {
        /// The database.
        database: String,
        /// Why not.
        why: String,
    },
    /// A database is missing, and cannot be restored.
    #[error(
        "{database} is not on the volume, and cannot be restored: {why}; the app was not started"
    )]
    Restore {
        /// The database.
        database: String,
        /// Why not.
        why: String,
    },
    /// The volume cannot be followed.
    #[error("cannot replicate the volume: {0}")]
    Replicate(monolite_replica::Error),
    /// The program cannot be started at all.
    #[error("cannot start `{program}`: {reason}")]
    Spawn {
        /// The program as it was named.
        program: String,
        /// What is wrong, and the mend.
        reason: String,
    },
    /// The migrate command failed; the app was not started.
    #[error("the migrate command `{command}` {exit}; the app was not started")]
    Migrate {
        /// The command.
        command: String,
        /// How it ended.
        exit: Exit,
        /// What became of the databases, if the migration was guarded.
        verdict: Option<Box<Verdict>>,
    },
    /// The migrate command took away what nobody allowed.
    #[error(
        "the migrate command `{command}` took away what nobody allowed; the app was not started"
    )]
    Refused {
        /// The command.
        command: String,
        /// What it took, and what became of the databases.
        verdict: Box<Verdict>,
    },
    /// The migration could not be guarded.
    #[error("{0}; the app was not started")]
    Guard(#[source] monolite_guard::Error),
    /// The app did not become healthy in time.
    #[error("the app did not become healthy within {:.1} s: {last} at {path}; name another path with --health-path, or allow more time with --start-timeout", .waited.as_secs_f32())]
    NeverHealthy {
        /// The path asked for.
        path: String,
        /// The last answer.
        last: String,
        /// How long it was asked.
        waited: Duration,
        /// The end of the app's output.
        tail: String,
    },
    /// The app kept dying.
    #[error("the app {exit}, {crashes} times in a row; giving up")]
    CrashLoop {
        /// How it ended the last time.
        exit: Exit,
        /// How often it died.
        crashes: u32,
        /// The end of its output.
        tail: String,
    },
    /// The operating system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl Error {
    /// The end of the app's output, where it helps.
    pub fn tail(&self) -> Option<&str> {
        match self {
            Self::NeverHealthy { tail, .. } | Self::CrashLoop { tail, .. } => Some(tail),
            _ => None,
        }
    }

    /// What a migration did that ended the run, if it was guarded.
    pub fn verdict(&self) -> Option<&Verdict> {
        match self {
            Self::Migrate { verdict, .. } => verdict.as_deref(),
            Self::Refused { verdict, .. } => Some(verdict),
            _ => None,
        }
    }

    /// The exit code for it: the app's own where it has one, 3 for an unfit
    /// volume, else 1.
    pub fn code(&self) -> u8 {
        match self {
            Self::NotFit(_) => 3,
            Self::Migrate { exit, .. } | Self::CrashLoop { exit, .. } => exit.code().max(1),
            _ => 1,
        }
    }
}
