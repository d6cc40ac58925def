//! A volume with its app's database, and a bucket of its own.

use std::path::{Path, PathBuf};

use monolite_testkit::s3::{S3Options, S3Server};
use tempfile::TempDir;

use crate::place;

/// The app's database, in the volume and in the bucket.
pub(super) const NAME: &str = "app.sqlite3";
/// Where the volume is in the bucket.
pub(super) const PREFIX: &str = "shop";
/// The level of snapshots.
pub(super) const SNAPSHOTS: u8 = 9;

pub(super) struct Site {
    dir: TempDir,
    server: S3Server,
}

impl Site {
    pub(super) fn new() -> anyhow::Result<Self> {
        Self::with(S3Options::default())
    }

    pub(super) fn with(options: S3Options) -> anyhow::Result<Self> {
        let dir = place::scratch()?;
        std::fs::create_dir(dir.path().join("data"))?;
        std::fs::create_dir(dir.path().join("state"))?;
        let server = S3Server::start_with(options);
        Ok(Self { dir, server })
    }

    /// The same volume, with an empty bucket and nothing known of another.
    pub(super) fn empty_bucket(&mut self) -> anyhow::Result<()> {
        self.server = S3Server::start();
        std::fs::remove_dir_all(self.state())?;
        std::fs::create_dir(self.state())?;
        Ok(())
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn volume(&self) -> PathBuf {
        self.dir().join("data")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.dir().join("state")
    }

    pub(super) fn database(&self) -> PathBuf {
        self.volume().join(NAME)
    }

    pub(super) fn server(&self) -> &S3Server {
        &self.server
    }

    pub(super) fn url(&self) -> String {
        format!("s3://{}/{PREFIX}", self.server.bucket())
    }

    /// The keys of a database's files of one level. Both sides name them alike.
    pub(super) fn files(&self, database: &str, level: u8) -> Vec<String> {
        let prefix = format!("{PREFIX}/{database}/{level:04x}/");
        self.server.keys(&prefix)
    }
}
