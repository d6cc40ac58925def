//! A cache in front of a query: computed once however many ask at a time,
//! deleted by its tag when what it was computed from changes.
//!
//! `cargo run -p monolite --example cache_aside`

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use monolite::{EntryOptions, Monolite};

/// The app, with a counter that shows how often the query runs.
#[derive(Clone)]
struct Shop {
    app: Monolite,
    queries: Arc<AtomicUsize>,
}

impl Shop {
    async fn query_prices(&self) -> anyhow::Result<Vec<(String, i64)>> {
        self.queries.fetch_add(1, Ordering::Relaxed);
        self.app
            .read(|db| {
                let mut prices = db.prepare("SELECT name, cents FROM price ORDER BY name")?;
                let rows = prices.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    async fn prices(&self) -> anyhow::Result<Vec<(String, i64)>> {
        let options = EntryOptions::new()
            .ttl(Duration::from_secs(60))
            .tag("prices");
        let cache = self.app.cache();
        cache
            .get_or_insert_with("prices", &options, || self.query_prices())
            .await
    }

    async fn set_price(&self, name: &'static str, cents: i64) -> anyhow::Result<()> {
        let write = self.app.transaction(move |tx| -> anyhow::Result<()> {
            tx.execute(
                "INSERT OR REPLACE INTO price VALUES (?1, ?2)",
                (name, cents),
            )?;
            Ok(())
        });
        write.await?;
        // After the commit: whoever asks from now on reads the new price.
        self.app.cache().delete_tag("prices").await?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let app = Monolite::open(dir.path()).await?;
    let schema = "CREATE TABLE price (name TEXT PRIMARY KEY, cents INTEGER NOT NULL) STRICT";
    app.transaction(|tx| -> monolite::Result<()> { Ok(tx.execute_batch(schema)?) })
        .await?;
    let shop = Shop {
        app: app.clone(),
        queries: Arc::default(),
    };
    shop.set_price("tea", 120).await?;
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let shop = shop.clone();
        askers.spawn(async move { shop.prices().await });
    }
    while let Some(prices) = askers.join_next().await {
        anyhow::ensure!(prices?? == [("tea".to_owned(), 120)]);
    }
    println!("50 callers, {} query", shop.queries.load(Ordering::Relaxed));
    anyhow::ensure!(shop.queries.load(Ordering::Relaxed) == 1);
    shop.set_price("tea", 130).await?;
    println!("now {:?}", shop.prices().await?);
    anyhow::ensure!(shop.prices().await? == [("tea".to_owned(), 130)]);
    app.close().await;
    Ok(())
}
