//! Opening a volume, and what each feature leaves in its directory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::collections::BTreeSet;

use monolite::{Error, Monolite, Options};

#[tokio::test]
async fn what_is_not_a_volume_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("not/mounted");
    let error = Monolite::open(&missing).await.unwrap_err();
    assert!(matches!(error, Error::MissingDirectory { .. }), "{error}");
    assert!(!missing.exists());
    for name in [
        "",
        "a/b",
        "..",
        "/etc/x",
        "a/",
        "CACHE.sqlite3",
        "pubsub.sqlite3-wal",
    ] {
        let options = Options::new().database(name);
        let error = Monolite::open_with(dir.path(), options).await.unwrap_err();
        assert!(
            matches!(error, Error::DatabaseName { .. }),
            "{name:?}: {error}"
        );
    }
}

#[tokio::test]
async fn only_the_parts_that_are_compiled_leave_files_and_tables() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new().database("shop.sqlite3");
    let app = Monolite::open_with(dir.path(), options).await.unwrap();
    let tables: Vec<String> = app
        .read(|db| -> monolite::Result<_> {
            let mut tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
            Ok(tables
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?)
        })
        .await
        .unwrap();
    let has = |prefix: &str| tables.iter().any(|name| name.starts_with(prefix));
    assert_eq!(has("_monolite_job"), cfg!(feature = "jobs"));
    assert_eq!(has("_monolite_outbox"), cfg!(feature = "pubsub"));
    app.close().await;
    // The part of each name up to `.sqlite3`, whatever files stand beside it.
    let files = std::fs::read_dir(dir.path()).unwrap();
    let left: BTreeSet<String> = files
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| Some(name.split_once(".sqlite3")?.0.to_owned()))
        .collect();
    let mut wanted = BTreeSet::from(["shop".to_owned()]);
    if cfg!(feature = "cache") {
        wanted.insert("cache".into());
    }
    if cfg!(feature = "pubsub") {
        wanted.insert("pubsub".into());
    }
    assert_eq!(left, wanted);
}
