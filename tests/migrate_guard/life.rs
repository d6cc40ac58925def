//! The life of one `monolite migrate -- COMMAND`.

use monolite_testkit::{Process, Signal, wait_until};

use super::place::{Place, SQL, TRAP, ended, has};

#[test]
fn a_command_that_fails_passes_its_code_on() {
    let place = Place::with_blog();
    let (code, output) = place.guarded(&[], "DROP TABLE comments; SELECT * FROM no_such;");
    assert_eq!(code, 1, "{output}");
    has(
        &output,
        &[
            "no such table: no_such",
            "put back as it was",
            "`python3` exited with code 1",
        ],
    );
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
    let run = place.migrate(place.dir.path(), &[], &["sh", "-c", "exit 7"], "");
    let (code, output) = ended(run);
    assert_eq!(code, 7);
    has(&output, &["it had changed nothing"]);
    let run = place.migrate(place.dir.path(), &[], &["sh", "-c", "kill -9 $$"], "");
    assert_eq!(ended(run).0, 137);
    let run = place.migrate(place.dir.path(), &[], &["no-such-program"], "");
    let (code, output) = ended(run);
    assert_eq!(code, 1);
    has(&output, &["cannot start no-such-program"]);
    let run = place.migrate(place.dir.path(), &[], &[], "");
    let (code, output) = ended(run);
    assert_eq!(code, 2);
    has(&output, &["name a command after --"]);
    assert_eq!(place.kept().len(), 1, "that of the first");
}

#[test]
fn a_volume_without_a_database_needs_no_guard() {
    let place = Place::new();
    let (code, output) = place.guarded(&[], "CREATE TABLE t (x)");
    assert_eq!(code, 0, "{output}");
    has(&output, &["there was no database to guard yet"]);
    assert_eq!(place.number("SELECT count(*) FROM t"), 0);
}

#[test]
fn two_boots_at_once() {
    let place = Place::with_blog();
    let go = place.path("go");
    let go = go.to_str().unwrap();
    let script = "import sqlite3, os
c = sqlite3.connect(os.environ['DATABASE_PATH'])
if not c.execute(\"SELECT 1 FROM pragma_table_info('posts') WHERE name = 'slug'\").fetchall():
    c.execute('ALTER TABLE posts ADD COLUMN slug TEXT'); print('added')
else: print('nothing to do')";
    let first = place.migrate(
        place.dir.path(),
        &[],
        &["python3", "-c", SQL, go],
        "ALTER TABLE posts ADD COLUMN slug TEXT;",
    );
    first.line("ran");
    let second = place.migrate(place.dir.path(), &[], &["python3", "-c", script], "");
    let line = second.line("waiting for");
    assert!(
        line.contains(&format!("`python3` (pid {})", first.pid())),
        "{line}"
    );
    std::fs::write(go, "").unwrap();
    assert_eq!(ended(first).0, 0);
    let (code, output) = ended(second);
    assert_eq!(code, 0, "{output}");
    has(&output, &["nothing to do"]);
}

#[test]
fn a_signal_is_passed_on_and_the_database_put_back() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let place = Place::with_blog();
        let never = place.path("never");
        let command = [
            "python3",
            "-c",
            &format!("import signal; signal.signal(signal.SIGINT, signal.SIG_DFL){SQL}"),
            never.to_str().unwrap(),
        ];
        let run = place.migrate(place.dir.path(), &[], &command, "DELETE FROM comments;");
        run.line("ran");
        run.signal(signal);
        let (ended, output) = ended(run);
        assert_eq!(ended, code, "{output}");
        has(
            &output,
            &["put back as it was: app.sqlite3", "was killed by signal"],
        );
        assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
    }
    // Nor does one that ends with a zero, being asked to, count as done.
    let place = Place::with_blog();
    let never = place.path("never");
    let polite =
        format!("import os, signal; signal.signal(signal.SIGTERM, lambda *_: os._exit(0)){SQL}");
    let run = place.migrate(
        place.dir.path(),
        &[],
        &["python3", "-c", &polite, never.to_str().unwrap()],
        "DELETE FROM comments;",
    );
    run.line("ran");
    run.signal(Signal::TERM);
    let (code, output) = ended(run);
    assert_eq!(code, 1, "{output}");
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
}

