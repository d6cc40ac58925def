//! What the write lane is for, shown on an app that needs it.

use std::thread;
use std::time::{Duration, Instant};

use monolite_testkit::{Browser, Process, Signal, disk_dir, free_port, provided, root};
use rusqlite::Connection;
use serde_json::{Value, json};

const CLIENTS: usize = 10;
const ENTRIES_EACH: usize = 40;
/// Without the lane a client is overtaken again and again; it gives up never
/// in practice, and here before the test hangs.
const TRIES: usize = 10_000;

/// One run of the app under its load.
struct Run {
    /// Each answer, 200 or not.
    answers: Vec<Duration>,
    /// Each entry, from its first try until it was stored.
    entries: Vec<Duration>,
    /// Answers that were 500 or above.
    errors: usize,
}

impl Run {
    fn of(options: &[&str]) -> Self {
        let (data, port) = (disk_dir(), free_port());
        let gunicorn = provided("MONOLITE_TEST_DJANGO").join("bin/gunicorn");
        let gunicorn = gunicorn.display().to_string();
        let binary = env!("CARGO_BIN_EXE_monolite");
        let app = [
            &gunicorn,
            "--workers=2",
            "--worker-class=gthread",
            "--threads=5",
            "--bind=127.0.0.1:$PORT",
            "app:app",
        ];
        let run = Process::serve(binary, data.path(), port, options, &app, |command| {
            command
                .current_dir(root().join("tests/fixtures/clumsy"))
                .env("PYTHONDONTWRITEBYTECODE", "1");
        });
        run.line("app healthy");

        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| thread::spawn(move || load(client, port)))
            .collect();
        let mut all = Self {
            answers: Vec::new(),
            entries: Vec::new(),
            errors: 0,
        };
        for client in clients {
            let one = client.join().expect("every entry was stored in the end");
            all.answers.extend(one.answers);
            all.entries.extend(one.entries);
            all.errors += one.errors;
        }
        all.answers.sort();
        all.entries.sort();

        run.signal(Signal::TERM);
        let (status, output) = run.end();
        assert_eq!(status.code(), Some(0), "{output}");
        let file = data.path().join("app.sqlite3");
        let db = Connection::open(file).expect("the app's database");
        let number = |sql: &str| -> usize {
            let number: i64 = db.query_row(sql, [], |row| row.get(0)).expect(sql);
            number.try_into().expect(sql)
        };
        // Clumsy, but not wrong: SQLite sees to that, with or without us.
        let stored = CLIENTS * ENTRIES_EACH;
        assert_eq!(number("SELECT value FROM counter"), stored);
        assert_eq!(number("SELECT count(*) FROM entry"), stored);
        assert_eq!(number("SELECT count(DISTINCT what) FROM entry"), stored);
        assert_eq!(number("SELECT count(DISTINCT value) FROM entry"), stored);
        assert_eq!(all.answers.len() - all.errors, stored);
        all
    }

    /// The share of the answers that were errors, in percent.
    fn error_share(&self) -> f64 {
        self.errors as f64 * 100.0 / self.answers.len() as f64
    }
}

/// One client: stores its entries one by one, each until it is stored.
fn load(client: usize, port: u16) -> Run {
    let browser = Browser::new(port);
    let mut run = Run {
        answers: Vec::new(),
        entries: Vec::new(),
        errors: 0,
    };
    for n in 0..ENTRIES_EACH {
        let what = format!("{client}-{n}");
        let begun = Instant::now();
        let stored = (0..TRIES).any(|_| {
            let asked = Instant::now();
            let answer = browser.post("/", &[("what", &what)]).expect("an answer");
            run.answers.push(asked.elapsed());
            match answer.status {
                200 => return true,
                // Nothing else is the app's clumsiness.
                500 if answer.body == "database is locked" => run.errors += 1,
                other => panic!("{other}: {}", answer.body),
            }
            false
        });
        assert!(stored, "{what} was refused {TRIES} times");
        run.entries.push(begun.elapsed());
    }
    run
}

fn ms(sorted: &[Duration], percent: usize) -> f64 {
    let last = sorted.len() - 1;
    // A hundredth of a millisecond is exact enough.
    (sorted[last * percent / 100].as_secs_f64() * 1e5).round() / 1e2
}

fn row(case: &str, unit: &str, ours: f64, peer: f64) -> Value {
    // No ratio to nothing.
    let ratio = (peer > 0.0).then(|| ours / peer);
    let peer_name = "without the lane";
    json!({ "case": case, "unit": unit, "ours": ours, "peer_name": peer_name, "peer": peer, "ratio": ratio })
}

#[test]
fn the_write_lane_keeps_a_clumsy_apps_writers_from_each_other() {
    let without = Run::of(&[]);
    let with = Run::of(&["--write-concurrency", "1"]);
    for (name, run) in [("without the lane", &without), ("with the lane", &with)] {
        println!(
            "{name}: answers p50 {} ms, p99 {} ms, max {} ms, {:.1} % of {} were errors; \
             until an entry is stored p50 {} ms, p99 {} ms, max {} ms",
            ms(&run.answers, 50),
            ms(&run.answers, 99),
            ms(&run.answers, 100),
            run.error_share(),
            run.answers.len(),
            ms(&run.entries, 50),
            ms(&run.entries, 99),
            ms(&run.entries, 100),
        );
    }
    let mut rows = Vec::new();
    for (percent, name) in [(50, "p50"), (99, "p99"), (100, "max")] {
        for (what, ours, peer) in [
            ("an answer", &with.answers, &without.answers),
            ("until stored", &with.entries, &without.entries),
        ] {
            let case = format!("clumsy app, {what}, {name}");
            rows.push(row(&case, "ms", ms(ours, percent), ms(peer, percent)));
        }
    }
    rows.push(row(
        "clumsy app, answers that are 5xx",
        "%",
        with.error_share(),
        without.error_share(),
    ));
    let file = root().join("target/bench/lane.json");
    std::fs::create_dir_all(file.parent().expect("a directory")).expect("a place for results");
    let text = serde_json::to_string_pretty(&rows).expect("plain numbers");
    std::fs::write(&file, text + "\n").expect("the results are written");

    assert!(without.errors > 0, "the app is not clumsy");
    assert_eq!(with.errors, 0, "the lane let two writers in");
}
