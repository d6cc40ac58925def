//! Where a bench works: on a real disk, under the workspace's `target/bench`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

const TMPFS_MAGIC: u64 = 0x0102_1994;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.unwrap().to_path_buf()
}

pub(crate) fn results() -> PathBuf {
    root().join("target/bench")
}

/// Where cargo puts what it builds in this workspace.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(target) => root().join(target),
        None => root().join("target"),
    }
}

/// A new directory that goes away with the value.
pub(crate) fn scratch() -> anyhow::Result<TempDir> {
    let parent = results().join("tmp");
    std::fs::create_dir_all(&parent)?;
    remove_leftovers(&parent)?;
    let filesystem = rustix::fs::statfs(&parent)?.f_type as u64;
    anyhow::ensure!(
        filesystem != TMPFS_MAGIC,
        "{} is in memory: commits would cost nothing there",
        parent.display()
    );
    tempfile::Builder::new()
        .prefix(&format!("{}-", std::process::id()))
        .tempdir_in(&parent)
        .context("make a scratch directory")
}

/// A bench that was killed could not remove its own.
fn remove_leftovers(parent: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
