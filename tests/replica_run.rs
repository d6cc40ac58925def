//! `monolite run` with a replica: restored before the app starts, replicated
//! while it runs, complete after it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use monolite_testkit::s3::{Fault, Operation, Rule, S3Server};
use monolite_testkit::{Browser, Process, Signal, disk_dir, free_port, wait_until};
use rusqlite::Connection;
use tempfile::TempDir;

/// An app on a volume, the bundled one, and what it is told of replicas.
pub(crate) struct Machine {
    dir: TempDir,
    pub(crate) port: u16,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let (dir, port) = (disk_dir(), free_port());
        std::fs::create_dir(dir.path().join("data")).expect("a volume");
        Self { dir, port }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("data/app.sqlite3")
    }

    pub(crate) fn run(
        &self,
        options: &[&str],
        with: impl FnOnce(&mut std::process::Command),
    ) -> Process {
        let binary = env!("CARGO_BIN_EXE_monolite");
        let options = [&["--health-path", "/up"], options].concat();
        let app = [binary, "demo-app"];
        Process::serve(
            binary,
            &self.path("data"),
            self.port,
            &options,
            &app,
            |command| {
                command.current_dir(self.dir.path());
                with(command);
            },
        )
    }

    /// With replicas in these folders.
    pub(crate) fn run_to(&self, folders: &[&Path], options: &[&str]) -> Process {
        let folders: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
        self.run(options, |command| {
            command.env("MONOLITE_REPLICA", folders.join(","));
        })
    }

    /// With a replica in a bucket. The variables are all that is set.
    pub(crate) fn run_in(&self, server: &S3Server, options: &[&str]) -> Process {
        self.run(options, |command| {
            server.lead(command);
            command.env("MONOLITE_REPLICA", format!("s3://{}/shop", server.bucket()));
        })
    }

    /// Says something; it is committed when this returns.
    pub(crate) fn say(&self, text: &str) {
        let form = [("name", "Ada"), ("body", text)];
        let answer = Browser::new(self.port).post("/posts/2/comments", &form);
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 303, "{}", answer.body);
    }

    /// The health page.
    pub(crate) fn health(&self) -> String {
        let answer = Browser::new(self.port).get("/_monolite/health");
        answer.expect("an answer").body
    }

    pub(crate) fn said(&self) -> Vec<String> {
        let conn = Connection::open(self.database()).expect("the database");
        let sql = "SELECT body FROM comment WHERE name = 'Ada' ORDER BY id";
        let mut said = conn.prepare(sql).expect("the blog's tables");
        let rows = said.query_map([], |row| row.get(0)).expect("comments");
        rows.collect::<Result<_, _>>().expect("texts")
    }
}

pub(crate) fn end(run: Process) -> String {
    end_with(run, 0)
}

fn end_with(run: Process, code: i32) -> String {
    run.signal(Signal::TERM);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(code), "{output}");
    output
}

fn snapshots(server: &S3Server) -> usize {
    server.keys("shop/app.sqlite3/0009/").len()
}

#[test]
fn a_lost_volume_comes_back_before_anything_sees_it() {
    let server = S3Server::start();
    let first = Machine::new();
    let run = first.run_in(&server, &[]);
    run.line("app healthy");
    first.say("before");
    wait_until("it is stored", || snapshots(&server) > 0);
    first.say("the last word");
    let output = end(run);
    assert!(output.contains("all commits are stored"), "{output}");
    // Given back: the next machine need not wait for its end.
    let lease = server.object("shop/.monolite/lease").expect("a lease");
    assert!(String::from_utf8_lossy(&lease).contains("\"released\": true"));
    drop(first);

    let second = Machine::new();
    let migrate = [
        "--migrate",
        "test -s \"$DATABASE_PATH\" && echo migrating what is there",
    ];
    let run = second.run_in(&server, &migrate);
    run.line("restored");
    run.line("migrating what is there");
    run.line("app healthy");
    assert_eq!(second.said(), ["before", "the last word"]);
    // It goes on where the first one was, with nothing sent or read again.
    second.say("on the second machine");
    assert!(end(run).contains("all commits are stored"));
    assert_eq!(snapshots(&server), 1);

    let third = Machine::new();
    let run = third.run_in(&server, &[]);
    run.line("app healthy");
    assert_eq!(
        third.said(),
        ["before", "the last word", "on the second machine"]
    );
    let output = end(run);
    assert!(!output.contains(server.secret_key()), "{output}");
}

