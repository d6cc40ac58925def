//! Apps that are not as expected: on another address, broken while they start, hanging later; and
//! what each framework is given.

use std::net::{Ipv6Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use monolite_testkit::{Browser, Process, Signal, disk_dir, free_port, wait_until};
use rusqlite::Connection;

/// A server steered by variables: where it listens, what it answers at first, and whether it serves
/// one request at a time. `/hang` makes it answer nothing from then on, itself included.
const APP: &str = r#"
import http.server, os, socket, socketserver, sys, threading, time
began, hangs = time.time(), threading.Event()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/hang": hangs.set()
        if self.path == "/long": time.sleep(6)
        if hangs.is_set(): time.sleep(1000)
        broken = time.time() < began + float(os.environ.get("BROKEN_FOR", "0"))
        body = str(os.getpid()).encode()
        self.send_response(500 if broken else int(os.environ.get("STATUS", "200")))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self): return "somebody"
    def log_message(self, *args): pass
one = http.server.HTTPServer
class Many(socketserver.ThreadingMixIn, one): daemon_threads = True
class Server(one if os.environ.get("ONE_AT_A_TIME") else Many):
    address_family = {"6": socket.AF_INET6, "u": socket.AF_UNIX}.get(os.environ.get("FAMILY"), socket.AF_INET)
    def server_bind(self): socketserver.TCPServer.server_bind(self)
port = int(os.environ.get("OWN_PORT") or os.environ["PORT"])
address = {"6": ("::1", port), "u": "app.sock"}.get(os.environ.get("FAMILY"), ("127.0.0.1", port))
print("listens", flush=True)
Server(address, Handler).serve_forever()
"#;

fn run(dir: &Path, port: u16, options: &[&str], env: &[(&str, &str)], app: &[&str]) -> Process {
    let binary = env!("CARGO_BIN_EXE_monolite");
    Process::serve(binary, dir, port, options, app, |command| {
        command.envs(env.iter().copied());
    })
}

fn python(dir: &Path, port: u16, options: &[&str], env: &[(&str, &str)]) -> Process {
    run(dir, port, options, env, &["python3", "-c", APP])
}

fn health(port: u16) -> (u16, serde_json::Value) {
    let page = Browser::new(port).get("/_monolite/health").expect("a page");
    let json = serde_json::from_str(&page.body).expect("JSON");
    (page.status, json)
}

#[test]
fn an_app_on_the_ipv6_loopback_alone_is_found_at_once() {
    assert!(
        TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok(),
        "this test needs ::1"
    );
    let (dir, port) = (disk_dir(), free_port());
    let run = python(dir.path(), port, &[], &[("FAMILY", "6")]);
    run.line("the app listens on [::1]:");
    run.line("app healthy");
    assert_eq!(Browser::new(port).get("/").expect("an answer").status, 200);
    assert!(!run.output().contains("WARN the app"), "{}", run.output());
}

#[test]
fn an_app_on_another_port_is_found_and_the_way_is_said_meanwhile() {
    let (dir, port, own) = (disk_dir(), free_port(), free_port().to_string());
    let run = python(dir.path(), port, &[], &[("OWN_PORT", &own)]);
    let wait = run.line("the app is not healthy yet");
    let where_it_is = format!("the app listens on 127.0.0.1:{own}");
    assert!(wait.contains(&where_it_is), "{wait}");
    assert!(wait.contains(&format!("--app-port {own}")), "{wait}");
    run.line("it is served from there");
    run.line("app healthy");
    assert_eq!(Browser::new(port).get("/").expect("an answer").status, 200);
}

#[test]
fn a_port_that_somebody_chose_is_not_left_for_another() {
    let (dir, port, own) = (disk_dir(), free_port(), free_port().to_string());
    let chosen = free_port().to_string();
    let options = ["--app-port", &chosen, "--start-timeout", "8s"];
    let run = python(dir.path(), port, &options, &[("OWN_PORT", &own)]);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(1), "{output}");
    let last = output.lines().last().expect("a line");
    for words in [
        &*format!("nothing listens on port {chosen}; the app listens on 127.0.0.1:{own}"),
        &*format!("or give --app-port {own}"),
    ] {
        assert!(last.contains(words), "{last}");
    }
}

#[test]
fn an_app_on_a_unix_socket_is_told_so_during_the_wait() {
    let (dir, port) = (disk_dir(), free_port());
    let run = python(dir.path(), port, &[], &[("FAMILY", "u")]);
    run.line("listens");
    let wait = run.line("the app listens on the Unix socket");
    assert!(
        wait.contains("app.sock") && wait.contains("not on a Unix socket"),
        "{wait}"
    );
    run.signal(Signal::TERM);
    assert_eq!(run.end().0.code(), Some(0));
}

