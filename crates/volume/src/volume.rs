//! The directory that is judged, and what the caller knows of it.

use std::path::PathBuf;

/// A directory to judge, and the circumstances that only the caller knows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Volume {
    /// The directory that holds, or is to hold, the databases.
    pub dir: PathBuf,
    /// The user named it (by a flag, a variable, the configuration); it is not
    /// what we fall back on.
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

impl Volume {
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
