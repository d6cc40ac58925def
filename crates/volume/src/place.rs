//! A directory, and what the caller knows about it.

use std::path::PathBuf;

/// The directory to judge and the circumstances that only the caller knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory that holds, or is to hold, the databases.
    pub dir: PathBuf,
    /// The user named it (a flag, a variable, the configuration), rather than
    /// we having fallen back on it.
    pub named: bool,
    /// What shows that we run in a container, as
    /// [`container_marker`](crate::container_marker) finds it.
    pub container: Option<String>,
    /// The name of a platform that replaces its root disk at each deploy, for
    /// example `Fly.io`. The caller decides it from the environment.
    pub ephemeral_platform: Option<String>,
    /// Bytes that must be free. Less than 4 MiB counts as 4 MiB, which is what
    /// SQLite's WAL grows to before its first checkpoint.
    pub min_free_bytes: u64,
}

impl Place {
    /// A directory the user named, outside a container, with 64 MiB to be free.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            named: true,
            container: None,
            ephemeral_platform: None,
            min_free_bytes: 64 << 20,
        }
    }
}
