//! The files of a volume, and its links to databases elsewhere.

use std::io;
use std::path::{Path, PathBuf};

use monolite_volume::layout::{self, Role};
use monolite_volume::walk::{Kind, Walk, is_database};

/// Entries of directories beyond which a volume is not listed.
const ENTRIES_MAX: usize = 100_000;

/// What a volume holds, by the paths in it.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// All that is no directory; `None` if that is too much.
    pub(crate) files: Option<Vec<PathBuf>>,
    /// Those that are links to a database outside of the volume.
    pub(crate) links: Vec<PathBuf>,
}

/// Lists the volume, `.monolite` left out. Directories that cannot be read are passed over: nothing
/// is found in them later, either.
pub(crate) fn list(volume: &Path) -> Listing {
    let (mut files, mut links) = (Vec::new(), Vec::new());
    let walked = Walk::new(volume).entries_max(ENTRIES_MAX).each(|entry| {
        let Ok(name) = entry.path.strip_prefix(volume) else {
            return;
        };
        if entry.kind == Kind::Link && leads_out_to_a_database(volume, name) {
            links.push(name.to_owned());
        }
        if entry.kind != Kind::Directory {
            files.push(name.to_owned());
        }
    });
    let is_whole = match walked {
        Ok(left_out) => !left_out.is_cut(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    links.sort_unstable();
    Listing {
        files: is_whole.then_some(files),
        links,
    }
}

/// One in the volume is found by itself.
fn leads_out_to_a_database(volume: &Path, link: &Path) -> bool {
    if layout::role(link) == Role::Rebuilt {
        return false;
    }
    let (Ok(volume), Ok(target)) = (volume.canonicalize(), volume.join(link).canonicalize()) else {
        return false;
    };
    !target.starts_with(volume) && target.is_file() && is_database(&target)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn all_files_and_the_links_that_lead_out() {
        let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (dir, out) = (dir.path(), out.path());
        std::fs::create_dir_all(dir.join("a/b/c/d")).unwrap();
        std::fs::create_dir(dir.join(".monolite")).unwrap();
        for name in ["x.db", "a/b/c/d/y", ".monolite/z"] {
            std::fs::write(dir.join(name), "").unwrap();
        }
        std::fs::write(out.join("app"), b"SQLite format 3\0more").unwrap();
        std::fs::write(out.join("text"), "no database").unwrap();
        symlink(out.join("app"), dir.join("app.sqlite3")).unwrap();
        symlink(out.join("app"), dir.join("cache.sqlite3")).unwrap();
        symlink(out.join("text"), dir.join("text.db")).unwrap();
        symlink(dir.join("x.db"), dir.join("inside.db")).unwrap();
        symlink(out.join("gone"), dir.join("gone.db")).unwrap();
        let found = list(dir);
        let mut files = found.files.unwrap();
        files.sort();
        let expected = [
            "a/b/c/d/y",
            "app.sqlite3",
            "cache.sqlite3",
            "gone.db",
            "inside.db",
            "text.db",
            "x.db",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
        assert_eq!(found.links, [PathBuf::from("app.sqlite3")]);
        assert!(list(&dir.join("not-there")).files.is_some());
    }
}