#[test]
fn a_guard_that_is_killed_takes_its_command_along_and_the_next_puts_back() {
    let place = Place::with_blog();
    let never = place.path("never");
    let script = format!("import os; print('pid', os.getpid(), flush=True){SQL}");
    let run = place.migrate(
        place.dir.path(),
        &[],
        &["python3", "-c", &script, never.to_str().unwrap()],
        "DELETE FROM comments;",
    );
    run.line("ran");
    let pid = run.line("pid ").replace("pid ", "");
    run.signal(Signal::KILL);
    assert_eq!(ended(run).0, 137);
    wait_until("the command dies with it", || {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .map_or(true, |stat| stat.contains(") Z "))
    });
    assert_eq!(
        place.number("SELECT count(*) FROM comments"),
        0,
        "the test would prove nothing"
    );
    let (code, output) = place.guarded(&[], "ALTER TABLE posts ADD COLUMN slug TEXT;");
    assert_eq!(code, 0, "{output}");
    has(
        &output,
        &[
            "a migration (`python3`) was interrupted; put back as it was before: app.sqlite3",
            "what was there instead is in ",
        ],
    );
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
    assert_eq!(place.number("SELECT count(slug) FROM posts"), 0);
}

#[test]
fn files_are_applied_after_all_databases_of_an_interrupted_one_are_put_back() {
    let place = Place::with_blog();
    let never = place.path("never");
    let run = place.migrate(
        place.dir.path(),
        &[],
        &["python3", "-c", SQL, never.to_str().unwrap()],
        &format!(
            "DELETE FROM comments; ATTACH '{}' AS made; CREATE TABLE made.half (x);
             INSERT INTO made.half VALUES (1);",
            place.path("made.sqlite3").display()
        ),
    );
    run.line("ran");
    run.signal(Signal::KILL);
    ended(run);
    assert!(place.path("made.sqlite3").exists(), "nothing to set aside");
    let app = monolite_testkit::disk_dir();
    std::fs::create_dir(app.path().join("migrations")).unwrap();
    let file = app.path().join("migrations/0001_tags.sql");
    std::fs::write(file, "CREATE TABLE tags (name TEXT)").unwrap();
    let run = Process::start(
        env!("CARGO_BIN_EXE_monolite"),
        [
            "migrate",
            "up",
            "--database",
            "app.sqlite3",
            "--data",
            place.dir.path().to_str().unwrap(),
        ],
        |command| {
            command.current_dir(app.path()).env_remove("DATABASE_URL");
        },
    );
    let (code, output) = ended(run);
    assert_eq!(code, 0, "{output}");
    has(&output, &["was interrupted", "applied 0001_tags.sql"]);
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
    assert_eq!(place.number("SELECT count(*) FROM tags"), 0);
    // The migration had made it.
    assert!(!place.path("made.sqlite3").exists(), "{output}");
}

#[test]
fn an_interrupted_one_is_kept_if_that_is_wanted() {
    let place = Place::with_blog();
    let never = place.path("never");
    let run = place.migrate(
        place.dir.path(),
        &[],
        &["python3", "-c", SQL, never.to_str().unwrap()],
        "DELETE FROM comments WHERE id = 1;",
    );
    run.line("ran");
    run.signal(Signal::KILL);
    ended(run);
    let run = Process::start(
        env!("CARGO_BIN_EXE_monolite"),
        [
            "migrate",
            "--interrupted",
            "keep",
            "--data",
            place.dir.path().to_str().unwrap(),
        ],
        |_| {},
    );
    let (code, output) = ended(run);
    assert_eq!(code, 0, "{output}");
    has(&output, &["the databases stay as they are"]);
    assert_eq!(place.number("SELECT count(*) FROM comments"), 2);
    assert_eq!(place.guarded(&[], "SELECT 1;").0, 0);
    assert_eq!(place.number("SELECT count(*) FROM comments"), 2);
}

#[test]
fn nothing_is_begun_while_an_app_may_write() {
    let place = Place::with_blog();
    let never = place.path("never");
    let mut app = std::process::Command::new("python3")
        .args(["-c", SQL])
        .arg(&never)
        .env("DATABASE_PATH", place.path("app.sqlite3"))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = app.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    let (code, output) = place.guarded(&[], TRAP);
    assert_eq!(code, 1);
    has(
        &output,
        &["app.sqlite3 is open in `python3`", "monolite run --migrate"],
    );
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
    std::fs::write(never, "").unwrap();
    app.wait().unwrap();
}

#[test]
fn output_and_input_are_the_commands_own() {
    let place = Place::with_blog();
    let bytes = "é\u{1b}[1m bold \0 and no end of line";
    let script =
        "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()); sys.stderr.write('err')";
    let input = place.path("input");
    std::fs::write(&input, bytes).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_monolite"))
        .args(["migrate", "--data"])
        .arg(place.dir.path())
        .args(["--", "python3", "-c", script])
        .stdin(std::fs::File::open(&input).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, bytes.as_bytes());
    assert!(output.stderr.starts_with(b"err"));
}

