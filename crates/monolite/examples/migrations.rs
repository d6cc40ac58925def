//! Migration files in the program, applied when it starts: each whole and with
//! its record, or not at all; by one process, however many start at once.
//!
//! `cargo run -p monolite --example migrations`

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use monolite::Monolite;
use monolite::migrate::Embedded;

/// The files of `examples/migrations`.
const MIGRATIONS: Embedded = monolite::migrations!("examples/migrations");

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let app = Monolite::open(dir.path()).await?;
    for done in app.migrate(MIGRATIONS).await? {
        println!("applied {}", done.applied.name);
    }
    anyhow::ensure!(app.migrate(MIGRATIONS).await?.is_empty(), "twice");
    let posts = app.transaction(|tx| -> anyhow::Result<i64> {
        tx.execute("INSERT INTO post (title, body) VALUES ('Hello', '')", [])?;
        Ok(tx.query_row("SELECT count(*) FROM post", [], |row| row.get(0))?)
    });
    println!("{} post", posts.await?);
    app.close().await;
    Ok(())
}
