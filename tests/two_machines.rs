//! Two machines with one replica: deploys that overlap, one that dies, one that is
//! paused, and copies of a volume.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use monolite_testkit::s3::S3Server;
use monolite_testkit::{Browser, Outcome, Process, Signal, wait_until};
use rusqlite::Connection;

use crate::replica_run::{Machine, end};

/// Says things until it is stopped; answers with those that were confirmed.
struct Writer {
    done: Arc<AtomicBool>,
    thread: JoinHandle<Vec<String>>,
}

impl Writer {
    fn start(port: u16, name: &'static str) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let stop = done.clone();
        let thread = thread::spawn(move || {
            let mut confirmed = Vec::new();
            let mut next = 0;
            while !stop.load(Ordering::Relaxed) {
                let text = format!("{name}-{next}");
                next += 1;
                let form = [("name", "Ada"), ("body", &*text)];
                match Browser::new(port).post("/posts/2/comments", &form) {
                    Ok(answer) if answer.status == 303 => confirmed.push(text),
                    _ => thread::sleep(Duration::from_millis(20)),
                }
            }
            confirmed
        });
        Self { done, thread }
    }

    fn stop(self) -> Vec<String> {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer ends")
    }
}

fn all_of(said: &[String], confirmed: &[String]) {
    let said: BTreeSet<_> = said.iter().collect();
    let lost: Vec<_> = confirmed
        .iter()
        .filter(|text| !said.contains(text))
        .collect();
    let (count, of) = (lost.len(), confirmed.len());
    assert!(lost.is_empty(), "{count} of {of} lost: {lost:?}");
}

fn wait_for_stored(server: &S3Server) {
    wait_until("a snapshot is stored", || {
        !server.keys("shop/app.sqlite3/0009/").is_empty()
    });
}

/// As blue/green and start-first deploys do: the second is started, then the first is
/// stopped. `run` starts one of them.
fn overlap(first: &Machine, second: &Machine, run: &dyn Fn(&Machine) -> Process) {
    let a = run(first);
    a.line("app healthy");
    first.say("in the beginning");
    a.line("INFO replicating");
    let written = Writer::start(first.port, "a");
    let b = run(second);
    b.line("waiting for another machine's lease");
    let health = Browser::new(second.port).get("/_monolite/health");
    assert_eq!(health.expect("an answer").status, 503);
    // Its requests wait, and are answered once the first has stopped.
    let also_written = Writer::start(second.port, "b");
    thread::sleep(Duration::from_secs(3));
    assert!(!b.output().contains("app started"), "{}", b.output());
    let output = end(a);
    assert!(output.contains("all commits are stored"), "{output}");
    let by_first = written.stop();
    b.line("app healthy");
    let waiting = b.output();
    assert_eq!(
        waiting.matches("waiting for another").count(),
        1,
        "{waiting}"
    );
    assert!(!waiting.contains("ERROR"), "{waiting}");
    wait_until("the second writes", || {
        second.said().iter().any(|text| text.starts_with("b-"))
    });
    let by_second = also_written.stop();
    assert!(by_first.len() > 10 && !by_second.is_empty());
    end(b);
    let third = Machine::new();
    let c = run(&third);
    c.line("app healthy");
    let said = third.said();
    all_of(&said, &by_first);
    all_of(&said, &by_second);
    all_of(&said, &["in the beginning".into()]);
    end(c);
}

#[test]
fn a_deploy_that_overlaps_loses_nothing_on_either_side() {
    let server = S3Server::start();
    let run = |machine: &Machine| machine.run_in(&server, &[]);
    overlap(&Machine::new(), &Machine::new(), &run);
}

#[test]
fn a_deploy_that_overlaps_loses_nothing_with_a_folder() {
    let (first, second) = (Machine::new(), Machine::new());
    let folder = first.path("replica");
    overlap(&first, &second, &|machine| machine.run_to(&[&folder], &[]));
}

#[test]
fn a_second_machine_with_an_older_state_is_brought_up_to_date_first() {
    let server = S3Server::start();
    let (first, second) = (Machine::new(), Machine::new());
    let run = second.run_in(&server, &[]);
    run.line("app healthy");
    second.say("old");
    end(run);
    let run = |machine: &Machine| machine.run_in(&server, &[]);
    overlap(&first, &second, &run);
    assert!(second.said().contains(&"old".to_owned()));
    assert!(!second.path("data/.monolite/kept").exists());
}