#[test]
fn an_app_that_answers_500_while_it_starts_is_named_during_the_wait() {
    let (dir, port) = (disk_dir(), free_port());
    let run = python(dir.path(), port, &[], &[("BROKEN_FOR", "4")]);
    let wait = run.line("the app is not healthy yet");
    assert!(
        wait.contains("it answered 500 Internal Server Error at /"),
        "{wait}"
    );
    run.line("app healthy");
}

#[test]
fn an_app_that_hangs_is_noticed_and_restarted() {
    let (dir, port) = (disk_dir(), free_port());
    let options = ["--response-timeout", "1s", "--hang-timeout", "4s"];
    let run = python(dir.path(), port, &options, &[]);
    run.line("app healthy");
    let browser = Browser::new(port);
    let first = browser.get("/").expect("an answer").body;
    assert_eq!(browser.get("/hang").expect("an answer").status, 504);
    wait_until("the page fails", || {
        let (status, page) = health(port);
        status == 503 && page["status"] == "failing" && page["parts"]["app"]["status"] == "failing"
    });
    run.line("the app hangs");
    run.nth_line("app healthy", 2);
    let second = browser.get("/").expect("an answer");
    assert_eq!(second.status, 200);
    assert_ne!(first, second.body);
    let (status, page) = health(port);
    assert_eq!(
        (status, &page["parts"]["app"]["status"]),
        (200, &"ok".into())
    );
    assert_eq!(page["parts"]["app"]["facts"]["hang_restarts"], 1);
}