#[test]
fn after_a_kill_nothing_is_lost_that_was_stored() {
    let server = S3Server::start();
    let first = Machine::new();
    let run = first.run_in(&server, &["--sync-interval", "50ms"]);
    run.line("app healthy");
    let done = Arc::new(AtomicBool::new(false));
    let writer = {
        let (done, port) = (Arc::clone(&done), first.port);
        thread::spawn(move || {
            let browser = Browser::new(port);
            let mut said = 0;
            while !done.load(Ordering::Relaxed) {
                let form = [("name", "Ada"), ("body", &*said.to_string())];
                match browser.post("/posts/2/comments", &form) {
                    Ok(answer) if answer.status == 303 => said += 1,
                    // It was killed.
                    _ => break,
                }
            }
        })
    };
    let increments = || server.keys("shop/app.sqlite3/0000/").len();
    wait_until("some is stored", || increments() > 3);
    let committed = first.said().len();
    let stored = increments();
    // One may have been under way; the one after it began later.
    wait_until("that is stored", || increments() >= stored + 2);
    run.signal(Signal::KILL);
    run.end();
    done.store(true, Ordering::Relaxed);
    writer.join().expect("the writer ends");
    drop(first);

    let second = Machine::new();
    let run = second.run_in(&server, &[]);
    // The first one's lease has not ended, and nobody can know that it died.
    run.line("waiting for another machine's lease");
    run.line("app healthy");
    let said = second.said();
    assert!(said.len() >= committed, "{} of {committed}", said.len());
    let expected: Vec<_> = (0..said.len()).map(|n| n.to_string()).collect();
    assert_eq!(said, expected, "no gap, nothing twice");
}

#[test]
fn the_last_commit_is_stored_at_the_end_also_where_nothing_is_stored_before() {
    let machine = Machine::new();
    let folder = machine.path("replica");
    let run = machine.run_to(&[&folder], &["--sync-interval", "1h"]);
    run.line("app healthy");
    wait_until("it is stored", || folder.join("app.sqlite3/ltx/9").exists());
    machine.say("just in time");
    end(run);
    std::fs::remove_dir_all(machine.path("data")).expect("the volume is lost");
    let run = machine.run_to(&[&folder], &[]);
    run.line("app healthy");
    assert_eq!(machine.said(), ["just in time"]);
    // A restart of the app is none of replication's business.
    run.line("replicating");
    run.signal(Signal::USR2);
    run.nth_line("app healthy", 2);
    machine.say("after a restart");
    let output = end(run);
    assert_eq!(output.matches("INFO replicating").count(), 1, "{output}");
}

#[test]
fn a_replica_that_is_away_keeps_no_app_from_starting() {
    let server = S3Server::start();
    let machine = Machine::new();
    let run = machine.run(&[], |_| {});
    run.line("app healthy");
    machine.say("not replicated yet");
    assert!(
        machine.health().contains("\"replica\":\"none\""),
        "{}",
        machine.health()
    );
    let output = end(run);
    assert!(!output.contains("replica"), "{output}");
    assert!(!machine.path("data/.monolite/replica").exists());

    server.down();
    let run = machine.run_in(&server, &[]);
    run.line("cannot ask a replica what it holds; nothing is missing");
    run.line("app healthy");
    machine.say("while it is away");
    // People and machines can see that the replica holds nothing.
    run.line("NOTHING is stored in the replica yet, trying again");
    let health = machine.health();
    assert!(health.contains("\"status\":\"degraded\""), "{health}");
    assert!(
        health.contains("replica: 1 database is not stored: transient error"),
        "{health}"
    );
    // Everybody may read the page.
    assert!(
        !health.contains("app.sqlite3") && !health.contains("s3://"),
        "{health}"
    );
    server.up();
    wait_until("it is stored", || {
        machine.health().contains("\"status\":\"ok\"")
    });
    assert!(end(run).contains("all commits are stored"));
    drop(machine);

    let second = Machine::new();
    let run = second.run_in(&server, &[]);
    run.line("app healthy");
    assert_eq!(second.said(), ["not replicated yet", "while it is away"]);
    end(run);
}

