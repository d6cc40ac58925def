//! An app outside the workspace: the crate with rusqlite at its side.

use monolite::{EntryOptions, Job, Monolite, rusqlite};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Welcome {
    name: String,
}
impl Job for Welcome {
    const KIND: &'static str = "welcome";
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let volume = std::env::args().nth(1).ok_or("usage: outside DIRECTORY")?;
    let app = Monolite::open(&volume).await?;
    let mut names = app.pubsub().subscribe("members").await?;
    let joined = app.transaction(|tx| -> Result<(), monolite::Error> {
        tx.execute_batch(
            "CREATE TABLE member (name TEXT NOT NULL) STRICT; INSERT INTO member VALUES ('ada')",
        )?;
        tx.enqueue(Welcome { name: "ada".into() })?;
        tx.publish("members", "ada")?;
        Ok(())
    });
    joined.await?;
    let (done, mut welcomed) = tokio::sync::mpsc::unbounded_channel();
    let handler = move |job: Welcome, _| {
        let done = done.clone();
        async move {
            let _ = done.send(job.name);
            Ok(())
        }
    };
    let worker = app.jobs().worker().on(handler).start().await?;
    assert_eq!(welcomed.recv().await.as_deref(), Some("ada"));
    names.next().await?;
    let options = EntryOptions::new();
    let count = app.cache().get_or_insert_with("count", &options, async || {
        app.read(|db| {
            Ok(db.query_row("SELECT count(*) FROM member", [], |row| {
                row.get::<_, i64>(0)
            })?)
        })
        .await
    });
    let count: Result<i64, monolite::Error> = count.await;
    assert_eq!(count?, 1);
    drop(worker);
    println!("SQLite {}", rusqlite::version());
    Ok(())
}
