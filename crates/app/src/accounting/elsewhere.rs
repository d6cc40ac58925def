//! Databases outside of the volume: those that a variable of the environment names, and those that
//! lie where frameworks put theirs, in the app's directory.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use monolite_volume::walk;

use crate::Environment;

/// Directories of an app in which frameworks keep databases; the app's own is the first.
const DIRECTORIES: [&str; 9] = [
    "", "db", "storage", "database", "data", "prisma", "var", "instance", "priv",
];
/// Entries of each that are looked at, at most.
const ENTRIES_MAX: usize = 10_000;
const EXTENSIONS: [&str; 4] = ["sqlite3", "sqlite", "db", "db3"];
/// How the addresses of SQLite databases begin.
const SCHEMES: [&str; 5] = ["sqlite3:", "sqlite:", "file:", "libsql:", "ecto:"];
/// Parts of the names of variables that hold the path of a database.
const NAMES: [&str; 4] = ["DATABASE", "SQLITE", "DB_", "_DB"];

/// A database that a variable names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) variable: String,
    pub(crate) path: PathBuf,
}

/// The databases that variables name and that do not lie in `volume`. A relative path is one in
/// `app_dir`.
pub(crate) fn named_elsewhere(
    environment: &Environment,
    app_dir: &Path,
    volume: &Path,
) -> Vec<Named> {
    let volume = resolved(volume);
    let mut found = Vec::new();
    for (name, value) in environment.iter() {
        let (Some(variable), Some(value)) = (name.to_str(), value.to_str()) else {
            continue;
        };
        if variable.starts_with("MONOLITE_") {
            continue;
        }
        let Some(path) = database_in(variable, value) else {
            continue;
        };
        let path = resolved(&app_dir.join(path));
        if !path.starts_with(&volume) {
            let variable = variable.to_owned();
            found.push(Named { variable, path });
        }
    }
    found
}

/// The path of the database that a variable of this name and value names.
fn database_in(variable: &str, value: &str) -> Option<PathBuf> {
    let scheme = SCHEMES.iter().find(|scheme| value.starts_with(*scheme));
    let path = match scheme {
        Some(scheme) => {
            let rest = value.get(scheme.len()..)?;
            let path = rest.split(['?', '#']).next().unwrap_or_default();
            match path.strip_prefix("//") {
                // sqlite:////absolute, sqlite:///relative or absolute, by framework.
                Some(path) => match path.strip_prefix('/') {
                    Some(absolute) if absolute.starts_with('/') => absolute,
                    Some(_) if *scheme == "sqlite3:" || *scheme == "file:" => path,
                    // SQLAlchemy and Django take it as relative, others as absolute.
                    Some(relative) if Path::new(path).exists() => {
                        return (!relative.is_empty()).then(|| path.into());
                    }
                    Some(relative) => relative,
                    // sqlite://relative
                    None => path,
                },
                None => path,
            }
        }
        None => {
            let is_named_so = NAMES.iter().any(|part| variable.contains(part));
            // An address of another kind, as postgres://….
            let is_path = !value.contains("://") && has_extension(Path::new(value));
            (is_named_so && is_path).then_some(value)?
        }
    };
    let is_file = !path.is_empty() && path != ":memory:" && !path.starts_with(":memory");
    let is_other = scheme == Some(&"file:") && !has_extension(Path::new(path));
    (is_file && !is_other).then(|| percent_decoded(path).into())
}

fn percent_decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| path.to_owned())
}

/// Without links, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    match (absolute.parent(), absolute.components().next_back()) {
        (Some(parent), Some(Component::Normal(name))) => resolved(parent).join(name),
        (Some(parent), Some(Component::ParentDir)) => {
            let above = resolved(parent);
            above.parent().map_or_else(|| above.clone(), Path::to_owned)
        }
        _ => absolute,
    }
}

fn has_extension(path: &Path) -> bool {
    let is_known = |extension: &OsStr| {
        let mut known = EXTENSIONS.iter();
        known.any(|known| extension.eq_ignore_ascii_case(known))
    };
    path.extension().is_some_and(is_known)
}

/// Databases in the app's directory, outside of `volume`, that were written since `since`: an app
/// that opens its database for each request is not seen with it open.
pub(super) fn written_in(app_dir: &Path, volume: &Path, since: SystemTime) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for dir in DIRECTORIES {
        let dir = resolved(&app_dir.join(dir));
        if dir.starts_with(volume) {
            continue;
        }
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        for entry in entries.take(ENTRIES_MAX) {
            let path = entry.path();
            let is_new = entry
                .metadata()
                .and_then(|of| Ok(of.is_file() && of.len() > 0 && of.modified()? >= since))
                .unwrap_or(false);
            if has_extension(&path) && is_new && walk::is_database(&path) {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_name_a_database_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (app, volume) = (root.join("app"), root.join("data"));
        std::fs::create_dir(&app).unwrap();
        std::fs::create_dir(&volume).unwrap();
        std::os::unix::fs::symlink(&volume, app.join("linked")).unwrap();
        let inside = volume.join("app.sqlite3").display().to_string();
        let elsewhere = |name: &str, value: &str| {
            let environment = [(name, value)].into_iter().collect();
            let found = named_elsewhere(&environment, &app, &volume);
            found.first().map(|named| named.path.clone())
        };
        for value in [
            &*inside,
            &format!("sqlite:///{inside}"),
            &format!("sqlite3://{inside}"),
            &format!("file:{inside}?mode=rwc"),
            "linked/app.sqlite3",
            "../data/sub/app.sqlite3",
            "postgres://db/app.db",
            "sqlite::memory:",
            "true",
        ] {
            assert_eq!(elsewhere("DATABASE_URL", value), None, "{value}");
        }
        for (name, value, path) in [
            ("DATABASE_URL", "sqlite:////srv/x.db", "/srv/x.db".into()),
            ("DATABASE_URL", "sqlite:///x.db", app.join("x.db")),
            ("DATABASE_URL", "sqlite3:///srv/x", "/srv/x".into()),
            ("QUEUE_DATABASE_URL", "file:./q.db", app.join("q.db")),
            ("DATABASE_PATH", "shop.db", app.join("shop.db")),
            ("APP_DB", "/srv/a%20b.sqlite", "/srv/a b.sqlite".into()),
            ("SQLITE_FILE", "/srv/a.sqlite3", "/srv/a.sqlite3".into()),
        ] {
            assert_eq!(elsewhere(name, value), Some(path), "{name}={value}");
        }
        assert_eq!(elsewhere("HOME", "/srv/a.db"), None, "not by its name");
    }

    #[test]
    fn what_a_framework_wrote_next_to_the_app() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let volume = root.join("data");
        std::fs::create_dir_all(root.join("storage")).unwrap();
        std::fs::create_dir(&volume).unwrap();
        let before = SystemTime::now();
        for name in [
            "db.sqlite3",
            "storage/production_queue.sqlite3",
            "data/app.sqlite3",
        ] {
            let conn = rusqlite::Connection::open(root.join(name)).unwrap();
            conn.execute_batch("CREATE TABLE t(x)").unwrap();
        }
        std::fs::write(root.join("notes.db"), "none").unwrap();
        let found = written_in(&root, &volume, before - std::time::Duration::from_secs(1));
        let expected = ["db.sqlite3", "storage/production_queue.sqlite3"];
        assert_eq!(found, expected.map(|name| root.join(name)));
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        assert!(written_in(&root, &volume, later).is_empty());
    }
}