#[test]
fn an_app_is_not_started_on_nothing_where_a_replica_may_have_it() {
    let server = S3Server::start();
    server.down();
    let machine = Machine::new();
    let run = machine.run_in(&server, &["--restore-timeout", "1500ms"]);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(1), "{output}");
    let last = output.lines().last().expect("a line");
    assert!(
        last.starts_with("monolite: app.sqlite3 is not on the volume, and what its replica holds"),
        "{output}"
    );
    assert!(last.contains("--replica none"), "{output}");
    assert!(!machine.database().exists() && !output.contains("app started"));
    assert!(!output.contains(server.secret_key()), "{output}");

    // What cannot come right by itself is not waited for.
    server.up();
    let run = machine.run(&[], |command| {
        server.lead(command);
        command.env("MONOLITE_REPLICA", "s3://no-such-bucket");
    });
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("the bucket does not exist"), "{output}");
    assert!(!machine.database().exists());
}

#[test]
fn of_several_replicas_the_newest_whole_one_is_restored_and_all_are_gone_on_with() {
    let server = S3Server::start();
    let machine = Machine::new();
    let folder = machine.path("replica");
    let run_to = |both: bool, options: &[&str]| {
        machine.run(options, |command| {
            server.lead(command);
            let mut replicas = folder.display().to_string();
            if both {
                replicas.push_str(&format!(",s3://{}/shop", server.bucket()));
            }
            command.env("MONOLITE_REPLICA", replicas);
        })
    };
    let lose = || std::fs::remove_dir_all(machine.path("data")).expect("the volume is lost");
    let run = run_to(true, &[]);
    run.line("app healthy");
    machine.say("in both");
    end(run);
    let run = run_to(false, &[]);
    run.line("app healthy");
    machine.say("in one");
    end(run);
    lose();

    // The older one is slow: the app writes before it can be looked at.
    let slow = Fault::Delay(Duration::from_millis(200));
    server.faults().add(Rule::new(slow));
    let run = run_to(true, &[]);
    run.line("app healthy");
    assert_eq!(machine.said(), ["in both", "in one"]);
    machine.say("in both again");
    run.nth_line("INFO replicating", 2);
    assert!(end(run).contains("all commits are stored"));
    server.faults().clear();

    // The newest state of all is in a replica that is damaged.
    let run = run_to(false, &[]);
    run.line("app healthy");
    machine.say("nowhere");
    end(run);
    for level in ["0", "9"] {
        let files = std::fs::read_dir(folder.join("app.sqlite3/ltx").join(level));
        for file in files.expect("the replica's files").flatten() {
            let mut bytes = std::fs::read(file.path()).expect("a file");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(file.path(), bytes).expect("damaged");
        }
    }
    lose();
    // That one cannot be gone on with: the last sync does not end.
    let run = run_to(true, &["--sync-timeout", "500ms"]);
    run.line("app healthy");
    assert_eq!(machine.said(), ["in both", "in one", "in both again"]);
    let output = end_with(run, 1);
    assert!(output.contains("not restored from there"), "{output}");
    assert!(
        output.contains("stopped before all commits were stored"),
        "{output}"
    );
}

#[test]
fn a_database_that_goes_while_its_replica_is_away_comes_back_whole() {
    let server = S3Server::start();
    let machine = Machine::new();
    let options = ["--sync-interval", "50ms", "--sync-timeout", "1s"];
    let run = machine.run_in(&server, &options);
    run.line("app healthy");
    machine.say("stored");
    wait_until("it is stored", || snapshots(&server) > 0);
    // Known to be whole there, too.
    run.line("replicating database");
    server.down();
    machine.say("not stored");
    for suffix in ["", "-wal", "-shm"] {
        let file = machine.path(&format!("data/app.sqlite3{suffix}"));
        std::fs::remove_file(file).expect("deleted");
    }
    run.line("cannot restore it, trying again; requests wait");
    assert!(!machine.database().exists());
    server.up();
    run.nth_line("app healthy", 2);
    machine.say("afterwards");
    assert_eq!(machine.said(), ["stored", "not stored", "afterwards"]);
    end(run);
}

