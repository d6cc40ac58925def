//! What the lane must not break: other transactions, connections that may not write, processes that
//! are stopped, killed or forked, and programs that only inherit the environment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Site, With, output, start};
use monolite_driver::EventKind;
use monolite_testkit::wait_until;
use rustix::process::{Pid, Signal, kill_process};

/// A Python that runs each line it is given and answers with what it printed.
struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    fn start(site: &Site, with: With) -> Self {
        let program = "
import sqlite3, sys, time, os, threading
def connect(**o):
    o.setdefault('isolation_level', None)
    c = sqlite3.connect(sys.argv[1], **o)
    c.execute('PRAGMA foreign_keys = ON')
    return c
db = connect()
for line in sys.stdin:
    start = time.time()
    try:
        value = eval(line)
        print(value.fetchall() if isinstance(value, sqlite3.Cursor) else value, flush=True)
    except Exception as error:
        print('error:', error, flush=True)
";
        let mut child = start(&mut site.python(with, program));
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            input,
            output,
        }
    }

    fn send(&mut self, expression: &str) {
        writeln!(self.input, "{expression}").unwrap();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, expression: &str) -> String {
        self.send(expression);
        self.answer()
    }

    fn sql(&mut self, sql: &str) -> String {
        self.ask(&format!("db.execute({sql:?})"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether another connection can write now.
fn is_locked(site: &Site) -> bool {
    let mut command = Command::new("sqlite3");
    command
        .arg(site.database())
        .arg("BEGIN IMMEDIATE; ROLLBACK;");
    !command.stderr(Stdio::null()).status().unwrap().success()
}

#[test]
fn a_plain_begin_takes_the_lock_however_it_is_written_and_nothing_else_does() {
    let site = Site::new();
    let mut session = Session::start(&site, With::Lane);
    for (begin, locks) in [
        ("BEGIN", true),
        ("begin", true),
        (" Begin Transaction ;", true),
        ("BEGIN TRANSACTION name", true),
        ("/* app */ BEGIN -- now", true),
        ("-- app\n\tBEGIN\n/* a */ TRANSACTION /* b */;", true),
        ("BEGIN IMMEDIATE", true),
        ("BEGIN EXCLUSIVE TRANSACTION", true),
        ("BEGIN DEFERRED", false),
        ("begin deferred transaction", false),
        ("SAVEPOINT a", false),
    ] {
        assert_eq!(session.sql(begin), "[]", "{begin:?}");
        assert_eq!(is_locked(&site), locks, "{begin:?}");
        assert_eq!(session.sql("ROLLBACK"), "[]", "{begin:?}");
    }
    for wrong in [
        "BEGIN BEGIN",
        "BEGIN TRANSACTION a b",
        "BEGINS",
        "BEGIN COMMIT",
    ] {
        assert!(session.sql(wrong).contains("syntax error"), "{wrong:?}");
    }
    // A connection that is marked before its first transaction.
    session.ask("globals().update(db=connect())");
    session.sql("PRAGMA monolite_begin = deferred");
    session.sql("BEGIN");
    assert!(!is_locked(&site));
    // A savepoint within a transaction, and a script.
    session.sql("ROLLBACK");
    let script = "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET n = n + 1; END;
        BEGIN; INSERT INTO t VALUES(7); SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; COMMIT;";
    assert_eq!(session.ask(&format!("db.executescript({script:?})")), "[]");
    assert_eq!(session.sql("SELECT n FROM t"), "[(1,), (8,)]");
}

#[test]
fn a_script_is_run_as_it_is_but_for_its_begins() {
    let site = Site::new();
    // The shell gives each statement to sqlite3_prepare; sqlite3_exec is PHP's.
    let program = r#"
        $db = new SQLite3($argv[1]);
        $db->exec("/* BEGIN; */ INSERT INTO t VALUES('a;BEGIN;''b'); BEGIN;
            INSERT INTO t VALUES(\"n\"); -- BEGIN;\n COMMIT; begin transaction; DELETE FROM t WHERE n = 0; END");
        $result = $db->query("SELECT group_concat(n, '|') FROM t");
        echo $result->fetchArray()[0];
        $result->finalize();
        $db->exec("BEGIN");
        $other = new SQLite3($argv[1]);
        $other->busyTimeout(0);
        echo @$other->exec("BEGIN IMMEDIATE") ? "free" : "locked";
    "#;
    let mut command = site.command(With::Lane, "php");
    let printed = output(command.args(["-r", program, "--"]).arg(site.database()));
    assert!(
        printed.starts_with("a;BEGIN;'b") && printed.ends_with("locked"),
        "{printed}"
    );
}

#[test]
fn connections_that_may_not_write_go_on_reading() {
    let site = Site::new();
    let mut session = Session::start(&site, With::Lane);
    session.sql("PRAGMA query_only = 1");
    for _ in 0..2 {
        assert_eq!(session.sql("BEGIN"), "[]");
        assert!(!is_locked(&site));
        assert_eq!(session.sql("SELECT n FROM t"), "[(0,)]");
        assert_eq!(session.sql("COMMIT"), "[]");
    }
    assert_eq!(site.counted().deferred, 2);
    let path = site.database().display().to_string();
    for uri in [
        format!("file:{path}?mode=ro"),
        format!("file:{path}?immutable=1"),
    ] {
        let set = format!(
            "globals().update(db=sqlite3.connect({uri:?}, uri=True, isolation_level=None))"
        );
        assert_eq!(session.ask(&set), "None");
        session.sql("PRAGMA foreign_keys = ON");
        for sql in ["BEGIN", "SELECT n FROM t", "COMMIT"] {
            let answer = session.sql(sql);
            assert!(answer.starts_with('['), "{uri}: {sql}: {answer}");
        }
        assert!(!is_locked(&site));
    }
}

#[test]
fn the_busy_timeout_is_the_apps_and_what_it_reads_is_what_it_has_set() {
    let site = Site::new();
    let mut holder = Session::start(&site, With::Lane);
    holder.sql("BEGIN IMMEDIATE");
    let mut session = Session::start(&site, With::Lane);
    assert_eq!(
        session.sql("PRAGMA busy_timeout"),
        "[(5000,)]",
        "Python's own"
    );
    for (set, ms, begin) in [
        ("PRAGMA busy_timeout = 300", 300, "BEGIN"),
        ("pragma busy_timeout(0);", 0, "BEGIN IMMEDIATE"),
    ] {
        assert_eq!(session.sql(set), format!("[({ms},)]"));
        assert_eq!(session.sql("PRAGMA busy_timeout"), format!("[({ms},)]"));
        let waited = Instant::now();
        assert_eq!(session.sql(begin), "error: database is locked");
        let waited = waited.elapsed();
        assert!(waited >= Duration::from_millis(ms), "{waited:?}");
        assert!(waited < Duration::from_millis(ms + 5000), "{waited:?}");
    }
    // Who does not wait, and may only read, is not refused at its BEGIN.
    session.ask("globals().update(db=connect(timeout=0))");
    for sql in ["BEGIN", "SELECT n FROM t", "COMMIT"] {
        assert!(session.sql(sql).starts_with('['), "{sql}");
    }
    let counted = site.counted();
    assert_eq!(
        counted.timeouts, 1,
        "no wait was asked for in the other case"
    );
    let event = counted
        .events
        .iter()
        .find(|event| event.kind == EventKind::Timeout)
        .unwrap();
    assert_eq!(event.holder, Some(holder.child.id()));
    assert_eq!(event.pid, session.child.id());
    let (pid, _) = counted.databases[0].writer.unwrap();
    assert_eq!(pid, holder.child.id());
}

#[test]
fn where_the_app_sets_no_timeout_it_is_five_seconds() {
    let site = Site::new();
    let mut holder = Session::start(&site, With::Lane);
    holder.sql("BEGIN IMMEDIATE");
    // PHP's SQLite3 has none.
    let program = r#"
        $db = new SQLite3($argv[1]);
        echo "ready\n";
        echo $db->exec("INSERT INTO t VALUES(1)") ? "done" : "locked";
    "#;
    let mut command = site.command(With::Lane, "php");
    let mut child = start(command.args(["-r", program, "--"]).arg(site.database()));
    let mut line = String::new();
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    printed.read_line(&mut line).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    holder.sql("COMMIT");
    line.clear();
    printed.read_line(&mut line).unwrap();
    assert_eq!(line, "done");
    child.wait().unwrap();
}

#[test]
fn a_holder_that_is_stopped_is_waited_for_and_one_that_is_killed_is_not() {
    let site = Site::new();
    let mut holder = Session::start(&site, With::Lane);
    let mut waiter = Session::start(&site, With::Lane);
    assert_eq!(holder.sql("BEGIN"), "[]");
    holder.signal(Signal::STOP);
    waiter.sql("PRAGMA busy_timeout = 400");
    assert_eq!(waiter.sql("BEGIN"), "error: database is locked");
    waiter.sql("PRAGMA busy_timeout = 60000");
    waiter.send("db.execute('BEGIN')");
    wait_until("it waits", || site.counted().databases[0].waits == 1);
    holder.signal(Signal::CONT);
    holder.sql("COMMIT");
    assert_eq!(waiter.answer(), "[]");
    waiter.sql("COMMIT");
    assert_eq!(holder.sql("BEGIN"), "[]");
    waiter.send("db.execute('BEGIN')");
    let killed = Instant::now();
    holder.signal(Signal::KILL);
    assert_eq!(waiter.answer(), "[]");
    assert!(
        killed.elapsed() < Duration::from_secs(10),
        "{:?}",
        killed.elapsed()
    );
}

/// Waits until so many connections wait for a lock.
fn wait_for_waiters(session: &mut [Session]) {
    for session in session {
        let pid = session.child.id();
        wait_until("it sleeps in a wait", || {
            let stack = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
            stack.contains("futex") || stack.contains("nanosleep")
        });
    }
}

#[test]
fn a_waiter_that_is_stopped_or_killed_does_not_keep_others_out() {
    for signal in [Signal::STOP, Signal::KILL] {
        let site = Site::new();
        let mut holder = Session::start(&site, With::Lane);
        holder.sql("BEGIN");
        let mut waiters = [0; 3].map(|_| Session::start(&site, With::Lane));
        for waiter in &mut waiters {
            waiter.sql("PRAGMA busy_timeout = 60000");
            waiter.send("db.execute('BEGIN')");
            // In this order.
            wait_for_waiters(std::slice::from_mut(waiter));
        }
        waiters[0].signal(signal);
        holder.sql("COMMIT");
        let began = Instant::now();
        assert_eq!(waiters[1].answer(), "[]");
        waiters[1].sql("COMMIT");
        assert_eq!(waiters[2].answer(), "[]");
        waiters[2].sql("COMMIT");
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
        if signal == Signal::STOP {
            waiters[0].signal(Signal::CONT);
            assert_eq!(waiters[0].answer(), "[]", "its wish was not lost");
        }
    }
}

#[test]
fn a_fork_while_a_thread_waits_can_use_its_own_connections() {
    let site = Site::new();
    let mut holder = Session::start(&site, With::Lane);
    holder.sql("BEGIN");
    let program = "
import sqlite3, sys, threading, os, time
def insert():
    c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
    c.execute('PRAGMA foreign_keys = ON')
    c.execute('BEGIN'); c.execute('INSERT INTO t VALUES(1)'); c.execute('COMMIT')
thread = threading.Thread(target=insert); thread.start()
time.sleep(0.2)
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        insert(); os._exit(0)
    children.append(pid)
print('forked', flush=True)
thread.join()
print([os.waitpid(pid, 0)[1] for pid in children])
";
    let mut child = start(&mut site.python(With::Lane, program));
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    printed.read_line(&mut line).unwrap();
    assert_eq!(line, "forked\n");
    holder.sql("COMMIT");
    line.clear();
    printed.read_line(&mut line).unwrap();
    assert_eq!(line, "[0, 0, 0, 0]\n");
    assert!(child.wait().unwrap().success());
    assert_eq!(site.sql("SELECT count(*) FROM t WHERE n = 1").trim(), "5");
}

/// `Connection.autocommit = False` of Python 3.12 and later keeps a transaction open all the time:
/// its own code prepares `BEGIN` right after `COMMIT`, at a place where nothing else is prepared.
#[test]
fn a_transaction_that_python_keeps_open_does_not_take_the_lock() {
    let site = Site::new();
    let program = r#"
#include <sqlite3.h>
#include <stdio.h>
const char *Py_GetVersion(void) { return "3.13"; }
static sqlite3 *db;
static int control(const char *sql) {
  sqlite3_stmt *s; int rc = sqlite3_prepare_v2(db, sql, -1, &s, 0);
  if (rc) return rc;
  rc = sqlite3_step(s); sqlite3_finalize(s); return rc;
}
static int statement(const char *sql) {
  sqlite3_stmt *s; int rc = sqlite3_prepare_v2(db, sql, -1, &s, 0);
  if (rc) return rc;
  while ((rc = sqlite3_step(s)) == SQLITE_ROW);
  sqlite3_finalize(s); return rc;
}
static int locked(const char *path) {
  sqlite3 *other; sqlite3_open(path, &other); sqlite3_busy_timeout(other, 0);
  int rc = sqlite3_exec(other, "BEGIN IMMEDIATE", 0, 0, 0); sqlite3_close(other);
  return rc == SQLITE_BUSY;
}
int main(int n, char **argv) {
  (void)n; sqlite3_open(argv[1], &db);
  control("BEGIN"); printf("%d", locked(argv[1]));
  statement("SELECT * FROM t"); printf("%d", locked(argv[1]));
  control("COMMIT"); control("BEGIN"); printf("%d", locked(argv[1]));
  control("ROLLBACK");
  statement("BEGIN"); printf("%d\n", locked(argv[1]));
  return sqlite3_close(db);
}
"#;
    let binary = compile(&site, program, &["-rdynamic", "-fno-inline", "-lsqlite3"]);
    let mut command = site.command(With::Lane, &binary);
    assert_eq!(output(command.arg(site.database())), "0001\n");
}

/// The path of the program.
fn compile(site: &Site, program: &str, arguments: &[&str]) -> String {
    compile_with(site, "cc", program, arguments)
}

fn compile_with(site: &Site, compiler: &str, program: &str, arguments: &[&str]) -> String {
    let source = site.dir.path().join("program.c");
    std::fs::write(&source, program).unwrap();
    let binary = site.dir.path().join(format!("program-{compiler}"));
    let mut command = Command::new(compiler);
    command
        .arg("-O1")
        .arg(&source)
        .arg("-o")
        .arg(&binary)
        .args(arguments);
    output(&mut command);
    binary.display().to_string()
}

#[test]
fn programs_that_only_inherit_it_notice_nothing() {
    let site = Site::new();
    let hello = "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }";
    let dynamic = compile(&site, hello, &[]);
    assert_eq!(output(&mut site.command(With::Lane, &dynamic)), "hello\n");
    let own_static = compile(&site, hello, &["-static"]);
    assert_eq!(
        output(&mut site.command(With::Lane, &own_static)),
        "hello\n"
    );
    for arguments in [&[][..], &["-static"]] {
        let musl = compile_with(&site, "musl-gcc", hello, arguments);
        assert_eq!(
            output(&mut site.command(With::Lane, &musl)),
            "hello\n",
            "{arguments:?}"
        );
    }
    for (program, arguments) in [
        ("sh", &["-c", "echo hello; ls / >/dev/null"][..]),
        ("python3", &["-c", "print('hello')"]),
        ("python3", &["-I", "-S", "-c", "print('hello')"]),
        ("ruby", &["-e", "puts 'hello'"]),
        ("ruby", &["--disable-gems", "-e", "puts 'hello'"]),
        ("perl", &["-e", "print qq(hello\\n)"]),
        ("node", &["-e", "console.log('hello')"]),
        ("php", &["-r", "echo 'hello', PHP_EOL;"]),
    ] {
        let mut command = site.command(With::Lane, program);
        assert_eq!(output(command.args(arguments)), "hello\n", "{program}");
    }
    let counted = site.counted();
    assert_eq!(
        (counted.bound, counted.unbound),
        (0, 0),
        "nobody used SQLite"
    );
}

#[test]
fn an_apps_own_sitecustomize_is_still_imported() {
    let site = Site::new();
    let own = site.dir.path().join("own");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("sitecustomize.py"), "import sys; sys.own = 'yes'").unwrap();
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", &own);
    let before = |name: &str| (name == "PYTHONPATH").then(|| own.clone().into_os_string());
    command.envs(site.lane.variables(before));
    command.args([
        "-c",
        "import sys; print(sys.own, [p for p in sys.path if 'python-' in p])",
    ]);
    assert_eq!(output(&mut command), "yes []\n");
}

#[test]
fn another_user_without_the_shared_file_works_too() {
    assert!(
        rustix::process::geteuid().is_root(),
        "run as root, as `cargo xtask test` does"
    );
    let site = Site::new();
    for (path, mode) in [
        (site.dir.path().to_path_buf(), 0o777),
        (site.database(), 0o666),
    ] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let mut command = site.command(With::Lane, "setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "/usr/bin/python3",
        "-c",
    ]);
    command.arg(
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute('PRAGMA foreign_keys = ON'); c.execute('BEGIN'); c.execute('INSERT INTO t VALUES(1)')
c.execute('COMMIT'); print('ok')",
    );
    assert_eq!(output(command.arg(site.database())), "ok\n");
    assert_eq!(site.counted().bound, 0, "it has no file to count in");
}

#[test]
fn slow_statements_and_long_transactions_are_counted() {
    let site = Site::new();
    let mut session = Session::start(&site, With::Lane);
    let slow = "WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c WHERE x < 6000000)
        SELECT max(x) FROM c";
    while site.counted().slow_statements == 0 {
        session.sql(slow);
    }
    session.sql("BEGIN");
    session.sql("UPDATE t SET n = 1");
    session.ask("time.sleep(0.6)");
    session.sql("COMMIT");
    let counted = site.counted();
    assert_eq!(counted.slow_writes, 1);
    assert!(
        counted.longest_write >= Duration::from_millis(550),
        "{counted:?}"
    );
    let event = counted
        .events
        .iter()
        .find(|event| event.kind == EventKind::SlowStatement)
        .unwrap();
    assert!(event.text.starts_with("WITH RECURSIVE") && event.took >= Duration::from_millis(200));
    assert_eq!(event.database.as_deref(), Some(site.database().as_path()));
    assert_eq!(counted.databases[0].writer, None, "it has committed");
}

#[test]
fn the_lane_opens_no_descriptor() {
    let site = Site::new();
    let program = "
import os, sqlite3, sys
before = set(os.listdir('/proc/self/fd'))
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute('PRAGMA foreign_keys = ON'); c.execute('BEGIN IMMEDIATE'); c.execute('COMMIT')
print(sorted(os.path.basename(os.readlink('/proc/self/fd/' + fd)) for fd in set(os.listdir('/proc/self/fd')) - before
    if os.path.exists('/proc/self/fd/' + fd)))
print(len([l for l in open('/proc/self/maps') if 'libsqlite3' in l and 'r-xp' in l]))
";
    let bare = output(&mut site.python(With::Nothing, program));
    assert_eq!(output(&mut site.python(With::Lane, program)), bare);
}

#[test]
fn a_checkpoint_waits_for_readers_as_long_as_the_app_says() {
    let site = Site::new();
    let mut session = Session::start(&site, With::Lane);
    for (expression, answer) in [
        ("db.execute('PRAGMA journal_mode = WAL')", "[('wal',)]"),
        ("db.execute('CREATE TABLE w(x)')", "[]"),
        (
            "globals().update(r=connect(check_same_thread=False)) or 1",
            "1",
        ),
        ("r.execute('BEGIN DEFERRED')", "[]"),
        ("r.execute('SELECT * FROM w')", "[]"),
        ("db.execute('INSERT INTO w VALUES (1)')", "[]"),
        (
            "threading.Timer(0.3, lambda: r.execute('COMMIT')).start() or 1",
            "1",
        ),
        (
            "db.execute('PRAGMA wal_checkpoint(TRUNCATE)')",
            "[(0, 0, 0)]",
        ),
    ] {
        session.send(expression);
        assert_eq!(session.answer(), answer, "{expression}");
    }
}

/// Ruby threads that share one connection: who waits has neither SQLite's mutex nor Ruby's lock.
#[test]
fn ruby_threads_on_one_connection_wait_without_stopping_each_other() {
    let site = Site::new();
    let program = "
require 'sqlite3'
db = SQLite3::Database.new(ARGV[0])
db.busy_timeout(20_000)
db.execute('CREATE TABLE s(x)')
holder = SQLite3::Database.new(ARGV[0])
holder.transaction(:immediate)
writer = Thread.new { db.execute('INSERT INTO s VALUES (1)'); :written }
100.times { sleep 0.001; db.execute('SELECT count(*) FROM s') }
raise 'nobody waits' unless writer.alive?
holder.commit
puts writer.value
";
    for with in [With::Lane, With::Nothing] {
        let mut command = site.command(With::Lane, "ruby");
        if with == With::Nothing {
            // As where SQLite is compiled into the gem: the hook alone.
            command.env_remove("LD_PRELOAD");
        }
        command
            .args(["-e", program])
            .arg(site.dir.path().join("s.db"));
        assert_eq!(output(&mut command), "written\n", "{with:?}");
        let _ = std::fs::remove_file(site.dir.path().join("s.db"));
    }
}
