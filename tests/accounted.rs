//! Every SQLite file that an app has open is accounted for: real apps, another SQLite, real files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use monolite_testkit::{Browser, Process, Signal, disk_dir, free_port, wait_until};
use rusqlite::Connection;
use tempfile::TempDir;

/// It does what a request's form says, in one process with one connection, and answers with the
/// result. `APP_PATH` is the database, else `DATABASE_PATH`.
const APP: &str = r#"
import http.server, os, signal, sqlite3, subprocess, sys, urllib.parse
path = os.environ.get("APP_PATH") or os.environ["DATABASE_PATH"]
db = None
def connect(mode="wal"):
    global db
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("pragma journal_mode=" + mode)
    db.execute("create table if not exists t(x integer)")
def sql(text):
    return db.execute(text).fetchall()
def other(text):
    "Another process, which is killed before it can close the database."
    code = "import os,sqlite3,sys; c=sqlite3.connect(sys.argv[1],isolation_level=None); c.execute(sys.argv[2]).fetchall(); os._exit(0)"
    subprocess.run([sys.executable, "-c", code, path, text], check=True)
def close_elsewhere():
    "Another process that closes the database as the last one, as far as it can see."
    open(path, "rb").read()
    subprocess.run([sys.executable, "-c", "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute('select 1 from t').fetchall(); c.close()", path], check=True)
def remove(*suffixes):
    for suffix in suffixes: os.remove(path + suffix)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self): self.answer("ok")
    def do_POST(self):
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        try: self.answer(repr(eval(urllib.parse.parse_qs(form)["do"][0])))
        except Exception as error: self.answer("failed: %s" % error)
    def answer(self, text):
        self.send_response(200)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *args): pass
def stop(*_):
    if db and not os.environ.get("NO_CLOSE"): db.close()
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
if not os.environ.get("LAZY"): connect(os.environ.get("MODE", "wal"))
print("app: begins", flush=True)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// Within this time it is noticed that a file lost its name.
const NOTICED_MAX: Duration = Duration::from_secs(2);

struct Machine {
    dir: TempDir,
    port: u16,
    has_replica: bool,
}

