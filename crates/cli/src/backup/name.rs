//! What copies are called.

use std::path::{Path, PathBuf};

use anyhow::Context;
use jiff::Timestamp;
use monolite_app::Settings;

use super::{Source, now, only, usage};
use crate::{Failure, replication};

/// What a volume is searched for.
const DATABASES: [&str; 4] = ["sqlite3", "sqlite", "db", "db3"];

/// Where each of `sources` goes.
pub(super) fn targets(
    sources: &[Source],
    output: Option<&str>,
    settings: &Settings,
) -> Result<Vec<PathBuf>, Failure> {
    let output = output.unwrap_or("./");
    let into_directory = is_directory(output);
    let targets: Vec<PathBuf> = if into_directory {
        let now_ms = now();
        let target = |source| Path::new(output).join(of(source, now_ms));
        sources.iter().map(target).collect()
    } else {
        only(sources)?;
        vec![output.into()]
    };
    let volume = replication::place(settings).dir;
    for target in &targets {
        let whole = std::path::absolute(target).unwrap_or_else(|_| target.clone());
        let known = |extension: &std::ffi::OsStr| DATABASES.iter().any(|one| *one == extension);
        if whole.starts_with(&volume) && whole.extension().is_some_and(known) {
            return usage(&format!(
                "{} would lie on the volume, lost with it and taken for a database of the app; name another place with -o, or use --local",
                target.display()
            ));
        }
    }
    let dirs = targets.iter().filter_map(|target| target.parent());
    for dir in dirs.filter(|_| into_directory) {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    Ok(targets)
}

fn is_directory(output: &str) -> bool {
    output.ends_with('/') || Path::new(output).is_dir()
}

/// `tenants/a.db` at noon: `tenants/a-20261121T120000Z.db`.
fn of(source: &Source, now_ms: i64) -> PathBuf {
    let name = match &source.name {
        Some(name) => Path::new(name),
        None => Path::new(source.path.file_name().unwrap_or_default()),
    };
    let stem = name.file_stem().unwrap_or_default().to_string_lossy();
    let extension = name.extension().unwrap_or("sqlite3".as_ref());
    let moment = match Timestamp::from_millisecond(now_ms) {
        Ok(moment) => moment.strftime("%Y%m%dT%H%M%SZ").to_string(),
        Err(_) => now_ms.to_string(),
    };
    let extension = extension.to_string_lossy();
    name.with_file_name(format!("{stem}-{moment}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_named_by_database_and_time() {
        let name = |name: &str| {
            let source = Source {
                path: "/data/x".into(),
                name: Some(name.into()),
            };
            of(&source, 1_763_735_405_250).display().to_string()
        };
        assert_eq!(name("app.sqlite3"), "app-20251121T143005Z.sqlite3");
        assert_eq!(name("tenants/a.b.db"), "tenants/a.b-20251121T143005Z.db");
        assert_eq!(name("noext"), "noext-20251121T143005Z.sqlite3");
    }

    #[test]
    fn no_copy_is_taken_for_a_database_of_the_app() {
        let volume = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        settings.data = Some(volume.path().into());
        let source = Source {
            path: volume.path().join("app.sqlite3"),
            name: Some("app.sqlite3".into()),
        };
        let to = |output: &Path| targets(std::slice::from_ref(&source), output.to_str(), &settings);
        assert!(to(volume.path()).is_err());
        assert!(to(&volume.path().join("copy.db")).is_err());
        assert!(to(&volume.path().join("copy.db.zst")).is_ok());
        assert!(to(Path::new("/elsewhere/copy.db")).is_ok());
        let two = [source.clone(), source.clone()];
        let elsewhere = tempfile::tempdir().unwrap();
        let elsewhere = format!("{}/new/", elsewhere.path().display());
        let copies = |output| targets(&two, Some(output), &settings);
        assert!(copies("/elsewhere/copy.db").is_err());
        assert_eq!(copies(&elsewhere).map(|all| all.len()).ok(), Some(2));
        assert!(Path::new(&elsewhere).is_dir());
    }
}
