//! Migration files in the program.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]
#![cfg(feature = "migrations")]
use monolite::migrate::{Embedded, Error as FilesError, Migrations};
use monolite::store::{Options, Store};
use monolite::{Error, Migrate, Monolite, migrate_store};

const MIGRATIONS: Embedded = monolite::migrations!("tests/migrations");

fn names(app: &Store) -> Vec<String> {
    app.read_blocking(|db| {
        let mut all = db.prepare("SELECT name FROM _monolite_migration ORDER BY version")?;
        let all = all.query_map([], |row| row.get(0))?;
        Ok(all.collect::<Result<_, _>>()?)
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_start_at_once_apply_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let app = Monolite::open(dir.path()).await.unwrap();
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let app = app.clone();
        starting.spawn(async move { app.migrate(MIGRATIONS).await.unwrap().len() });
    }
    let done: usize = starting.join_all().await.into_iter().sum();
    assert_eq!(done, 2);
    assert_eq!(names(app.db()), ["0001_add_posts", "0002_add_comments"]);
    // The app's own connections know the new tables at once.
    let insert = app.transaction(|tx| -> monolite::Result<_> {
        Ok(tx.execute("INSERT INTO post (title) VALUES ('a')", [])?)
    });
    assert_eq!(insert.await.unwrap(), 1);
    app.close().await;
}

#[tokio::test]
async fn what_is_wrong_is_an_error_and_nothing_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("a.sqlite3"), Options::default()).unwrap();
    let wrong = Migrations::new([
        ("0001_a.sql", "CREATE TABLE a (x)"),
        ("0002_b.sql", "COMMIT"),
    ])
    .unwrap();
    let error = migrate_store(&store, wrong).await.unwrap_err();
    assert!(
        matches!(error, Error::Migrations(FilesError::Refused { .. })),
        "{error}"
    );
    assert_eq!(migrate_store(&store, MIGRATIONS).await.unwrap().len(), 2);
    let older = Migrations::new([(
        "0001_add_posts.sql",
        include_str!("migrations/0001_add_posts.sql"),
    )])
    .unwrap();
    let error = migrate_store(&store, older.clone()).await.unwrap_err();
    assert!(
        matches!(error, Error::Migrations(FilesError::Newer { .. })),
        "{error}"
    );
    let accepted = Migrate::new(older).accept_newer(true);
    assert!(migrate_store(&store, accepted).await.unwrap().is_empty());
}