impl Machine {
    fn new(has_replica: bool) -> Self {
        let (dir, port) = (disk_dir(), free_port());
        std::fs::create_dir(dir.path().join("data")).expect("a volume");
        std::fs::create_dir(dir.path().join("app")).expect("a directory");
        Self {
            dir,
            port,
            has_replica,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn database(&self) -> PathBuf {
        self.path("data/app.sqlite3")
    }

    fn run_command(&self, command: &[&str], env: &[(&str, &str)]) -> Process {
        let binary = env!("CARGO_BIN_EXE_monolite");
        let run = Process::serve(binary, &self.path("data"), self.port, &[], command, |run| {
            run.current_dir(self.path("app"));
            run.envs(env.iter().copied());
            if self.has_replica {
                run.env("MONOLITE_REPLICA", self.path("replica"));
            }
        });
        run.line("app healthy");
        run
    }

    fn run(&self, env: &[(&str, &str)]) -> Process {
        self.run_command(&["python3", "-c", APP], env)
    }

    /// Has the app do this; its answer.
    fn ask(&self, what: &str) -> String {
        let answer = Browser::new(self.port).post("/", &[("do", what)]);
        answer.expect("an answer").body
    }

    fn insert(&self, rows: std::ops::Range<i64>) {
        for n in rows {
            let answer = self.ask(&format!("sql('insert into t values({n})')"));
            assert_eq!(answer, "[]");
        }
    }

    fn health(&self) -> String {
        let answer = Browser::new(self.port).get("/_monolite/health");
        answer.expect("an answer").body
    }

    /// The rows of the file of this name, as a process sees it that opens it now.
    fn rows(&self) -> i64 {
        rows(&self.database())
    }

    fn restored_rows(&self) -> i64 {
        let out = self.path("restored.sqlite3");
        let done = Command::new(env!("CARGO_BIN_EXE_monolite"))
            .args(["restore", "app.sqlite3", "--overwrite", "-o"])
            .arg(&out)
            .arg("--data")
            .arg(self.path("data"))
            .env("MONOLITE_REPLICA", self.path("replica"))
            .output()
            .expect("it runs");
        assert!(done.status.success(), "{done:?}");
        rows(&out)
    }
}

fn rows(path: &Path) -> i64 {
    let conn = Connection::open(path).expect("a database");
    let check: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("checked");
    assert_eq!(check, "ok");
    conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .expect("counted")
}

fn end(run: Process, code: i32) -> String {
    run.signal(Signal::TERM);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(code), "{output}");
    output
}

fn seed(path: &Path) {
    let conn = Connection::open(path).expect("made");
    conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t(x INTEGER)")
        .expect("made");
}

#[test]
fn a_last_close_of_another_process_deletes_no_log_under_the_app() {
    for has_replica in [false, true] {
        for exists in [true, false] {
            let machine = Machine::new(has_replica);
            if exists {
                seed(&machine.database());
            }
            // The app that made its database in this very moment.
            let run = machine.run(&[("NO_CLOSE", "1")]);
            machine.insert(0..1);
            machine.ask("close_elsewhere()");
            assert!(machine.path("data/app.sqlite3-wal").exists());
            machine.insert(1..6);
            let output = end(run, 0);
            assert!(!output.contains("has no name"), "{output}");
            assert_eq!(machine.rows(), 6, "replica: {has_replica}, there: {exists}");
            if has_replica {
                assert_eq!(machine.restored_rows(), 6);
            }
        }
    }
}

#[test]
fn commits_to_a_removed_log_are_put_back_and_the_app_is_restarted() {
    for has_replica in [false, true] {
        for suffixes in ["'-wal'", "'-shm'", "'-wal','-shm'"] {
            let machine = Machine::new(has_replica);
            let run = machine.run(&[("NO_CLOSE", "1")]);
            machine.insert(0..5);
            machine.ask(&format!("remove({suffixes})"));
            let removed = Instant::now();
            machine.insert(5..8);
            run.line("what the app commits has no name");
            assert!(removed.elapsed() < NOTICED_MAX, "{:?}", removed.elapsed());
            run.nth_line("app healthy", 2);
            machine.insert(8..10);
            assert_eq!(
                machine.ask("sql('select count(*) from t')"),
                "[(10,)]",
                "{suffixes}"
            );
            assert!(machine.health().contains("\"status\":\"ok\""));
            let output = end(run, 0);
            assert_eq!(machine.rows(), 10, "{suffixes}: {output}");
            if has_replica {
                assert_eq!(machine.restored_rows(), 10, "{output}");
            }
        }
    }
}

#[test]
fn a_deleted_database_comes_back_without_a_replica() {
    for mode in ["wal", "delete"] {
        for suffixes in ["''", "'','-wal','-shm'"] {
            if mode == "delete" && suffixes != "''" {
                continue;
            }
            let machine = Machine::new(false);
            let run = machine.run(&[("NO_CLOSE", "1"), ("MODE", mode)]);
            machine.insert(0..5);
            // A file is opened here when it is seen open.
            std::thread::sleep(NOTICED_MAX);
            machine.ask(&format!("remove({suffixes})"));
            // SQLite itself refuses to write to a deleted file in the other modes.
            if mode == "wal" {
                machine.insert(5..8);
            }
            run.line("what the app commits has no name");
            run.nth_line("app healthy", 2);
            let expected = if mode == "wal" { "[(8,)]" } else { "[(5,)]" };
            let rows = machine.ask("sql('select count(*) from t')");
            assert_eq!(rows, expected, "{mode} {suffixes}");
            end(run, 0);
        }
    }
}

#[test]
fn where_others_wrote_to_a_new_log_both_are_kept() {
    let machine = Machine::new(false);
    seed(&machine.database());
    let run = machine.run(&[("NO_CLOSE", "1")]);
    machine.insert(0..5);
    machine.ask("[remove('-wal','-shm'), other('insert into t values(100)'), sql('insert into t values(5)')]");
    run.line("in this copy");
    run.nth_line("app healthy", 2);
    assert!(machine.health().contains("\"status\":\"degraded\""));
    let output = end(run, 1);
    let line = output
        .lines()
        .find(|line| line.contains("copy="))
        .expect("named");
    let (_, copy) = line.split_once("copy=").expect("named");
    let copy = copy
        .split_whitespace()
        .next()
        .expect("a path")
        .trim_matches('"');
    assert_eq!(rows(Path::new(copy)), 6, "{output}");
}

#[test]
fn a_start_script_that_removes_old_logs_removes_nothing() {
    let script = "rm -f \"$MONOLITE_DATA\"/app.sqlite3-wal \"$MONOLITE_DATA\"/app.sqlite3-shm; exec python3 -c \"$APP\"";
    for has_replica in [false, true] {
        for no_close in ["", "1"] {
            let machine = Machine::new(has_replica);
            let env = [("APP", APP), ("NO_CLOSE", no_close)];
            let run = machine.run_command(&["sh", "-c", script], &env);
            machine.insert(0..20);
            run.signal(Signal::USR2);
            run.nth_line("app healthy", 2);
            assert_eq!(machine.ask("sql('select count(*) from t')"), "[(20,)]");
            machine.insert(20..25);
            let output = end(run, 0);
            assert_eq!(machine.rows(), 25, "{output}");
            if has_replica {
                assert_eq!(machine.restored_rows(), 25, "{output}");
            }
        }
    }
}

#[test]
fn the_app_may_change_its_journal_mode() {
    let machine = Machine::new(false);
    seed(&machine.database());
    let run = machine.run(&[("LAZY", "1")]);
    let change = "[connect('delete'), sql('pragma journal_mode'), sql('pragma journal_mode=wal')]";
    assert_eq!(machine.ask(change), "[None, [('delete',)], [('wal',)]]");
    machine.insert(0..3);
    end(run, 0);
    assert_eq!(machine.rows(), 3);
}

#[test]
fn a_database_outside_of_the_volume_is_named() {
    for has_replica in [false, true] {
        let machine = Machine::new(has_replica);
        let elsewhere = machine.path("app/db.sqlite3").canonicalize();
        let elsewhere = elsewhere.unwrap_or(machine.path("app/db.sqlite3"));
        let run = machine.run(&[("APP_PATH", &elsewhere.display().to_string())]);
        let line = run.line("not in the data directory");
        assert!(line.contains("db.sqlite3"), "{line}");
        machine.insert(0..3);
        wait_until("it shows", || machine.health().contains("\"elsewhere\":1"));
        assert!(machine.health().contains("\"status\":\"degraded\""));
        let output = end(run, 1);
        assert!(!output.contains("all commits are stored"), "{output}");
    }
    // One that is opened for each request, in a process that comes and goes, and that nobody sees.
    let machine = Machine::new(false);
    let run = machine.run(&[("LAZY", "1"), ("APP_PATH", "db.sqlite3")]);
    machine.ask("[connect('delete'), db.close()]");
    let line = run.line("not in the data directory");
    assert!(line.contains("app/db.sqlite3"), "{line}");
    end(run, 1);
    // Accepted by its path.
    let machine = Machine::new(false);
    let path = machine.path("scratch.db").display().to_string();
    let run = machine.run(&[("APP_PATH", &path), ("MONOLITE_REPLICA_EXCLUDE", &path)]);
    machine.insert(0..2);
    std::thread::sleep(NOTICED_MAX);
    let output = end(run, 0);
    assert!(!output.contains("not in the data directory"), "{output}");
}

#[test]
fn an_existing_database_is_given_to_the_app() {
    let machine = Machine::new(false);
    seed(&machine.path("data/production.sqlite3"));
    seed(&machine.path("data/production_queue.sqlite3"));
    let run = machine.run(&[]);
    assert!(machine.ask("path").contains("production.sqlite3"));
    end(run, 0);
    assert!(!machine.database().exists());
}

/// `monolite` with these arguments on this machine's volume; its exit code, and all that it printed.
fn monolite(machine: &Machine, shell: &str, words: &[&str]) -> (Option<i32>, String) {
    let done = Command::new("sh")
        .arg("-c")
        .arg(format!("{shell} exec \"$@\""))
        .arg("sh")
        .arg(env!("CARGO_BIN_EXE_monolite"))
        .args(words)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("MONOLITE_REPLICA", machine.path("replica"))
        .env("MONOLITE_DATA", machine.path("data"))
        .current_dir(machine.path("app"))
        .output()
        .expect("it runs");
    let text = [done.stdout, done.stderr].concat();
    (
        done.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn databases_of_any_name_anywhere_are_stored_or_named() {
    let machine = Machine::new(true);
    let crowd = machine.path("data/attachments");
    std::fs::create_dir(&crowd).expect("a directory");
    for n in 0..10_050 {
        std::fs::write(crowd.join(n.to_string()), "").expect("a file");
    }
    let names = [
        "a/one.db",
        "zz/b/c/d/two",
        "collection.anki2",
        "vault",
        "weird.ext",
    ];
    for name in names {
        let path = machine.path("data").join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        let conn = Connection::open(&path).expect("made");
        conn.execute_batch("CREATE TABLE t(x INTEGER)")
            .expect("made");
    }
    let (code, said) = monolite(&machine, "", &["replicate", "--once"]);
    assert_eq!(code, Some(0), "{said}");
    for name in names {
        assert!(said.contains(&format!("stored {name} ")), "{name}: {said}");
    }
    let outside = machine.path("elsewhere.db");
    seed(&outside);
    std::os::unix::fs::symlink(&outside, machine.path("data/linked.db")).expect("a link");
    let (code, said) = monolite(&machine, "", &["replicate", "--once"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("linked.db is a link to a database outside"),
        "{said}"
    );
    let (_, said) = monolite(&machine, "", &["check"]);
    assert!(said.contains("linked.db"), "{said}");
}

#[test]
fn with_too_few_descriptors_as_many_as_fit_are_stored() {
    let machine = Machine::new(true);
    for n in 0..30 {
        seed(&machine.path(&format!("data/{n}.db")));
    }
    let (code, said) = monolite(&machine, "ulimit -n 160;", &["replicate", "--once"]);
    assert_eq!(code, Some(1), "{said}");
    let stored = said.matches("stored ").count();
    assert!((5..30).contains(&stored), "{stored}: {said}");
    assert!(said.contains("ulimit -n"), "{said}");
}

#[test]
fn a_guarded_migration_does_not_begin_on_a_volume_that_lost_its_database() {
    let machine = Machine::new(true);
    seed(&machine.database());
    let (code, said) = monolite(&machine, "", &["replicate", "--once"]);
    assert_eq!(code, Some(0), "{said}");
    std::fs::remove_dir_all(machine.path("data")).expect("lost");
    std::fs::create_dir(machine.path("data")).expect("a new one");
    let migrate = ["migrate", "--", "sh", "-c", "echo run > ../ran"];
    let (code, said) = monolite(&machine, "", &migrate);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("app.sqlite3 is missing, and "), "{said}");
    assert!(!machine.path("ran").exists());
    let (code, said) = monolite(&machine, "export MONOLITE_REPLICA=none;", &migrate);
    assert_eq!(code, Some(0), "{said}");
    assert!(machine.path("ran").exists());
}

#[test]
fn a_migration_of_a_database_elsewhere_is_refused() {
    let machine = Machine::new(false);
    for shell in [
        "export DATABASE_URL=sqlite:////srv/shop.db;",
        "export QUEUE_DATABASE_PATH=queue.sqlite3;",
    ] {
        let (code, said) = monolite(&machine, shell, &["migrate", "--", "true"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("outside of the data directory"), "{said}");
    }
}
