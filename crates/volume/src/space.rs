//! Is there space for the databases to grow.

use std::path::{Path, PathBuf};

use crate::Volume;
use crate::directory::Target;
use crate::finding::{Check, Finding};
use crate::layout::companions;
use crate::text::size;

const CHECK: Check = Check {
    name: "free-space",
    why: "on a full disk every write fails, and a WAL, a snapshot or a restore needs space next to the data",
};

/// SQLite's WAL before its first checkpoint: 1,000 pages of 4 KiB, rounded up.
const NEEDED_BYTES_MIN: u64 = 4 << 20;

/// What a filesystem has, for users other than root.
struct Space {
    total_bytes: u64,
    free_bytes: u64,
    /// None where the filesystem does not count inodes (btrfs).
    free_inodes: Option<u64>,
}

pub(crate) fn inspect(volume: &Volume, target: &Target, databases: &[PathBuf]) -> Finding {
    let stat = match rustix::fs::statvfs(&target.existing) {
        Ok(stat) => stat,
        Err(error) => {
            let what = format!(
                "cannot tell how much space {} has: {error}",
                target.dir.display()
            );
            return CHECK.warn(what, "look for disk errors (dmesg)");
        }
    };
    let block_bytes = if stat.f_frsize == 0 {
        stat.f_bsize
    } else {
        stat.f_frsize
    };
    let space = Space {
        total_bytes: stat.f_blocks.saturating_mul(block_bytes),
        free_bytes: stat.f_bavail.saturating_mul(block_bytes),
        free_inodes: (stat.f_files != 0).then_some(stat.f_favail),
    };
    judge(
        &target.dir,
        &space,
        volume.min_free_bytes,
        data_bytes(databases),
    )
}

/// Bytes of the databases and of SQLite's own files next to them.
fn data_bytes(databases: &[PathBuf]) -> u64 {
    let bytes = |path: &Path| std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.len());
    databases
        .iter()
        .map(|database| {
            bytes(database) + companions(database).map(|path| bytes(&path)).sum::<u64>()
        })
        .sum()
}

fn judge(dir: &Path, space: &Space, min_free_bytes: u64, data_bytes: u64) -> Finding {
    const REMEDY: &str = "free some space, or grow the volume";
    let needed = min_free_bytes.max(NEEDED_BYTES_MIN);
    let free = space.free_bytes;
    let has = format!(
        "{} has {} free of {}",
        dir.display(),
        size(free),
        size(space.total_bytes)
    );
    if free < needed {
        return CHECK.fail(
            format!("{has}; at least {} are needed", size(needed)),
            REMEDY,
        );
    }
    if space.free_inodes == Some(0) {
        let what = format!("{has}, but no free inodes: no file can be created there");
        return CHECK.fail(what, "delete small files that are not needed (df -i shows the count), or move to a filesystem with more inodes");
    }
    if free < data_bytes {
        let what = format!(
            "{has}, less than the {} its databases take: no space for a snapshot, or a WAL as large as the data",
            size(data_bytes)
        );
        return CHECK.warn(what, REMEDY);
    }
    if free.saturating_mul(10) < space.total_bytes {
        return CHECK.warn(format!("{has}: less than 10 %"), REMEDY);
    }
    CHECK.pass(has)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;

    const GIB: u64 = 1 << 30;

    fn level(
        free_bytes: u64,
        free_inodes: Option<u64>,
        min_free_bytes: u64,
        data_bytes: u64,
    ) -> Level {
        let space = Space {
            total_bytes: 10 * GIB,
            free_bytes,
            free_inodes,
        };
        let finding = judge(Path::new("/data"), &space, min_free_bytes, data_bytes);
        assert!(finding.what.contains("of 10.0 GiB"), "{finding:?}");
        finding.level
    }

    #[test]
    fn levels() {
        assert_eq!(level(5 * GIB, Some(9), 64 << 20, GIB), Level::Pass);
        assert_eq!(level(5 * GIB, None, 64 << 20, 5 * GIB), Level::Pass);
        assert_eq!(level(5 * GIB, None, 64 << 20, 5 * GIB + 1), Level::Warn);
        assert_eq!(level(GIB - 1, None, 64 << 20, 0), Level::Warn);
        assert_eq!(level(GIB, None, 64 << 20, 0), Level::Pass);
        assert_eq!(level(GIB, None, GIB + 1, 0), Level::Fail);
        assert_eq!(level(5 * GIB, Some(0), 64 << 20, 0), Level::Fail);
        assert_eq!(level(NEEDED_BYTES_MIN - 1, None, 0, 0), Level::Fail);
        assert_eq!(level(NEEDED_BYTES_MIN, None, 0, 0), Level::Warn);
    }

    #[test]
    fn the_real_disk_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let mut volume = Volume::new(dir.path());
        volume.min_free_bytes = u64::MAX;
        let target = Target {
            dir: dir.path().to_owned(),
            existing: dir.path().to_owned(),
        };
        let finding = inspect(&volume, &target, &[]);
        assert_eq!(finding.level, Level::Fail, "{finding:?}");
    }

    #[test]
    fn data_counts_the_wal_too() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("a.db");
        std::fs::write(&database, [0; 10]).unwrap();
        std::fs::write(dir.path().join("a.db-wal"), [0; 5]).unwrap();
        assert_eq!(data_bytes(&[database, dir.path().join("gone.db")]), 15);
    }
}
