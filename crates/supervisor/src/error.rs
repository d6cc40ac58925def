//! Why a run ended without being asked to.

use std::time::Duration;

use crate::exit::Exit;

/// What went wrong, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A service did not start.
    #[error("{source}")]
    Service {
        /// Which one.
        service: &'static str,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The program cannot be started at all.
    #[error("cannot start `{program}`: {reason}")]
    Spawn {
        /// The program as it was named.
        program: String,
        /// What is wrong, and what to do about it.
        reason: String,
    },
    /// The app did not become healthy in time.
    #[error("the app did not become healthy within {:.1} s: {last}; {fix}", .waited.as_secs_f32())]
    NeverHealthy {
        /// What was wrong at last.
        last: String,
        /// What to do about it.
        fix: String,
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
    /// The service of this name did not start.
    pub fn service(
        service: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self::Service { service, source }
    }

    /// Why a service did not start, if it says so with this type.
    pub fn of_service<E: std::error::Error + 'static>(&self) -> Option<&E> {
        match self {
            Self::Service { source, .. } => source.downcast_ref(),
            _ => None,
        }
    }

    /// The end of the app's output, where it helps.
    pub fn tail(&self) -> Option<&str> {
        match self {
            Self::NeverHealthy { tail, .. } | Self::CrashLoop { tail, .. } => Some(tail),
            _ => None,
        }
    }

    /// The exit code for it: the app's own where it has one, else 1.
    pub fn code(&self) -> u8 {
        match self {
            Self::CrashLoop { exit, .. } => exit.code().max(1),
            _ => 1,
        }
    }
}