#[test]
fn the_report_is_json_too_and_its_last_line() {
    let place = Place::with_blog();
    for (options, sql, verdict, code) in [
        (&["--json"][..], "CREATE TABLE more (x);", "accepted", 0),
        (&["--json"], TRAP, "rolled_back", 1),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_monolite"));
        std::fs::write(place.path("input.sql"), sql).unwrap();
        let output = command
            .args(["migrate", "--data"])
            .arg(place.dir.path())
            .args(options)
            .args(["--", "python3", "-c", SQL])
            .stdin(std::fs::File::open(place.path("input.sql")).unwrap())
            .output()
            .unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(code), "{out}");
        let (first, last) = out.trim_end().split_once('\n').unwrap();
        assert_eq!(first, "ran", "the command's own");
        let report: serde_json::Value = serde_json::from_str(last).unwrap();
        assert_eq!(
            (&report["verdict"], &report["exit_code"]),
            (&verdict.into(), &0.into())
        );
        assert_eq!(report["command"], "python3");
        assert_eq!(report["databases"], 1);
    }
}

#[test]
fn a_guard_in_a_guard_does_not_wait_for_itself() {
    let place = Place::with_blog();
    let own = env!("CARGO_BIN_EXE_monolite");
    let data = place.dir.path().to_str().unwrap();
    let command = [own, "migrate", "--data", data, "--", "python3", "-c", SQL];
    let run = place.migrate(place.dir.path(), &[], &command, TRAP);
    let (code, output) = ended(run);
    assert_eq!(code, 1, "{output}");
    has(&output, &["comments  all 3 rows"]);
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
}

#[test]
fn several_databases_and_no_caches() {
    let place = Place::with_blog();
    let other = || rusqlite::Connection::open(place.path("sub/other.db")).unwrap();
    std::fs::create_dir(place.path("sub")).unwrap();
    other()
        .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .unwrap();
    let cache = || rusqlite::Connection::open(place.path("cache.sqlite3")).unwrap();
    cache()
        .execute_batch("CREATE TABLE c (x); INSERT INTO c VALUES (1)")
        .unwrap();
    let script = "import sqlite3, sys
for name, sql in (('sub/other.db', 'DELETE FROM t'), ('cache.sqlite3', 'DELETE FROM c'), ('app.sqlite3', 'DELETE FROM comments WHERE id = 3')):
    c = sqlite3.connect(name); c.execute(sql); c.commit()";
    let run = place.migrate(place.dir.path(), &[], &["python3", "-c", script], "");
    let (code, output) = ended(run);
    assert_eq!(code, 1, "{output}");
    has(
        &output,
        &[
            "sub/other.db would have lost:\n  t  all 1 row\n",
            "  comments  1 of 3 rows\n",
            "put back as it was: app.sqlite3, sub/other.db",
        ],
    );
    let count = |conn: rusqlite::Connection, table: &str| -> i64 {
        conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
            row.get(0)
        })
        .unwrap()
    };
    assert_eq!(count(other(), "t"), 1);
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
    assert_eq!(count(cache(), "c"), 0, "it is made anew when it is lost");
}

/// On a volume that is too small for a snapshot nothing is begun.
#[test]
fn a_full_disk_is_found_before_the_command() {
    let place = Place::new();
    let mount = place.path("small");
    std::fs::create_dir(&mount).unwrap();
    let script = r#"
        mount -t tmpfs -o size=200m none "$PLACE" && cd "$PLACE" || exit 99
        python3 -c "import sqlite3; c = sqlite3.connect('app.sqlite3'); c.execute('CREATE TABLE t (x)')
c.execute('INSERT INTO t VALUES (zeroblob(130000000))'); c.commit()"
        "$MONOLITE" migrate --data "$PLACE" -- touch ran
        echo "code $?"; ls -A
    "#;
    let output = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .env("PLACE", &mount)
        .env("MONOLITE", env!("CARGO_BIN_EXE_monolite"))
        .output()
        .expect("unshare, of util-linux, is needed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    has(
        &text,
        &[
            "code 1\n",
            "no snapshot of app.sqlite3 can be taken, so the migration was not begun",
            "does not fit",
        ],
    );
    assert!(!text.contains("ran\n"), "{text}");
}

#[test]
fn settings_come_from_the_file_too() {
    let place = Place::with_blog();
    std::fs::write(
        place.path("monolite.toml"),
        "allow_loss = ['comments']\nmigrate = 'python3 -c \"import sqlite3; c = sqlite3.connect(\\\"app.sqlite3\\\"); c.execute(\\\"DROP TABLE comments\\\")\"'\n",
    )
    .unwrap();
    let run = Process::start(
        env!("CARGO_BIN_EXE_monolite"),
        ["migrate", "--data", place.dir.path().to_str().unwrap()],
        |command| {
            command.current_dir(place.dir.path());
        },
    );
    let (code, output) = ended(run);
    assert_eq!(code, 0, "{output}");
    has(
        &output,
        &["lost, as was allowed: comments, the table, with 3 rows"],
    );
    // What was allowed once and is gone is no reason to fail later.
    let (code, output) = place.guarded(&[], "SELECT 1;");
    assert_eq!(code, 0, "{output}");
    has(
        &output,
        &["allow-loss `comments` names nothing that is there"],
    );
}

