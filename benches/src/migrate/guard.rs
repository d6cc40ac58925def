//! What the guard adds to a migration of a large database: a snapshot before
//! it and a comparison after it, beside `cp` of the file; and the same where
//! the filesystem shares blocks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use rusqlite::Connection;

use crate::place;
use crate::report::Report;
use crate::rounds::{Pace, Samples};
use crate::tools::need;

/// What a migration does, and in words.
const MIGRATIONS: [(&str, &str); 3] = [
    ("nothing to do", "SELECT 1"),
    ("a column more", "ALTER TABLE post ADD COLUMN c{n} TEXT"),
    (
        "a tenth of it made anew",
        "BEGIN; CREATE TABLE n AS SELECT * FROM part WHERE 0;
         DROP TABLE n; CREATE TABLE n (id INTEGER PRIMARY KEY, body BLOB);
         INSERT INTO n SELECT * FROM part; DROP TABLE part; ALTER TABLE n RENAME TO part; COMMIT",
    ),
];

pub(super) fn run(pace: Pace, bytes: u64, report: &mut Report) -> anyhow::Result<()> {
    need("sqlite3", "sqlite3")?;
    let dir = place::scratch()?;
    let data = dir.path().join("data");
    std::fs::create_dir(&data)?;
    let database = data.join("app.sqlite3");
    make(&database, bytes)?;
    let size = format!("{} MB", database.metadata()?.len() / 1_000_000);

    let copy = dir.path().join("copy");
    let (mut cached, mut synced) = (Samples::default(), Samples::default());
    let mut ours = [const { Vec::new() }; MIGRATIONS.len()];
    for round in 0..pace.long_rounds {
        for (sync, samples) in [(false, &mut cached), (true, &mut synced)] {
            let _ = std::fs::remove_file(&copy);
            rustix::fs::sync();
            let started = Instant::now();
            ended(Command::new("cp").arg(&database).arg(&copy))?;
            if sync {
                ended(Command::new("sync").arg(&copy))?;
            }
            samples.push(started.elapsed().as_secs_f64());
        }
        let _ = std::fs::remove_file(&copy);
        for ((_, sql), samples) in MIGRATIONS.iter().zip(&mut ours) {
            let sql = sql.replace("{n}", &round.to_string());
            samples.push(added(&data, &sql)?.as_secs_f64());
        }
    }
    for ((what, _), samples) in MIGRATIONS.iter().zip(&ours) {
        let mut added = Samples::default();
        samples.iter().for_each(|sample| added.push(*sample));
        let case = format!("guard adds to a migration of {size}: {what}");
        report
            .versus(&case, "s", added.median(), "cp, synced", synced.median())
            .wanted("<= 2");
        report.versus(case, "s", added.median(), "cp, not synced", cached.median());
    }
    match shared(dir.path(), &database, pace.long_rounds) {
        Ok(seconds) => {
            let case = format!("guard adds to a migration of {size}, on XFS: a column more");
            report.alone(case, "s", seconds).wanted("< 1");
        }
        Err(error) => eprintln!("migrate: not measured on XFS: {error:#}"),
    }
    Ok(())
}

fn make(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let conn = Connection::open(path)?;
    conn.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;
         CREATE TABLE item (id INTEGER PRIMARY KEY, body BLOB);
         CREATE TABLE part (id INTEGER PRIMARY KEY, body BLOB);
         CREATE TABLE post (id INTEGER PRIMARY KEY, title TEXT);
         INSERT INTO post VALUES (1, 'one')",
    )?;
    let rows = i64::try_from(bytes / 1000)?;
    for (table, rows) in [("item", rows * 9 / 10), ("part", rows / 10)] {
        conn.execute(
            &format!(
                "INSERT INTO {table} WITH RECURSIVE n (n) AS
                   (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
                 SELECT n, randomblob(980) FROM n"
            ),
            [rows],
        )?;
    }
    conn.execute_batch("COMMIT; PRAGMA journal_mode = WAL")?;
    drop(conn);
    rustix::fs::sync();
    Ok(())
}

fn monolite() -> PathBuf {
    place::target().join("release/monolite")
}

/// What the guard takes beside the migration itself.
fn added(data: &Path, sql: &str) -> anyhow::Result<Duration> {
    let database = data.join("app.sqlite3");
    let alone = data.with_file_name("alone");
    // The same work on a copy, so that both do it for the first time.
    std::fs::copy(&database, &alone)?;
    let command = |database: &Path| {
        let mut words = vec!["sqlite3".into(), database.as_os_str().to_owned()];
        words.push(sql.into());
        words
    };
    let timed = |command: &mut Command| -> anyhow::Result<Duration> {
        rustix::fs::sync();
        let started = Instant::now();
        ended(command)?;
        Ok(started.elapsed())
    };
    let bare = timed(Command::new("env").args(command(&alone)))?;
    std::fs::remove_file(&alone)?;
    let guarded = timed(
        Command::new(monolite())
            .args(["migrate", "--data"])
            .arg(data)
            .arg("--")
            .args(command(&database)),
    )?;
    Ok(guarded.saturating_sub(bare))
}

fn ended(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(())
}

/// On a filesystem that shares blocks, mounted from a file in a namespace of
/// its own; that needs root.
fn shared(dir: &Path, database: &Path, rounds: usize) -> anyhow::Result<f64> {
    need("mkfs.xfs", "xfsprogs")?;
    let (image, mount) = (dir.join("image"), dir.join("mount"));
    std::fs::create_dir_all(&mount)?;
    let file = std::fs::File::create(&image)?;
    file.set_len(database.metadata()?.len() * 2 + (600 << 20))?;
    ended(Command::new("mkfs.xfs").arg("-q").arg(&image))?;
    let script = r#"
        mount -o loop "$IMAGE" "$MOUNT" && mkdir "$MOUNT/data" || exit 1
        cp "$DATABASE" "$MOUNT/data/app.sqlite3" && sync
        n=0
        while [ "$n" -lt "$ROUNDS" ]; do
            n=$((n + 1))
            before=$(date +%s%N)
            "$MONOLITE" migrate --data "$MOUNT/data" -- \
                sqlite3 "$MOUNT/data/app.sqlite3" "ALTER TABLE post ADD COLUMN x$n" >&2 || exit 1
            echo $(($(date +%s%N) - before))
            sync
        done
    "#;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .env("IMAGE", &image)
        .env("MOUNT", &mount)
        .env("DATABASE", database)
        .env("ROUNDS", rounds.to_string())
        .env("MONOLITE", monolite())
        .output()?;
    std::fs::remove_file(&image)?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{said}");
    let mut samples = Samples::default();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        samples.push(line.parse::<f64>()? / 1e9);
    }
    Ok(samples.median())
}
