//! Names of files next to a file.

use std::path::{Path, PathBuf};

/// `path` with `suffix` appended to its name: `/d/app.db` and `-wal` give
/// `/d/app.db-wal`. The extension stays, unlike with
/// [`Path::with_extension`].
#[must_use]
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The directory a file is in; `.` for a bare name, where
/// [`Path::parent`] gives an empty path that no system call takes.
#[must_use]
pub fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_keep_the_whole_name() {
        assert_eq!(
            with_suffix(Path::new("/d/a.db"), "-wal"),
            Path::new("/d/a.db-wal")
        );
        assert_eq!(directory(Path::new("/d/a.db")), Path::new("/d"));
        assert_eq!(directory(Path::new("a.db")), Path::new("."));
    }
}