#[test]
fn a_process_that_is_stopped_while_nobody_asks_is_noticed_by_the_first_request() {
    let (dir, port) = (disk_dir(), free_port());
    let options = ["--response-timeout", "1s", "--hang-timeout", "4s"];
    let run = python(dir.path(), port, &options, &[]);
    let started = run.line("app started");
    run.line("app healthy");
    let (_, pid) = started.split_once("pid=").expect("a pid");
    let pid = pid.split_whitespace().next().expect("a pid");
    let pid = rustix::process::Pid::from_raw(pid.parse().expect("a number")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("stopped");
    assert_eq!(Browser::new(port).get("/").expect("an answer").status, 504);
    run.line("the app hangs");
    run.nth_line("app healthy", 2);
}

#[test]
fn a_long_request_in_an_app_that_serves_one_at_a_time_is_no_hang() {
    let (dir, port) = (disk_dir(), free_port());
    let options = ["--response-timeout", "0s", "--hang-timeout", "12s"];
    let run = python(dir.path(), port, &options, &[("ONE_AT_A_TIME", "1")]);
    run.line("app healthy");
    // Twelve seconds and more, in which nothing but these two answers comes.
    let clients: Vec<_> = (0..2)
        .map(|_| {
            std::thread::spawn(move || Browser::new(port).get("/long").expect("an answer").status)
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().expect("no panic"), 200);
    }
    let output = run.output();
    assert!(!output.contains("the app hangs"), "{output}");
}

fn database(path: &Path) {
    let conn = Connection::open(path).expect("opened");
    conn.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (1)")
        .expect("written");
}

fn mode(path: &Path) -> String {
    let conn = Connection::open(path).expect("opened");
    conn.pragma_query_value(None, "journal_mode", |row| row.get(0))
        .expect("a mode")
}

#[test]
fn databases_are_put_in_wal_mode_once_and_not_where_that_is_not_wanted() {
    let (dir, port) = (disk_dir(), free_port());
    let (app, other) = (dir.path().join("app.sqlite3"), dir.path().join("other.db"));
    database(&app);
    database(&other);
    let off = python(dir.path(), port, &["--wal=false"], &[]);
    off.line("app healthy");
    off.signal(Signal::TERM);
    assert!(!off.end().1.contains("WAL"));
    assert_eq!(mode(&app), "delete");
    // One that the migration creates, too.
    let create =
        "python3 -c 'import sqlite3; sqlite3.connect(\"new.db\").execute(\"create table t(x)\")'";
    let on = python(dir.path(), port, &["--migrate", create], &[]);
    on.line("app healthy");
    on.signal(Signal::TERM);
    let (_, output) = on.end();
    assert_eq!(output.matches("put in WAL mode").count(), 3, "{output}");
    for path in [&app, &other, &dir.path().join("new.db")] {
        assert_eq!(mode(path), "wal", "{path:?}");
    }
    let again = python(dir.path(), port, &[], &[]);
    again.line("app healthy");
    again.signal(Signal::TERM);
    assert!(!again.end().1.contains("WAL mode"));
}

#[test]
fn a_database_in_wal_mode_since_this_start_is_replicated_whole() {
    let (dir, port) = (disk_dir(), free_port());
    database(&dir.path().join("app.sqlite3"));
    let replica = disk_dir();
    let url = replica.path().display().to_string();
    let run = python(dir.path(), port, &["--replica", &url], &[]);
    run.line("app healthy");
    let conn = Connection::open(dir.path().join("app.sqlite3")).expect("opened");
    conn.execute_batch("INSERT INTO t VALUES (2)")
        .expect("written");
    drop(conn);
    run.signal(Signal::TERM);
    let (status, output) = run.end();
    assert_eq!(status.code(), Some(0), "{output}");
    let restored = dir.path().join("restored.out");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_monolite"));
    command.args(["restore", "app.sqlite3", "--replica", &url, "--data"]);
    command.arg(dir.path()).arg("-o").arg(&restored);
    let outcome = monolite_testkit::Outcome::of(&mut command);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let conn = Connection::open(&restored).expect("opened");
    let rows: i64 = conn
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .expect("rows");
    assert_eq!(rows, 2);
}

#[test]
fn laravel_gets_an_empty_database_and_the_port_of_artisan() {
    let (dir, port) = (disk_dir(), free_port());
    std::fs::write(dir.path().join("artisan"), "").expect("written");
    let app = [
        "sh",
        "-c",
        "unset PORT; OWN_PORT=$SERVER_PORT exec python3 -c \"$APP\"",
    ];
    // As Laravel 8 does: "Database (…) does not exist".
    let options = ["--migrate", "test -f \"$DB_DATABASE\" && echo it is there"];
    let run = run(dir.path(), port, &options, &[("APP", APP)], &app);
    run.line("it is there");
    run.line("app healthy");
    assert!(!run.output().contains("listens on 127"), "{}", run.output());
}

#[test]
fn rails_is_not_stopped_by_the_process_id_file_of_an_earlier_life() {
    let (dir, port) = (disk_dir(), free_port());
    std::fs::create_dir_all(dir.path().join("bin")).expect("created");
    std::fs::write(dir.path().join("bin/rails"), "").expect("written");
    // As `rails server` does with a file that names a process which is alive.
    let app = [
        "sh",
        "-c",
        "test -e \"$PIDFILE\" && { echo already running; exit 1; }; echo 1 > \"$PIDFILE\"; exec python3 -c \"$APP\"",
    ];
    for _ in 0..2 {
        let run = run(dir.path(), port, &[], &[("APP", APP)], &app);
        run.line("app healthy");
        assert!(
            !run.output().contains("already running"),
            "{}",
            run.output()
        );
        // Also within one run.
        run.signal(Signal::USR2);
        run.nth_line("app healthy", 2);
        run.signal(Signal::KILL);
        wait_until("the app is gone", || Browser::new(port).get("/").is_err());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn check_names_the_journal_mode_and_the_sqlite_that_an_app_has_loaded() {
    let dir = disk_dir();
    let path = dir.path().join("app.sqlite3");
    database(&path);
    let check = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_monolite"));
        command.args(["check", "--json", "--allow", "persistent", "--data"]);
        command.arg(dir.path()).current_dir(dir.path());
        let outcome = monolite_testkit::Outcome::of(&mut command);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        serde_json::from_str::<serde_json::Value>(&outcome.out).expect("JSON")
    };
    let finding = |page: &serde_json::Value, name: &str| {
        let all = page["findings"].as_array().expect("a list").clone();
        all.into_iter()
            .find(|one| one["name"] == name)
            .expect("it is there")
    };
    let journal = finding(&check(), "journal");
    assert_eq!(journal["level"], "warn");
    assert!(
        journal["what"].to_string().contains("journal_mode=delete"),
        "{journal}"
    );
    // A process that holds the database open, and says which SQLite it has.
    let script = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\n\
                  c.execute('select * from t').fetchall()\n\
                  print('source', c.execute('select sqlite_source_id()').fetchone()[0], flush=True)\n\
                  sys.stdin.read()";
    let app = Process::start(
        "python3",
        ["-c", script, path.to_str().expect("text")],
        |command| {
            command.stdin(std::process::Stdio::piped());
        },
    );
    let source = app.line("source ");
    let day = source.split(' ').nth(1).expect("a day");
    let sqlite = finding(&check(), "sqlite");
    let what = sqlite["what"].as_str().expect("text");
    assert!(
        what.contains("`python3") && what.contains(&format!("source of {day}")),
        "{what}"
    );
    let is_old = day < "2026-03-03";
    assert_eq!(
        sqlite["level"],
        if is_old { "warn" } else { "pass" },
        "{sqlite}"
    );
}
