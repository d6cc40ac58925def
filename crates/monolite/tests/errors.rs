//! The errors of an app through its transactions, as apps of different habits
//! write them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use monolite::{Error, Monolite, rusqlite, store};

async fn open() -> (tempfile::TempDir, Monolite) {
    let dir = tempfile::tempdir().unwrap();
    let app = Monolite::open(dir.path()).await.unwrap();
    let table = "CREATE TABLE t (x INTEGER PRIMARY KEY)";
    app.transaction(|tx| -> monolite::Result<_> { Ok(tx.execute_batch(table)?) })
        .await
        .unwrap();
    (dir, app)
}

async fn rows(app: &Monolite) -> i64 {
    app.read(|db| -> monolite::Result<_> {
        Ok(db.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?)
    })
    .await
    .unwrap()
}

#[derive(Debug, thiserror::Error)]
enum ShopError {
    #[error("{0} is sold out")]
    SoldOut(&'static str),
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error(transparent)]
    Monolite(#[from] Error),
}

#[tokio::test]
async fn an_enum_comes_back_as_it_was_and_nothing_was_written() {
    let (_dir, app) = open().await;
    async fn buy(app: &Monolite) -> Result<(), ShopError> {
        app.transaction(|tx| {
            tx.execute("INSERT INTO t VALUES (1)", [])?;
            Err(ShopError::SoldOut("tea"))
        })
        .await
    }
    let error = buy(&app).await.unwrap_err();
    assert!(matches!(error, ShopError::SoldOut("tea")), "{error}");
    assert_eq!(rows(&app).await, 0);

    let sql = app
        .transaction(|tx| -> Result<_, ShopError> { Ok(tx.execute("INSERT INTO none", [])?) })
        .await;
    assert!(matches!(sql.unwrap_err(), ShopError::Sql(_)));

    app.clone().close().await;
    let closed = app
        .transaction(|_| -> Result<(), ShopError> { Ok(()) })
        .await;
    let closed = closed.unwrap_err();
    assert!(
        matches!(
            closed,
            ShopError::Monolite(Error::Store(store::Error::Closed))
        ),
        "{closed}"
    );
}

#[tokio::test]
async fn anyhow_and_boxed_errors_are_taken_by_question_marks() {
    let (_dir, app) = open().await;
    async fn with_anyhow(app: &Monolite) -> anyhow::Result<usize> {
        app.transaction(|tx| {
            let number: i64 = "no number".parse()?;
            Ok(tx.execute("INSERT INTO t VALUES (?1)", [number])?)
        })
        .await
    }
    let error = with_anyhow(&app).await.unwrap_err();
    assert!(error.is::<std::num::ParseIntError>(), "{error}");

    type BoxError = Box<dyn std::error::Error + Send + Sync>;
    async fn with_box(app: &Monolite) -> Result<i64, BoxError> {
        app.read(|db| Ok(db.query_row("SELECT x FROM t", [], |row| row.get(0))?))
            .await
    }
    let error = with_box(&app).await.unwrap_err();
    let error = error.downcast::<rusqlite::Error>().unwrap();
    assert_eq!(*error, rusqlite::Error::QueryReturnedNoRows);
    app.close().await;
}

#[tokio::test]
async fn the_store_names_what_an_error_of_sqlite_means() {
    let (_dir, app) = open().await;
    let committed = app.transaction(|tx| -> monolite::Result<_> { Ok(tx.execute("COMMIT", [])?) });
    let error = committed.await.unwrap_err();
    assert!(
        matches!(error, Error::Store(store::Error::TransactionControl)),
        "{error}"
    );
    app.close().await;
}