#[test]
fn a_stop_is_a_stop_also_while_a_database_cannot_be_restored() {
    let server = S3Server::start();
    let machine = Machine::new();
    let run = machine.run_in(&server, &["--sync-timeout", "1s"]);
    run.line("app healthy");
    wait_until("it is stored", || snapshots(&server) > 0);
    server.down();
    std::fs::remove_file(machine.database()).expect("deleted");
    run.line("cannot restore it, trying again; requests wait");
    run.signal(Signal::TERM);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(1), "not all is stored: {output}");
    assert!(
        output.contains("stopped before the app could be started"),
        "{output}"
    );
    assert!(!machine.database().exists());
    // The next start knows what is missing, without being told.
    let run = machine.run_in(&server, &["--restore-timeout", "1s"]);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(
        output.contains("monolite: app.sqlite3 is not on the volume"),
        "{output}"
    );
    server.up();
    let run = machine.run_in(&server, &[]);
    run.line("INFO restored");
    run.line("app healthy");
    end(run);
}

#[test]
fn what_an_app_deletes_on_purpose_stays_deleted() {
    let machine = Machine::new();
    let folder = machine.path("replica");
    let run = machine.run_to(&[&folder], &["--sync-interval", "50ms"]);
    run.line("app healthy");
    let tenant = |name: &str| machine.path("data/tenants").join(name);
    let make = |name: &str| {
        std::fs::create_dir_all(machine.path("data/tenants")).expect("a folder");
        let conn = Connection::open(tenant(name)).expect("a tenant's database");
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE t (n); INSERT INTO t VALUES (7)",
        )
        .expect("a table");
        conn
    };
    let (one, two) = (make("one.db"), make("two.db"));
    for name in ["one.db", "two.db"] {
        let whole = folder.join("tenants").join(name).join("ltx/9");
        wait_until("it is stored", || whole.exists());
        run.line(&format!("INFO replicating database=\"tenants/{name}\""));
    }
    // Closed before it is deleted: its app wants it so.
    drop(one);
    std::fs::remove_file(tenant("one.db")).expect("deleted");
    run.line("deleted by the app; its replica stays");
    // Still open: nobody wants that.
    std::fs::remove_file(tenant("two.db")).expect("deleted");
    run.nth_line("app healthy", 2);
    assert!(tenant("two.db").exists() && !tenant("one.db").exists());
    drop(two);
    let output = end(run);
    assert_eq!(output.matches("INFO restored").count(), 1, "{output}");

    let run = machine.run_to(&[&folder], &[]);
    run.line("app healthy");
    assert!(!tenant("one.db").exists(), "not on this volume");
    end(run);
    std::fs::remove_dir_all(machine.path("data")).expect("the volume is lost");
    let run = machine.run_to(&[&folder], &[]);
    run.line("app healthy");
    let conn = Connection::open(tenant("one.db")).expect("on another it comes back");
    let n: i64 = conn
        .query_row("SELECT n FROM t", [], |row| row.get(0))
        .expect("a row");
    assert_eq!(n, 7);
    drop(conn);
    end(run);
}

#[test]
fn nothing_is_asked_while_nothing_changes() {
    let server = S3Server::start();
    let machine = Machine::new();
    let run = machine.run_in(&server, &[]);
    run.line("replicating");
    machine.say("one");
    let stored = || server.keys("shop/app.sqlite3/0000/").len();
    wait_until("it is stored", || stored() > 0);
    end(run);
    server.reset_counts();
    // The next start finds all as it was: it looks, and sends nothing.
    let run = machine.run_in(&server, &[]);
    run.line("replicating");
    assert_eq!(
        server.counts().of(Operation::GetObject),
        2,
        "{:?}",
        server.log()
    );
    end(run);
}
