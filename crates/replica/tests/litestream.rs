//! Litestream restores what we wrote, and we what it wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
#[path = "restore/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use monolite_ltx::Txid;
use monolite_replica::{
    Catalog, Destination, Find, FollowOptions, Follower, Integrity, IntegrityCheck, Policy,
    Replica, RestoreOptions, Target, restore,
};
use monolite_testkit::s3::S3Server;
use monolite_testkit::{Process, Signal, wait_until};
use rusqlite::Connection;

use world::{Source, bucket, folder, names};

fn litestream() -> PathBuf {
    match std::env::var_os("MONOLITE_TEST_LITESTREAM") {
        Some(path) => path.into(),
        None => PathBuf::from(std::env::var_os("HOME").unwrap()).join("go/bin/litestream"),
    }
}

/// What `litestream restore` makes of a replica.
fn litestream_restore(lead: impl FnOnce(&mut Command), out: &Path, arguments: &[&str]) -> Vec<u8> {
    let _ = std::fs::remove_file(out);
    let mut command = Command::new(litestream());
    command.arg("restore").arg("-o").arg(out).args(arguments);
    lead(&mut command);
    let ended = command.output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{arguments:?}: {said}");
    std::fs::read(out).unwrap()
}

async fn our_restore(replica: &Replica, out: &Path, target: Target) -> Vec<u8> {
    let options = RestoreOptions {
        target,
        overwrite: true,
        integrity_check: IntegrityCheck::Full,
        ..RestoreOptions::default()
    };
    let restored = restore(replica, out, options).await.unwrap();
    assert_eq!(restored.integrity, Integrity::Ok);
    std::fs::read(out).unwrap()
}

/// A state each ten seconds, merged by the minute and the five minutes, with
/// some snapshots; nothing is deleted.
async fn live(source: &mut Source, replica: &Replica, states: u64) {
    let policy = Policy {
        short: Duration::from_secs(60),
        long: Duration::from_secs(300),
        ..Policy::default()
    };
    let mut random = fastrand::Rng::with_seed(11);
    source.send_whole(replica).await;
    let mut catalog = Catalog::load(replica).await.unwrap();
    while source.txid().0 < states {
        source.time_ms += 10_000;
        source.change(&mut random);
        let file = source.send(replica).await;
        catalog.add(file, source.time_ms);
        if source.txid().0.is_multiple_of(50) {
            let file = source.send_whole(replica).await;
            catalog.add(file, source.time_ms);
        }
        if source.txid().0.is_multiple_of(6) {
            let now = source.time_ms;
            catalog.maintain(replica, &policy, now).await.unwrap();
        }
    }
    let of = |level| {
        catalog
            .files()
            .iter()
            .filter(|file| file.level == level)
            .count()
    };
    assert!(of(1) > 10 && of(2) > 2 && of(9) > 2);
}

/// The arguments for a state, in all ways that lead to it.
fn asked(source: &Source, txid: u64) -> Vec<Vec<String>> {
    let after = source.state(txid).time_ms + 1;
    let time = format!("{}.{:03}Z", &instant(after), after % 1_000);
    let mut asked = vec![vec!["-txid".into(), Txid(txid).to_string()]];
    if txid < source.txid().0 {
        asked.push(vec!["-timestamp".into(), time]);
    } else {
        asked.push(Vec::new());
    }
    asked
}

/// A time as RFC 3339 has it, up to the second.
fn instant(ms: i64) -> String {
    let format = "SELECT strftime('%Y-%m-%dT%H:%M:%S', ?1 / 1000, 'unixepoch')";
    let conn = Connection::open_in_memory().unwrap();
    conn.query_row(format, [ms], |row| row.get(0)).unwrap()
}

