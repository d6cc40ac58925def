//! The migrate command of `monolite run`: requests wait, and the app starts on
//! a database that has lost nothing, or not at all.

use monolite_testkit::{Browser, Process, Signal, disk_dir, free_port, wait_until};

use super::place::{Place, SQL, TRAP, ended, has};

const APP: &str = "
import http.server, os, sqlite3
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        c = sqlite3.connect(os.environ['DATABASE_PATH'])
        body = str(c.execute('SELECT count(*) FROM comments').fetchone()[0]).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
print('app: begins', flush=True)
http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()
";

/// `run` with a migrate command of this SQL, which then waits for the file
/// `go` in the volume.
fn run(place: &Place, port: u16, options: &[&str], sql: &str) -> Process {
    let (input, script) = (place.path("migrate.sql"), place.path("migrate.py"));
    std::fs::write(&input, sql).unwrap();
    std::fs::write(&script, SQL).unwrap();
    let migrate = format!(
        "exec python3 {} {} < {}",
        script.display(),
        place.path("go").display(),
        input.display()
    );
    run_with(place, port, options, &migrate)
}

fn run_with(place: &Place, port: u16, options: &[&str], migrate: &str) -> Process {
    let mut with_migrate = options.to_vec();
    if !migrate.is_empty() {
        with_migrate.extend(["--migrate", migrate]);
    }
    let binary = env!("CARGO_BIN_EXE_monolite");
    let app = ["python3", "-c", APP];
    Process::serve(binary, place.dir.path(), port, &with_migrate, &app, |_| {})
}

fn go(place: &Place) {
    std::fs::write(place.path("go"), "").unwrap();
}

#[test]
fn requests_wait_for_a_migration_that_is_judged_first() {
    let (place, port) = (Place::with_blog(), free_port());
    let run = run(&place, port, &[], "ALTER TABLE posts ADD COLUMN slug TEXT;");
    run.line("ran");
    let answer = std::thread::spawn(move || Browser::new(port).get("/"));
    assert!(!run.output().contains("app: begins"));
    go(&place);
    let answer = answer.join().unwrap().expect("held, then answered");
    assert_eq!((answer.status, answer.body.as_str()), (200, "3"));
    has(
        &run.output(),
        &["migrating; requests wait", "databases=1", "migrated"],
    );
    run.signal(Signal::TERM);
    assert_eq!(ended(run).0, 0);
    assert!(place.kept().is_empty());
}

#[test]
fn a_loss_stops_the_run_and_is_put_back() {
    let (place, port) = (Place::with_blog(), free_port());
    go(&place);
    let (code, output) = ended(run(&place, port, &[], TRAP));
    assert_eq!(code, 1, "{output}");
    has(
        &output,
        &[
            "app.sqlite3 would have lost:",
            "  comments  all 3 rows",
            "--allow-loss rows:comments",
            "put back as it was: app.sqlite3",
            "took away what nobody allowed; the app was not started",
        ],
    );
    assert!(!output.contains("app: begins"), "{output}");
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
    let run = run(&place, port, &["--allow-loss=rows:comments"], TRAP);
    run.line("app healthy");
    has(&run.output(), &["lost, as was allowed"]);
    run.signal(Signal::TERM);
    assert_eq!(ended(run).0, 0);
    assert_eq!(place.number("SELECT count(*) FROM comments"), 0);
}

/// Who alerts on the log reads each line as JSON.
#[test]
fn among_lines_of_json_a_loss_is_one_such_line() {
    let (place, port) = (Place::with_blog(), free_port());
    go(&place);
    let (code, output) = ended(run(&place, port, &["--log", "json"], TRAP));
    assert_eq!(code, 1, "{output}");
    let of_the_log = output.lines().filter(|line| *line != "ran");
    let lines: Vec<serde_json::Value> = of_the_log
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let last = lines.last().expect("a line");
    assert_eq!(last["level"], "ERROR");
    assert_eq!(last["migration"]["verdict"], "rolled_back");
    let loss = &last["migration"]["reports"][0]["losses"][0];
    assert_eq!(
        (&loss["kind"], &loss["count"]),
        (&"rows".into(), &3.into()),
        "{loss}"
    );
}

#[test]
fn a_command_that_fails_is_put_back_with_its_code() {
    let (place, port) = (Place::with_blog(), free_port());
    go(&place);
    let (code, output) = ended(run(
        &place,
        port,
        &[],
        "DELETE FROM comments; SELECT * FROM no_such;",
    ));
    assert_eq!(code, 1, "{output}");
    has(
        &output,
        &[
            "comments  all 3 rows",
            "put back as it was",
            "exited with code 1; the app was not started",
        ],
    );
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
}