#[test]
fn a_second_machine_that_cannot_have_the_lease_in_time_does_not_start() {
    let server = S3Server::start();
    let (first, second) = (Machine::new(), Machine::new());
    let a = first.run_in(&server, &[]);
    a.line("app healthy");
    let b = second.run_in(&server, &["--restore-timeout", "2s"]);
    let (status, output) = b.end();
    assert_eq!(status.code(), Some(1), "{output}");
    let last = output.lines().last().expect("a line");
    for words in [
        "is written by node ",
        "was not free within 2 s",
        "--restore-timeout",
    ] {
        assert!(last.contains(words), "{output}");
    }
    assert!(
        !second.database().exists() && !output.contains("app started"),
        "{output}"
    );
    end(a);
}

#[test]
fn two_volumes_take_turns_and_each_continues_the_other() {
    let server = S3Server::start();
    let (first, second) = (Machine::new(), Machine::new());
    let mut expected = Vec::new();
    for turn in 0..5 {
        let machine = if turn % 2 == 0 { &first } else { &second };
        let run = machine.run_in(&server, &[]);
        run.line("app healthy");
        assert_eq!(machine.said(), expected, "turn {turn}");
        let text = format!("turn {turn}");
        machine.say(&text);
        expected.push(text);
        if turn == 0 {
            wait_for_stored(&server);
        }
        let output = end(run);
        assert!(output.contains("all commits are stored"), "{output}");
        assert!(!output.contains("ERROR"), "{output}");
        assert!(!machine.path("data/.monolite/kept").exists());
    }
}

#[test]
fn an_idle_first_machine_loses_nothing_to_a_second_one() {
    let server = S3Server::start();
    let (first, second) = (Machine::new(), Machine::new());
    let a = first.run_in(&server, &[]);
    a.line("app healthy");
    first.say("before");
    wait_for_stored(&server);
    // Its lease ends: nobody asks for anything.
    thread::sleep(Duration::from_secs(50));
    server.reset_counts();
    thread::sleep(Duration::from_secs(10));
    assert_eq!(server.counts().requests, 0, "an idle app causes no request");
    let b = second.run_in(&server, &[]);
    b.line("app healthy");
    // The first one answers nothing any more.
    let form = [("name", "Ada"), ("body", "at the first")];
    let port = first.port;
    let asked = thread::spawn(move || Browser::new(port).post("/posts/2/comments", &form));
    a.line("another machine has taken the lease over");
    second.say("at the second");
    end(b);
    a.nth_line("app healthy", 2);
    let answer = asked.join().expect("no panic").expect("an answer");
    assert_eq!(answer.status, 303, "it waited");
    assert_eq!(first.said(), ["before", "at the second", "at the first"]);
    end(a);
}

#[test]
fn after_a_kill_the_next_one_goes_on_as_soon_as_the_lease_has_ended() {
    let server = S3Server::start();
    let (first, second) = (Machine::new(), Machine::new());
    let a = first.run_in(&server, &[]);
    a.line("app healthy");
    first.say("stored");
    wait_for_stored(&server);
    thread::sleep(Duration::from_secs(3));
    a.signal(Signal::KILL);
    a.end();
    let killed = Instant::now();
    let b = second.run_in(&server, &[]);
    b.line("waiting for another machine's lease");
    b.line("app healthy");
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(36), "{took:?}");
    assert_eq!(second.said(), ["stored"]);
    second.say("at the second");
    end(b);
    // The one that died comes back with an older state.
    let a = first.run_in(&server, &[]);
    a.line("app healthy");
    assert_eq!(first.said(), ["stored", "at the second"]);
    end(a);
}