fn compare(source: &Source, out: &Path, place: &[&str], lead: impl Fn(&mut Command)) {
    for txid in (1..=source.txid().0).rev().step_by(9) {
        for asked in asked(source, txid) {
            let mut arguments: Vec<&str> = asked.iter().map(String::as_str).collect();
            arguments.extend(place);
            let restored = litestream_restore(&lead, out, &arguments);
            assert!(
                restored == source.state(txid).bytes,
                "{txid} by {arguments:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs litestream"]
async fn it_restores_our_folder() {
    for page_size in [4096, 512, 65536] {
        let dir = tempfile::tempdir().unwrap();
        let mut source = Source::new(dir.path(), page_size);
        let replica = folder(dir.path());
        live(&mut source, &replica, 130).await;
        let url = format!("file://{}/copy/app.sqlite3", dir.path().display());
        compare(&source, &dir.path().join("out.sqlite3"), &[&url], |_| ());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs litestream"]
async fn it_restores_our_bucket() {
    let server = S3Server::start();
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(dir.path(), 4096);
    live(&mut source, &bucket(&server), 130).await;
    let config = dir.path().join("litestream.yml");
    let text = format!(
        "dbs: [{{path: /app.sqlite3, replica: {{type: s3, bucket: {}, path: \
         some/prefix/app.sqlite3, endpoint: {}, region: {}, force-path-style: true}}}}]\n",
        server.bucket(),
        server.url(),
        server.region(),
    );
    std::fs::write(&config, text).unwrap();
    let place = ["-config", config.to_str().unwrap(), "/app.sqlite3"];
    let out = dir.path().join("out.sqlite3");
    compare(&source, &out, &place, |command| server.lead(command));
}

/// A database that the real Litestream replicates, with short intervals.
struct Theirs {
    dir: tempfile::TempDir,
    conn: Connection,
    process: Process,
}

impl Theirs {
    fn start(setup: &str) -> Self {
        let dir = monolite_testkit::disk_dir();
        let conn = Connection::open(dir.path().join("app.sqlite3")).unwrap();
        conn.busy_timeout(Duration::from_secs(20)).unwrap();
        conn.execute_batch(&format!("{setup}; PRAGMA journal_mode = WAL; CREATE TABLE item (id INTEGER PRIMARY KEY, body BLOB NOT NULL)")).unwrap();
        let config = dir.path().join("litestream.yml");
        let at = dir.path().display();
        let text = format!(
            "levels: [{{interval: 1s}}, {{interval: 2s}}]\n\
             snapshot: {{interval: 3s, retention: 1h}}\n\
             l0-retention: 1h\n\
             dbs:\n\
             - path: {at}/app.sqlite3\n\
             \x20 monitor-interval: 20ms\n\
             \x20 checkpoint-interval: 500ms\n\
             \x20 min-checkpoint-page-count: 20\n\
             \x20 replica: {{url: 'file://{at}/copy/app.sqlite3', sync-interval: 20ms}}\n"
        );
        std::fs::write(&config, text).unwrap();
        let arguments = ["replicate", "-config", config.to_str().unwrap()];
        let process = Process::start(litestream(), arguments, |_| ());
        process.line("replicating to");
        Self { dir, conn, process }
    }

    fn count(&self, level: u8) -> usize {
        let level = self
            .dir
            .path()
            .join(format!("copy/app.sqlite3/ltx/{level}"));
        if level.exists() {
            names(&level).len()
        } else {
            0
        }
    }

    /// Ends Litestream, and compares what is restored with the database.
    async fn end(self) {
        let Self { dir, conn, process } = self;
        process.signal(Signal::TERM);
        let (status, said) = process.end();
        assert!(status.success(), "{said}");
        // All into the file, which is then what was replicated.
        conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
            .unwrap();
        conn.close().unwrap();
        let bytes = std::fs::read(dir.path().join("app.sqlite3")).unwrap();
        let replica = folder(dir.path());
        let out = dir.path().join("out.sqlite3");
        let ours = our_restore(&replica, &out, Target::Latest).await;
        assert!(ours == bytes, "the newest state differs");

        // And older ones as Litestream itself has them.
        let url = format!("file://{}/copy/app.sqlite3", dir.path().display());
        let files = replica.list_all().await.unwrap();
        let mut states: Vec<Txid> = files.iter().map(|file| file.max).collect();
        states.sort_unstable();
        states.dedup();
        let theirs = dir.path().join("theirs.sqlite3");
        for txid in states.iter().rev().step_by(states.len().div_ceil(12)) {
            let arguments = ["-txid", &txid.to_string(), &url];
            let theirs = litestream_restore(|_| (), &theirs, &arguments);
            let ours = our_restore(&replica, &out, Target::Txid(*txid)).await;
            assert!(ours == theirs, "{txid} differs");
        }
    }

    fn write(&self, rows: u32, bytes: u32) {
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
                   INSERT INTO item (body) SELECT randomblob(?2) FROM n";
        self.conn.execute(sql, [rows, bytes]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs litestream"]
async fn we_restore_its_growing_database() {
    let theirs = Theirs::start("PRAGMA page_size = 4096");
    let mut size = 1;
    wait_until("all levels are used", || {
        theirs.write(3, size);
        size = size % 3_000 + 61;
        theirs.count(1) > 3 && theirs.count(2) > 1 && theirs.count(9) > 1
    });
    theirs.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs litestream"]
async fn we_restore_its_shrinking_and_growing_database() {
    let theirs = Theirs::start("PRAGMA page_size = 1024");
    let mut random = fastrand::Rng::with_seed(6);
    let mut vacuums = 0;
    wait_until("many a VACUUM is replicated", || {
        match random.u8(0..12) {
            0 => {
                theirs.conn.execute_batch("VACUUM").unwrap();
                vacuums += 1;
            }
            1 => theirs
                .conn
                .execute_batch("DELETE FROM item WHERE id % 2 = 0")
                .unwrap(),
            2 => {
                // No other one passes by the lock it holds.
                let sql = "PRAGMA wal_checkpoint(PASSIVE)";
                theirs.conn.query_row(sql, (), |_| Ok(())).unwrap();
            }
            _ => theirs.write(random.u32(1..60), random.u32(1..2_000)),
        }
        vacuums > 5 && theirs.count(1) > 3 && theirs.count(2) > 1 && theirs.count(9) > 1
    });
    theirs.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs litestream"]
async fn we_restore_a_database_it_follows_over_a_restart() {
    let mut theirs = Theirs::start("PRAGMA page_size = 8192");
    for round in 0..3 {
        theirs.write(200, 3_000);
        wait_until("a file more", || {
            theirs.write(1, 100);
            theirs.count(0) > 3 * (round + 1)
        });
        theirs.process.signal(Signal::KILL);
        // While it is away, the log begins anew.
        theirs.write(100, 2_000);
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        theirs.conn.query_row(sql, (), |_| Ok(())).unwrap();
        theirs.write(10, 2_000);
        let config = theirs.dir.path().join("litestream.yml");
        let arguments = ["replicate", "-config", config.to_str().unwrap()];
        let process = Process::start(litestream(), arguments, |_| ());
        process.line("replicating to");
        std::mem::replace(&mut theirs.process, process).end();
    }
    wait_until("what was written meanwhile", || {
        theirs.write(1, 100);
        theirs.count(9) > 1
    });
    theirs.end().await;
}

/// One database and one prefix, which Monolite and Litestream replicate by turns.
struct Shared {
    dir: tempfile::TempDir,
    conn: Connection,
    rows: i64,
}

impl Shared {
    fn new() -> Self {
        let dir = monolite_testkit::disk_dir();
        for name in ["data", "state"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let conn = Connection::open(dir.path().join("data/app.sqlite3")).unwrap();
        conn.busy_timeout(Duration::from_secs(20)).unwrap();
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE item (id INTEGER PRIMARY KEY, body BLOB NOT NULL)",
        )
        .unwrap();
        let at = dir.path().display();
        let text = format!(
            "dbs:\n- path: {at}/data/app.sqlite3\n  \
             replica: {{url: 'file://{at}/copy/app.sqlite3', sync-interval: 100ms}}\n"
        );
        std::fs::write(dir.path().join("litestream.yml"), text).unwrap();
        Self { dir, conn, rows: 0 }
    }

    /// Commits for so long, many transactions a second, now and then large ones.
    async fn commit_for(&mut self, time: Duration) {
        let end = std::time::Instant::now() + time;
        while std::time::Instant::now() < end {
            let bytes = if self.rows % 50 == 7 { 200_000 } else { 300 };
            let sql = "INSERT INTO item (body) VALUES (randomblob(?1))";
            self.conn.execute(sql, [bytes]).unwrap();
            self.rows += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn follower(&self) -> Follower {
        let volume = self.dir.path().join("data");
        let database = volume.join("app.sqlite3");
        let find: Find = std::sync::Arc::new(move || vec![database.clone()]);
        let url = format!("file://{}/copy", self.dir.path().display());
        let destination = Destination::parse(&url, &|_| None, Default::default()).unwrap();
        let state = self.dir.path().join("state");
        let options = FollowOptions::default();
        Follower::start(&volume, &state, vec![destination], find, options).unwrap()
    }

    async fn monolite_for(&mut self, time: Duration) {
        let follower = self.follower();
        self.commit_for(time).await;
        let stopped = follower.stop(Duration::from_secs(30)).await;
        stopped.unwrap();
        self.check().await;
    }

    async fn litestream_for(&mut self, time: Duration) {
        let config = self.dir.path().join("litestream.yml");
        let arguments = ["replicate", "-config", config.to_str().unwrap()];
        let process = Process::start(litestream(), arguments, |_| ());
        process.line("replicating to");
        self.commit_for(time).await;
        // Its last sync is part of its end.
        process.signal(Signal::TERM);
        let (status, said) = process.end();
        assert!(status.success() && !said.contains("level=ERROR"), "{said}");
        self.check().await;
    }

    /// Both restore every row.
    async fn check(&self) {
        let out = self.dir.path().join("out.sqlite3");
        our_restore(&folder(self.dir.path()), &out, Target::Latest).await;
        assert_eq!(self.count(&out), self.rows, "by Monolite");
        let url = format!("file://{}/copy/app.sqlite3", self.dir.path().display());
        litestream_restore(|_| (), &out, &[&url]);
        assert_eq!(self.count(&out), self.rows, "by Litestream");
    }

    fn count(&self, path: &Path) -> i64 {
        let conn = Connection::open(path).unwrap();
        let check: String = conn
            .query_row("PRAGMA integrity_check", (), |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok");
        conn.query_row("SELECT count(*) FROM item", (), |row| row.get(0))
            .unwrap()
    }
}

/// A minute, so that Litestream merges (every 30 s) what Monolite wrote.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs litestream"]
async fn it_goes_on_after_us_and_we_after_it() {
    let mut shared = Shared::new();
    let seconds = Duration::from_secs;
    shared.commit_for(seconds(1)).await;
    // From Litestream, with commits that nobody saw in between.
    shared.litestream_for(seconds(5)).await;
    shared.commit_for(seconds(1)).await;
    shared.monolite_for(seconds(5)).await;
    // And back.
    shared.commit_for(seconds(1)).await;
    shared.litestream_for(seconds(65)).await;
    shared.commit_for(seconds(1)).await;
    shared.monolite_for(seconds(5)).await;
    shared.litestream_for(seconds(5)).await;
    shared.monolite_for(seconds(2)).await;
}

/// The first state, and nothing after it: what `replicate --once` leaves.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs litestream"]
async fn it_goes_on_after_our_first_snapshot() {
    let mut shared = Shared::new();
    shared.commit_for(Duration::from_secs(1)).await;
    shared.monolite_for(Duration::ZERO).await;
    shared.litestream_for(Duration::from_secs(5)).await;
    shared.monolite_for(Duration::from_secs(2)).await;
}
