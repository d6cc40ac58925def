//! Which databases of a volume are replicated, and which are guarded.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use monolite_replica::Find;
use monolite_volume::discover::{self, DiscoverError};
use monolite_volume::layout::REBUILT;

/// Entries of directories among which databases are found by their first bytes, when replication
/// begins: the files are opened, and a disk that is not in memory takes a millisecond for each.
const FIRST_BYTES_ENTRIES_MAX: usize = 100_000;
/// Links that are named, at most; more are counted.
const LINKS_NAMED_MAX: usize = 20;

/// Finds the databases of a volume that are replicated: all but caches, and those whose names match
/// a pattern of `exclude`.
pub fn find(volume: &Path, exclude: &[String]) -> Find {
    let (volume, exclude) = (volume.to_owned(), exclude.to_owned());
    // Databases of any name that were found once.
    let known: Mutex<Option<BTreeSet<PathBuf>>> = Mutex::default();
    Arc::new(move || {
        // That the volume is gone is noticed by the databases that were found before.
        let found = discover::by_name(&volume).unwrap_or_default().databases;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_with(|| {
            let found = discover::by_first_bytes(&volume, FIRST_BYTES_ENTRIES_MAX);
            found.unwrap_or_default().databases.into_iter().collect()
        });
        known.extend(found);
        known.retain(|path| path.exists());
        let found = known.iter().cloned();
        let wanted = |path: &PathBuf| match name_in(&volume, path) {
            Some(name) => is_replicated(&name, &exclude),
            None => false,
        };
        found.filter(wanted).collect()
    })
}

/// What of a volume may hold databases that are not replicated, in a sentence each.
pub fn not_looked_at(volume: &Path) -> Vec<String> {
    let Ok(found) = discover::by_name(volume) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    if found.left_out.is_cut() {
        all.push(format!(
            "not all of {} was looked at, and a database there is not replicated: {}",
            volume.display(),
            found.left_out
        ));
    }
    for link in found.links.iter().take(LINKS_NAMED_MAX) {
        all.push(format!(
            "{} is a link to a database outside of the data directory, which is not replicated; move the database here",
            link.display()
        ));
    }
    if found.links.len() > LINKS_NAMED_MAX {
        all.push(format!(
            "{} more links lead to databases outside of the data directory",
            found.links.len() - LINKS_NAMED_MAX
        ));
    }
    all
}

/// Finds the databases of a volume that a migration must not harm, whatever their names: all but
/// caches, and `named` in any case.
pub fn find_guarded(volume: &Path, named: Vec<PathBuf>) -> Find {
    let volume = volume.to_owned();
    // That one is not found any more is noticed by what was found before.
    let by_name = find(&volume, &[]);
    Arc::new(move || {
        let all = guarded(&volume, &named);
        all.or_else(|_| guarded(&volume, &[]))
            .unwrap_or_else(|_| by_name())
    })
}

/// The databases that [`find_guarded`] finds.
///
/// # Errors
/// Some of them cannot be found, or could not be restored after a migration.
pub fn guarded(volume: &Path, named: &[PathBuf]) -> Result<Vec<PathBuf>, DiscoverError> {
    let mut found = discover::by_content(volume, named)?;
    found.retain(|path| {
        let is_cache = name_in(volume, path).is_some_and(|name| REBUILT.contains(&&*name));
        !is_cache || named.contains(path)
    });
    Ok(found)
}

/// A database's path in the volume, as replicas name it; `None` if it is not in the volume, or if its
/// name is not UTF-8.
pub fn name_in(volume: &Path, path: &Path) -> Option<String> {
    Some(path.strip_prefix(volume).ok()?.to_str()?.to_owned())
}

/// Whether a database is replicated, by its path in the volume.
pub fn is_replicated(name: &str, exclude: &[String]) -> bool {
    !REBUILT.contains(&name) && !exclude.iter().any(|pattern| matches(pattern, name))
}

/// `*` stands for any characters, of other directories, too.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(after) = name.strip_prefix(start) else {
        return false;
    };
    let ends = after.char_indices().map(|(at, _)| at);
    ends.chain([after.len()])
        .any(|at| matches(rest, &after[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name, is_match) in [
            ("app.sqlite3", "app.sqlite3", true),
            ("app.sqlite3", "x/app.sqlite3", false),
            ("tenants/*", "tenants/a/b.db", true),
            ("tenants/*", "tenants", false),
            ("*.db", "é/x.db", true),
            ("*queue*", "solid_queue.sqlite3", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("", "a", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
        }
    }

    #[test]
    fn a_cache_that_is_named_is_guarded() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path();
        for name in ["app.sqlite3", "cache.sqlite3", "pubsub.sqlite3"] {
            std::fs::write(volume.join(name), b"").unwrap();
        }
        let find = |named: &str| find_guarded(volume, vec![volume.join(named)])();
        assert_eq!(find("app.sqlite3"), [volume.join("app.sqlite3")]);
        assert_eq!(find("cache.sqlite3").len(), 2);
    }

    #[test]
    fn caches_and_what_is_excluded_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("sub")).unwrap();
        for name in [
            "app.sqlite3",
            "cache.sqlite3",
            "sub/cache.sqlite3",
            "log.db",
        ] {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        let found = find(dir.path(), &["log.*".into()])();
        let names: Vec<_> = found
            .iter()
            .filter_map(|path| name_in(dir.path(), path))
            .collect();
        assert_eq!(names, ["app.sqlite3", "sub/cache.sqlite3"]);
    }
}
