//! The directory itself: is it there, or can it be created.

use std::io;
use std::path::{Path, PathBuf};

use crate::finding::{Check, Finding};
use crate::text::quote;

const CHECK: Check = Check {
    name: "directory",
    why: "a volume that is not mounted looks like an empty one: the app would start without its data",
};

/// A directory that the other checks can look at.
pub(crate) struct Target {
    /// As the user named it, absolute.
    pub(crate) dir: PathBuf,
    /// The directory, or its parent if it is yet to be created.
    pub(crate) existing: PathBuf,
}

impl Target {
    pub(crate) fn is_missing(&self) -> bool {
        self.dir != self.existing
    }
}

/// The target is None exactly when the finding is a failure.
pub(crate) fn inspect(dir: &Path) -> (Finding, Option<Target>) {
    let dir = match std::path::absolute(dir) {
        Ok(dir) => dir,
        Err(error) => {
            let what = format!("cannot make {} an absolute path: {error}", quote(dir));
            let remedy = "name the data directory by its full path, for example /data";
            return (CHECK.fail(what, remedy), None);
        }
    };
    match std::fs::metadata(&dir) {
        Ok(metadata) if metadata.is_dir() => {
            let existing = dir.clone();
            (
                CHECK.pass(format!("{} exists", dir.display())),
                Some(Target { dir, existing }),
            )
        }
        Ok(_) => {
            let what = format!("{} is a file, not a directory", dir.display());
            (
                CHECK.fail(
                    what,
                    "name the directory that holds the database, not the database",
                ),
                None,
            )
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => missing(dir),
        Err(error) => {
            let what = format!("cannot look at {}: {error}", dir.display());
            let remedy = match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    format!(
                        "let this user (uid {}) pass the directories above it",
                        uid()
                    )
                }
                _ => "name another directory, or repair the path or its disk".to_owned(),
            };
            (CHECK.fail(what, remedy), None)
        }
    }
}

fn missing(dir: PathBuf) -> (Finding, Option<Target>) {
    if let Ok(link) = std::fs::read_link(&dir) {
        let what = format!(
            "{} is a link to {}, which does not exist",
            dir.display(),
            link.display()
        );
        return (
            CHECK.fail(
                what,
                "mount the volume the link points to, or repair the link",
            ),
            None,
        );
    }
    match dir.parent() {
        Some(parent) if parent.is_dir() => {
            let existing = parent.to_owned();
            let what = format!("{} does not exist yet: it will be created", dir.display());
            (CHECK.pass(what), Some(Target { dir, existing }))
        }
        _ => {
            let what = format!(
                "neither {} nor the directory above it exists: is the volume mounted?",
                dir.display()
            );
            let remedy = format!(
                "mount the volume, or create the directory: mkdir -p {}",
                quote(&dir)
            );
            (CHECK.fail(what, remedy), None)
        }
    }
}

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Level;

    #[test]
    fn there_or_to_be_created() {
        let root = tempfile::tempdir().unwrap();
        let (finding, target) = inspect(root.path());
        assert_eq!(finding.level, Level::Pass);
        assert!(!target.unwrap().is_missing());

        let (finding, target) = inspect(&root.path().join("new/"));
        assert_eq!(finding.level, Level::Pass);
        assert!(finding.what.contains("will be created"));
        let target = target.unwrap();
        assert!(target.is_missing());
        assert_eq!(target.existing, root.path());
    }

    #[test]
    fn failures_name_the_cause() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("app.sqlite3");
        std::fs::write(&file, b"").unwrap();
        let link = root.path().join("link");
        std::os::unix::fs::symlink("/not/there", &link).unwrap();
        for (path, text) in [
            (root.path().join("a/b"), "is the volume mounted?"),
            (file.clone(), "is a file"),
            (file.join("below"), "cannot look at"),
            (link, "is a link to /not/there"),
            (PathBuf::new(), "absolute"),
        ] {
            let (finding, target) = inspect(&path);
            assert_eq!(finding.level, Level::Fail);
            assert!(finding.what.contains(text), "{finding:?}");
            assert!(target.is_none() && !finding.remedy.is_empty());
        }
    }
}
