//! The files of a volume, and its links to databases elsewhere.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Entries beyond which a volume is not listed.
const MAX_ENTRIES: usize = 100_000;
/// What is made anew when it is lost.
const CACHES: [&str; 3] = ["cache.sqlite3", "pubsub.sqlite3", "metrics.sqlite3"];
const HEADER: &[u8] = b"SQLite format 3\0";

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// All that is no directory, by its path in the volume; `None` if that is
    /// too much.
    pub(super) files: Option<Vec<PathBuf>>,
    /// Those that are links to a database elsewhere.
    pub(super) links: Vec<PathBuf>,
}

/// Lists the volume, `.monolite` left out. Directories that cannot be read are
/// passed over: nothing is found in them later, either.
pub(super) fn list(volume: &Path) -> Listing {
    let (mut files, mut links) = (Vec::new(), Vec::new());
    let mut left = MAX_ENTRIES;
    let mut queue = VecDeque::from([PathBuf::new()]);
    while let Some(below) = queue.pop_front() {
        let Ok(listing) = std::fs::read_dir(volume.join(&below)) else {
            continue;
        };
        for entry in listing.flatten() {
            let name = below.join(entry.file_name());
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if left == 0 {
                return Listing { files: None, links };
            }
            left -= 1;
            match kind.is_dir() {
                true if name != Path::new(".monolite") => queue.push_back(name),
                true => {}
                false => {
                    if kind.is_symlink() && leads_out_to_a_database(volume, &name) {
                        links.push(name.clone());
                    }
                    files.push(name);
                }
            }
        }
    }
    links.sort_unstable();
    Listing {
        files: Some(files),
        links,
    }
}

/// One in the volume is found by itself. Nobody here has one outside open, so
/// that no lock is lost by the look at its header.
fn leads_out_to_a_database(volume: &Path, link: &Path) -> bool {
    if CACHES.iter().any(|cache| link == Path::new(cache)) {
        return false;
    }
    let (Ok(volume), Ok(target)) = (volume.canonicalize(), volume.join(link).canonicalize()) else {
        return false;
    };
    if target.starts_with(volume) || !target.is_file() {
        return false;
    }
    let mut header = [0; HEADER.len()];
    let read = File::open(target).and_then(|mut file| file.read_exact(&mut header));
    read.is_ok() && header == HEADER
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
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
        std::fs::write(out.join("app"), [HEADER, b"more"].concat()).unwrap();
        std::fs::write(out.join("text"), "no database").unwrap();
        symlink(out.join("app"), dir.join("app.sqlite3")).unwrap();
        symlink(out.join("text"), dir.join("text.db")).unwrap();
        symlink(dir.join("x.db"), dir.join("inside.db")).unwrap();
        symlink(out.join("gone"), dir.join("gone.db")).unwrap();
        let found = list(dir);
        let mut files = found.files.unwrap();
        files.sort();
        let expected = [
            "a/b/c/d/y",
            "app.sqlite3",
            "gone.db",
            "inside.db",
            "text.db",
            "x.db",
        ];
        assert_eq!(files, expected.map(PathBuf::from));
        assert_eq!(found.links, [PathBuf::from("app.sqlite3")]);
    }
}