/// A guard that dies takes only its child along: what that has started goes on,
/// and is ended by whoever comes next, before anything is put back.
#[test]
fn what_a_command_has_started_ends_before_the_judgement() {
    // By itself, if it does.
    let place = Place::with_blog();
    let later = "(sleep 1; python3 -c \"import os, sqlite3; c = sqlite3.connect(os.environ['DATABASE_PATH']); c.execute('DELETE FROM comments'); c.commit()\") & exit 0";
    let run = place.migrate(place.dir.path(), &[], &["sh", "-c", later], "");
    let (code, output) = ended(run);
    assert_eq!(code, 1, "{output}");
    has(&output, &["comments  all 3 rows", "put back as it was"]);
    assert_eq!(place.number("SELECT count(*) FROM comments"), 3);
    // Else it is asked to.
    let daemon = "setsid sh -c 'echo pid $$; exec sleep 1000' & sleep 0.2; exit 0";
    let run = place.migrate(place.dir.path(), &[], &["sh", "-c", daemon], "");
    let pid = run.line("pid ").replace("pid ", "");
    let (code, output) = ended(run);
    assert_eq!(code, 0, "{output}");
    has(
        &output,
        &[
            "what the command had left running was ended",
            "`sleep` (pid ",
        ],
    );
    assert!(!std::path::Path::new(&format!("/proc/{}", pid.trim())).exists());
}

/// Two steps of a script below a shell, of which only the first is made.
const STEPS: &str = "
import os, sqlite3, time
c = sqlite3.connect(os.environ['DATABASE_PATH'], isolation_level=None)
c.execute('CREATE TABLE step1 (x)')
print('one', flush=True)
time.sleep(2)
c.execute('CREATE TABLE step2 (x)')
";

#[test]
fn a_signal_reaches_all_that_the_command_has_started() {
    let place = Place::with_blog();
    let script = place.path("steps.py");
    std::fs::write(&script, STEPS).unwrap();
    let line = format!("python3 {} && echo done", script.display());
    let run = place.migrate(place.dir.path(), &[], &["sh", "-c", &line], "");
    run.line("one");
    run.signal(Signal::TERM);
    let (code, output) = ended(run);
    assert_eq!(code, 143, "{output}");
    has(&output, &["put back as it was: app.sqlite3"]);
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(
        place.number("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'step%'"),
        0
    );
}

#[test]
fn what_outlived_a_guard_is_ended_before_anything_is_put_back() {
    let place = Place::with_blog();
    let script = place.path("steps.py");
    std::fs::write(&script, STEPS.replace("sleep(2)", "sleep(1000)")).unwrap();
    let line = format!("python3 {} && echo done", script.display());
    let run = place.migrate(place.dir.path(), &[], &["sh", "-c", &line], "");
    run.line("one");
    run.signal(Signal::KILL);
    // Its output is open in what goes on; so it is not waited for.
    let (code, output) = place.guarded(&[], "SELECT 1;");
    assert_eq!(code, 0, "{output}");
    has(
        &output,
        &[
            "what `sh` had left running was ended: `python3` (pid ",
            "put back as it was before",
        ],
    );
    assert_eq!(
        place.number("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'step%'"),
        0
    );
    ended(run);
}

#[test]
fn a_database_elsewhere_is_not_passed_over_in_silence() {
    let (place, elsewhere) = (Place::new(), Place::with_blog());
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('DELETE FROM comments'); c.commit()";
    let outside = elsewhere.path("app.sqlite3");
    let command = ["python3", "-c", script, outside.to_str().unwrap()];
    let (code, output) = ended(place.migrate(place.dir.path(), &[], &command, ""));
    assert_eq!(code, 0, "{output}");
    has(&output, &["NOTHING WAS GUARDED"]);
    // By a link in the volume it would be put back across its border.
    elsewhere.sql("INSERT INTO comments VALUES (1, 'again', 1)");
    std::os::unix::fs::symlink(&outside, place.path("app.sqlite3")).unwrap();
    let (code, output) = ended(place.migrate(place.dir.path(), &[], &command, ""));
    assert_eq!(code, 1, "{output}");
    has(&output, &["outside of the data directory", "--data"]);
    assert_eq!(elsewhere.number("SELECT count(*) FROM comments"), 1);
}