#[test]
fn a_paused_machine_confirms_nothing_that_another_one_does_not_have() {
    let server = S3Server::start();
    let (first, second) = (Machine::new(), Machine::new());
    let a = first.run_in(&server, &["--sync-interval", "1h"]);
    a.line("app healthy");
    wait_for_stored(&server);
    first.say("never stored");
    a.signal(Signal::STOP);
    let b = second.run_in(&server, &[]);
    b.line("app healthy");
    second.say("at the second");
    a.signal(Signal::CONT);
    // The first request makes it notice.
    let form = [("name", "Ada"), ("body", "too late")];
    let port = first.port;
    let asked = thread::spawn(move || Browser::new(port).post("/posts/2/comments", &form));
    a.line("another machine has taken the lease over");
    a.line("waiting for another machine's lease");
    end(b);
    a.nth_line("app healthy", 2);
    let kept = a.line("in no replica: what is here is kept as");
    assert!(kept.contains("ERROR"), "{kept}");
    let answer = asked.join().expect("no panic").expect("an answer");
    let confirmed = answer.status == 303;
    let said = first.said();
    assert_eq!(said.contains(&"too late".to_owned()), confirmed, "{said:?}");
    assert!(said.contains(&"at the second".to_owned()), "{said:?}");
    assert!(!said.contains(&"never stored".to_owned()), "{said:?}");
    let dir = first.path("data/.monolite/kept/app.sqlite3");
    let files: Vec<_> = std::fs::read_dir(dir)
        .expect("it is kept")
        .flatten()
        .collect();
    assert_eq!(files.len(), 1);
    let conn = Connection::open(files[0].path()).expect("a database");
    let sql = "SELECT count(*) FROM comment WHERE body = 'never stored'";
    let count: i64 = conn.query_row(sql, [], |row| row.get(0)).expect("a count");
    assert_eq!(count, 1);
    end(a);
}

fn replicate(data: &Path, replica: &Path, options: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_monolite"));
    command.args(["replicate", "--once", "--data"]).arg(data);
    command.arg("--replica").arg(replica).args(options);
    Outcome::of(&mut command)
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.expect("cp").success());
}

#[test]
fn a_copy_of_a_volume_does_not_write_its_originals_replica() {
    let machine = Machine::new();
    let (data, replica) = (machine.path("data"), machine.path("replica"));
    let conn = Connection::open(machine.database()).expect("a database");
    let sql = "PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)";
    conn.execute_batch(sql).expect("a table");
    let insert = |database: &Path, what: &str| {
        let conn = Connection::open(database).expect("a database");
        conn.execute("INSERT INTO t VALUES (?1)", [what])
            .expect("a row");
    };
    let prod = |options: &[&str]| replicate(&data, &replica, options);
    assert_eq!(prod(&["--replica-host", "prod"]).code, 0);
    for (name, host) in [("staging", "staging"), ("next-to-it", "prod")] {
        let staging = machine.path(name);
        copy(&data, &staging);
        insert(&staging.join("app.sqlite3"), name);
        let refused = replicate(&staging, &replica, &["--replica-host", host]);
        let words = ["copy of", "on prod", "a prefix of its own", "--take-over"];
        refused.is_refused(1, &words);
        // With a replica of its own it is a volume of its own.
        let own = machine.path(&format!("replica-of-{name}"));
        let stored = replicate(&staging, &own, &["--replica-host", host]);
        assert_eq!(stored.code, 0, "{stored:?}");
        insert(&data.join("app.sqlite3"), "production");
        let stored = prod(&["--replica-host", "prod"]);
        assert_eq!(stored.code, 0, "{stored:?}");
    }
    // The app of a copy is not started with it, and not on it.
    let staging = machine.path("third");
    copy(&data, &staging);
    let run = Process::serve(
        env!("CARGO_BIN_EXE_monolite"),
        &staging,
        monolite_testkit::free_port(),
        &["--replica-host", "staging"],
        &["true"],
        |command| {
            command.env("MONOLITE_REPLICA", &replica);
        },
    );
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(output.contains("the app was not started"), "{output}");
    // Whoever means it says so.
    let taken = replicate(
        &staging,
        &replica,
        &["--replica-host", "staging", "--take-over"],
    );
    assert_eq!(taken.code, 0, "{taken:?}");
}

#[test]
fn a_stop_that_cannot_store_anything_ends_at_once() {
    let server = S3Server::start();
    let (first, second) = (Machine::new(), Machine::new());
    let a = first.run_in(&server, &[]);
    a.line("app healthy");
    wait_for_stored(&server);
    let conn = Connection::open(second.database()).expect("a database");
    conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)")
        .expect("a table");
    let b = Process::start(
        env!("CARGO_BIN_EXE_monolite"),
        ["replicate", "--data"],
        |command| {
            command.arg(second.path("data"));
            server.lead(command);
            command.env("MONOLITE_REPLICA", format!("s3://{}/shop", server.bucket()));
        },
    );
    let line = b.line("its lease lasts");
    assert!(
        line.contains("WARN") && line.contains("nothing has to be done"),
        "{line}"
    );
    let began = Instant::now();
    b.signal(Signal::TERM);
    let (status, output) = b.end();
    assert_eq!(status.code(), Some(1), "{output}");
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert!(output.contains("not everything is stored"), "{output}");
    end(a);
}
