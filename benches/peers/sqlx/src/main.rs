//! One process of the contention bench, through sqlx's pool. Started by
//! `monolite-bench store`; the rules are those of its other contestants.

#[path = "../../../src/contest"]
mod contest {
    pub(crate) mod histogram;
    pub(crate) mod rules;
}
#[path = "../../../src/random.rs"]
mod random;

use std::time::Duration;

use anyhow::Context;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::contest::rules::{
    APPEND, BUSY_TIMEOUT, COUNTERS, Outcome, PAYLOAD, RAISE, READ, Turn, WRITERS,
};
use crate::random::Random;

struct Arguments {
    begin: &'static str,
    seed: u64,
    time: Duration,
    path: String,
}

fn main() -> anyhow::Result<()> {
    let arguments = arguments()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(async {
        let pool = open(&arguments.path).await?;
        println!("ready");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        anyhow::ensure!(line.trim_end() == "go", "the bench has gone");
        let outcome = compete(&arguments, &pool).await?;
        pool.close().await;
        Ok(outcome)
    })?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

/// `--begin SQL --seed N --time-ms N PATH`, as the bench gives them.
fn arguments() -> anyhow::Result<Arguments> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [_, begin, _, seed, _, time_ms, path] = given.as_slice() else {
        anyhow::bail!("to be started by monolite-bench");
    };
    Ok(Arguments {
        begin: if begin == "BEGIN" {
            "BEGIN"
        } else {
            "BEGIN IMMEDIATE"
        },
        seed: seed.parse()?,
        time: Duration::from_millis(time_ms.parse()?),
        path: path.clone(),
    })
}

async fn open(path: &str) -> anyhow::Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("cache_size", "-8192")
        .pragma("mmap_size", "134217728");
    let size = WRITERS as u32;
    let pool = SqlitePoolOptions::new()
        .min_connections(size)
        .max_connections(size)
        .connect_with(options)
        .await?;
    Ok(pool)
}

async fn compete(arguments: &Arguments, pool: &SqlitePool) -> anyhow::Result<Outcome> {
    let mut tasks = Vec::new();
    for index in 0..WRITERS {
        let pool = pool.clone();
        let mut random = Random::new(arguments.seed * 100 + index as u64);
        let (begin, time) = (arguments.begin, arguments.time);
        tasks.push(tokio::spawn(async move {
            let mut outcome = Outcome::default();
            let mut turn = Turn::new(time);
            loop {
                let id = random.below(COUNTERS) as i64;
                let committed = match write(&pool, begin, id).await {
                    Ok(()) => true,
                    Err(error) if is_busy(&error) => false,
                    Err(error) => return Err(error),
                };
                if !turn.goes_on(committed, &mut outcome) {
                    return Ok(outcome);
                }
            }
        }));
    }
    let mut total = Outcome::default();
    for task in tasks {
        total.merge(&task.await.context("a writer panicked")??);
    }
    Ok(total)
}

async fn write(pool: &SqlitePool, begin: &'static str, id: i64) -> sqlx::Result<()> {
    let mut tx = match begin {
        "BEGIN" => pool.begin().await?,
        begin => pool.begin_with(begin).await?,
    };
    let n: i64 = sqlx::query_scalar(READ)
        .bind(id)
        .fetch_one(&mut *tx)
        .await?;
    sqlx::query(RAISE)
        .bind(id)
        .bind(n + 1)
        .execute(&mut *tx)
        .await?;
    sqlx::query(APPEND).bind(PAYLOAD).execute(&mut *tx).await?;
    tx.commit().await
}

/// SQLITE_BUSY and its extended forms.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}