#[test]
fn a_stop_during_the_migration_puts_back() {
    let (place, port) = (Place::with_blog(), free_port());
    let run = run(&place, port, &[], "DELETE FROM comments;");
    run.line("ran");
    run.signal(Signal::TERM);
    let (code, output) = ended(run);
    assert_eq!(code, 143, "{output}");
    has(
        &output,
        &[
            "stopped during the migration",
            "put back as it was before the migration",
        ],
    );
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
}

#[test]
fn a_run_that_was_killed_is_put_back_by_the_next_with_or_without_a_command() {
    for again in ["", "true"] {
        let (place, port) = (Place::with_blog(), free_port());
        let killed = run(&place, port, &[], "DELETE FROM comments;");
        killed.line("ran");
        killed.signal(Signal::KILL);
        ended(killed);
        assert_eq!(
            place.number("SELECT count(*) FROM comments"),
            0,
            "the test would prove nothing"
        );
        let run = run_with(&place, port, &[], again);
        run.line("app healthy");
        has(
            &run.output(),
            &["was interrupted; put back as it was before: app.sqlite3"],
        );
        let answer = Browser::new(port).get("/").unwrap();
        assert_eq!(answer.body, "3");
        run.signal(Signal::TERM);
        assert_eq!(ended(run).0, 0);
    }
}

#[test]
fn the_replica_follows_what_is_put_back() {
    let (place, port, replica) = (Place::with_blog(), free_port(), disk_dir());
    let options = format!("--replica={}", replica.path().display());
    let options = [options.as_str(), "--sync-interval=50ms"];
    let whole = "VACUUM; CREATE TABLE filler (x); INSERT INTO filler SELECT randomblob(100000) FROM comments;";
    place.sql(whole);
    // Stored as it was, and as the migration makes it, before that is judged.
    let first = run(
        &place,
        port,
        &options,
        &format!("{TRAP} DROP TABLE filler;"),
    );
    first.line("ran");
    go(&place);
    let (code, output) = ended(first);
    assert_eq!(code, 1, "{output}");
    has(&output, &["comments  all 3 rows", "put back as it was"]);
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
    let restored = disk_dir();
    let file = restored.path().join("restored.sqlite3");
    let (code, output) = ended(Process::start(
        env!("CARGO_BIN_EXE_monolite"),
        [
            "restore",
            "app.sqlite3",
            "--replica",
            replica.path().to_str().unwrap(),
            "-o",
            file.to_str().unwrap(),
            "--data",
            place.dir.path().to_str().unwrap(),
        ],
        |_| {},
    ));
    assert_eq!(code, 0, "{output}");
    let restored = rusqlite::Connection::open(file).unwrap();
    let comments = "SELECT count(*) FROM comments, (SELECT count(*) AS n FROM filler) WHERE n = 3";
    let count: i64 = restored.query_row(comments, [], |row| row.get(0)).unwrap();
    assert_eq!(count, 3);
    // The next one goes on from there.
    let run = run_with(&place, port, &options, "");
    run.line("app healthy");
    place.sql("INSERT INTO comments VALUES (9, 'new', 1)");
    run.signal(Signal::TERM);
    let (code, output) = ended(run);
    assert_eq!(code, 0, "{output}");
}

#[test]
fn what_a_failed_migration_made_does_not_come_back_from_the_replica() {
    let (place, port, replica) = (Place::with_blog(), free_port(), disk_dir());
    let options = format!("--replica={}", replica.path().display());
    let options = [options.as_str(), "--sync-interval=50ms"];
    std::fs::write(
        place.path("make.py"),
        "import sqlite3\nc = sqlite3.connect('other.sqlite3')
c.execute('PRAGMA journal_mode = WAL'); c.execute('CREATE TABLE t (x)'); c.commit()",
    )
    .unwrap();
    let migrate = "python3 make.py; while [ ! -e go ]; do sleep 0.02; done; exit 7";
    let failing = run_with(&place, port, &options, migrate);
    let stored = replica.path().join("other.sqlite3");
    wait_until("the new database is stored", || {
        stored.exists() && std::fs::read_dir(&stored).is_ok_and(|files| files.count() > 0)
    });
    go(&place);
    let (code, output) = ended(failing);
    assert_eq!(code, 7, "{output}");
    has(&output, &["databases it had made are in "]);
    assert!(!place.path("other.sqlite3").exists());
    let run = run_with(&place, port, &options, "");
    run.line("app healthy");
    assert!(!place.path("other.sqlite3").exists(), "{}", run.output());
    run.signal(Signal::TERM);
    assert_eq!(ended(run).0, 0);
}
