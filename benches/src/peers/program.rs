//! A peer that is a program of its own, in a workspace of its own: only one
//! SQLite can be linked into a program, and each brings another.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::place;
use crate::process::Running;

pub(crate) struct Program {
    path: PathBuf,
}

impl Program {
    /// Builds the one in `benches/peers/NAME`.
    pub(crate) fn build(name: &str) -> anyhow::Result<Self> {
        let manifest = place::root()
            .join("benches/peers")
            .join(name)
            .join("Cargo.toml");
        let target = place::root().join("target/peers");
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--release", "--locked"])
            .arg("--manifest-path")
            .arg(manifest)
            .env("CARGO_TARGET_DIR", &target)
            // As it comes: this workspace's flags for SQLite are not the peer's.
            .env("LIBSQLITE3_FLAGS", "")
            .status()?;
        anyhow::ensure!(status.success(), "the program of {name} does not build");
        let path = target
            .join("release")
            .join(format!("monolite-bench-{name}"));
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Has it measure one case, in a file in `dir`.
    pub(crate) fn measure<T: DeserializeOwned>(
        &self,
        case: &str,
        dir: &Path,
        time: Duration,
    ) -> anyhow::Result<T> {
        let output = self.start(case, dir, time)?.output()?;
        Ok(serde_json::from_str(&output)?)
    }

    /// Starts it on a case in which it speaks with us, or with another.
    pub(crate) fn start(&self, case: &str, dir: &Path, time: Duration) -> anyhow::Result<Running> {
        Running::start_talking(
            Command::new(&self.path)
                .arg(case)
                .arg(time.as_millis().to_string())
                .arg(dir.join("peer.sqlite3")),
        )
    }
}
