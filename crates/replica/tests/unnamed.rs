//! A `-wal` or `-shm` that is removed, renamed or replaced next to a followed database.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use common::{LONG, Volume, quick};
use monolite_replica::{Follower, RestoreOptions, restore};
use rusqlite::Connection;

/// Runs SQL in a process of its own, with another SQLite, until it is dropped.
struct App {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl App {
    fn open(database: &Path) -> Self {
        let code = "import sqlite3,sys\n\
            c=sqlite3.connect(sys.argv[1],isolation_level=None)\n\
            c.execute('pragma journal_mode=wal')\n\
            for line in sys.stdin:\n  \
              print(c.execute(line).fetchall(),flush=True)\n";
        let mut child = Command::new("python3")
            .args(["-c", code])
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn run(&mut self, sql: &str) -> String {
        writeln!(self.input, "{sql}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    /// Without closing the database.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

async fn restored(volume: &Volume) -> PathBuf {
    let out = volume.path("restored.sqlite3");
    let options = RestoreOptions {
        overwrite: true,
        ..RestoreOptions::default()
    };
    let replica = volume.destination().replica("app.sqlite3");
    restore(&replica, &out, options).await.unwrap();
    out
}

fn rows(path: &Path) -> i64 {
    let conn = Connection::open(path).unwrap();
    conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap()
}

/// Comes when the follower reports, or no longer reports, a failure that contains `text`.
async fn reported(follower: &Follower, text: &str, is_reported: bool) -> Duration {
    let began = Instant::now();
    loop {
        let all = follower.status();
        let has = all
            .iter()
            .any(|s| s.error().is_some_and(|e| e.contains(text)));
        if has == is_reported {
            return began.elapsed();
        }
        assert!(began.elapsed() < LONG, "{all:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn left_overs_tidied_away_between_two_lives_of_an_app() {
    for removed in [&["-wal", "-shm"][..], &["-wal"], &["-shm"]] {
        for how in ["remove", "rename", "replace"] {
            let volume = Volume::new();
            let path = volume.path("data").join("app.sqlite3");
            let mut app = App::open(&path);
            app.run("CREATE TABLE t (x)");
            app.run("INSERT INTO t VALUES (0)");
            let follower = volume.follow_with(quick());
            follower.sync(LONG).await.unwrap();
            app.run("PRAGMA wal_checkpoint(TRUNCATE)");
            drop(app.input);
            app.child.wait().unwrap();
            for suffix in removed {
                let file = volume.path("data").join(format!("app.sqlite3{suffix}"));
                match how {
                    "remove" => std::fs::remove_file(&file).unwrap(),
                    "rename" => std::fs::rename(&file, volume.path("data").join("old")).unwrap(),
                    _ => {
                        std::fs::write(volume.path("data").join("new"), "").unwrap();
                        std::fs::rename(volume.path("data").join("new"), &file).unwrap();
                    }
                }
            }
            for n in 1..=5 {
                App::open(&path).run(&format!("INSERT INTO t VALUES ({n})"));
            }
            follower.sync(LONG).await.unwrap();
            follower.stop(LONG).await.unwrap();
            let out = restored(&volume).await;
            assert_eq!((rows(&path), rows(&out)), (6, 6), "{how} {removed:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_commits_to_a_removed_log_is_reported_and_its_commits_are_stored() {
    let volume = Volume::new();
    let path = volume.path("data").join("app.sqlite3");
    let mut app = App::open(&path);
    app.run("CREATE TABLE t (x)");
    let follower = volume.follow_with(quick());
    follower.sync(LONG).await.unwrap();
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(volume.path("data").join(format!("app.sqlite3{suffix}"))).unwrap();
    }
    app.run("INSERT INTO t VALUES (1)");
    let after = reported(&follower, "restart it", true).await;
    assert!(after < Duration::from_secs(2), "{after:?}");
    let pid = app.child.id().to_string();
    reported(&follower, &pid, true).await;
    for n in 2..=5 {
        app.run(&format!("INSERT INTO t VALUES ({n})"));
    }
    assert!(follower.sync(Duration::from_secs(3)).await.is_err());
    app.kill();
    reported(&follower, "restart it", false).await;
    follower.sync(LONG).await.unwrap();
    follower.stop(LONG).await.unwrap();
    // They are in the file of this name, too.
    assert_eq!(rows(&path), 5);
    let out = restored(&volume).await;
    assert_eq!(rows(&out), rows(&path));
}
