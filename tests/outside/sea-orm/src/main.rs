//! An app outside the workspace: the crate and SeaORM in one program, with one
//! SQLite, on one database.

use monolite::Monolite;
use sea_orm::{ConnectionTrait, Database};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let volume = std::env::args().nth(1).ok_or("usage: outside DIRECTORY")?;
    let app = Monolite::open(&volume).await?;
    let created = app.transaction(|tx| -> Result<(), monolite::Error> {
        tx.execute_batch("CREATE TABLE member (name TEXT NOT NULL) STRICT")?;
        Ok(())
    });
    created.await?;
    let database = Database::connect(format!("sqlite://{volume}/app.sqlite3")).await?;
    database
        .execute_unprepared("INSERT INTO member VALUES ('ada')")
        .await?;
    let count = app.read(|db| {
        Ok(db.query_row("SELECT count(*) FROM member", [], |row| {
            row.get::<_, i64>(0)
        })?)
    });
    let count: Result<i64, monolite::Error> = count.await;
    assert_eq!(count?, 1);
    println!("SQLite {}", monolite::rusqlite::version());
    Ok(())
}
