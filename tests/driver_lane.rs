//! The driver lane under `monolite run`: by itself where it is known to be needed, suggested where
//! the app says "locked", and not there when it is switched off.

use std::time::Duration;

use monolite_testkit::shop::{Loaded, Shop, answers, counted, load, make_database};
use monolite_testkit::{Process, Signal, disk_dir, free_port, wait_until};
use tempfile::TempDir;

const CLIENTS: usize = 10;
const DURATION: Duration = Duration::from_secs(4);

struct Site {
    run: Process,
    port: u16,
    data: TempDir,
}

impl Site {
    fn start(shop: Shop, options: &[&str]) -> Self {
        let (data, port) = (disk_dir(), free_port());
        make_database(&data.path().join("app.sqlite3"), "wal");
        let app = shop.command("$PORT");
        let app: Vec<_> = app.iter().map(String::as_str).collect();
        let binary = env!("CARGO_BIN_EXE_monolite");
        let run = Process::serve(binary, data.path(), port, options, &app, |command| {
            command.current_dir(shop.dir()).envs(shop.variables(None));
        });
        run.line("app healthy");
        wait_until("it answers", || answers(port));
        Self { run, port, data }
    }

    /// All that was printed.
    fn stop(self) -> (TempDir, String) {
        self.run.signal(Signal::TERM);
        (self.data, self.run.end().1)
    }
}

fn serves_without_a_locked(shop: Shop, options: &[&str]) {
    let site = Site::start(shop, options);
    site.run.line("driver lane: the app's SQLite drivers begin");
    let loaded = load(site.port, CLIENTS, DURATION);
    let database = site.data.path().join("app.sqlite3");
    wait_until("its jobs are done", || {
        counted(&database)[2] == loaded.posts
    });
    let (data, output) = site.stop();
    assert!(
        loaded.failed == 0 && loaded.good > 20,
        "{loaded:?} {output}"
    );
    assert!(
        !output.contains("locked`:") && !output.contains("is locked"),
        "{output}"
    );
    let [posts, counter, _, seen] = counted(&data.path().join("app.sqlite3"));
    assert_eq!(
        [posts, counter, seen],
        [loaded.posts, loaded.posts, loaded.seen]
    );
}

#[test]
fn rails_and_django_have_it_by_themselves() {
    for shop in [Shop::Rails, Shop::Django] {
        serves_without_a_locked(shop, &[]);
    }
}

#[test]
fn another_app_has_it_if_it_is_set() {
    serves_without_a_locked(Shop::Flask, &["--driver-lane=on"]);
}

#[test]
fn it_is_suggested_when_the_app_says_locked_and_is_not_there_when_it_is_off() {
    let site = Site::start(Shop::Flask, &[]);
    load(site.port, CLIENTS, DURATION);
    let line = site.run.line("the app has printed `database is locked`");
    assert!(line.contains("Set --driver-lane on"), "{line}");
    let (_data, output) = site.stop();
    assert!(!output.contains("driver lane: the app's"), "{output}");
    assert_eq!(
        output.matches("the app has printed").count(),
        1,
        "said once"
    );

    let site = Site::start(Shop::Django, &["--driver-lane=off"]);
    load(site.port, CLIENTS, DURATION);
    let (_data, output) = site.stop();
    assert!(
        !output.contains("driver lane") && !output.contains("the app has printed"),
        "{output}"
    );
}

/// How an app is served in the measurement.
const WAYS: [(&str, Option<&[&str]>); 4] = [
    ("bare", None),
    ("monolite, no lane", Some(&["--driver-lane=off"])),
    (
        "write lane",
        Some(&["--driver-lane=off", "--write-concurrency=1"]),
    ),
    ("driver lane", Some(&["--driver-lane=on"])),
];

/// The apps bare, under `run`, with the write lane and with the driver lane, interleaved.
#[test]
#[ignore = "a measurement, for `cargo xtask bench apps`"]
fn measure() {
    const ROUNDS: usize = 3;
    let load_average = || std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load average at the start: {}", load_average());
    println!("| app | way | requests/s | failed of all | lost jobs | p50 ms | p99 ms |");
    println!("|---|---|---|---|---|---|---|");
    for shop in Shop::ALL {
        let mut cells = vec![[const { Vec::new() }; 5]; WAYS.len()];
        for _ in 0..ROUNDS {
            for ((_, options), cells) in WAYS.iter().zip(&mut cells) {
                let (loaded, lost) = match options {
                    None => bare(shop),
                    Some(options) => under_run(shop, options),
                };
                let ms = |share| format!("{:.0}", loaded.quantile(share).as_secs_f64() * 1000.0);
                let all = loaded.good + loaded.failed;
                cells[0].push(format!("{:.0}", loaded.per_second()));
                cells[1].push(format!(
                    "{:.1} %",
                    100.0 * loaded.failed as f64 / all as f64
                ));
                cells[2].push(lost.to_string());
                cells[3].push(ms(0.5));
                cells[4].push(ms(0.99));
            }
        }
        for ((way, _), cells) in WAYS.iter().zip(&cells) {
            let cells = cells.each_ref().map(|rounds| rounds.join(", ")).join(" | ");
            println!("| {shop:?} | {way} | {cells} |");
        }
    }
    println!("load average at the end: {}", load_average());
}

/// A load, and how many jobs did not do their work.
fn measured(port: u16, database: &std::path::Path) -> (Loaded, usize) {
    let loaded = load(port, CLIENTS, DURATION);
    let mut last = counted(database);
    wait_until("its jobs have ended", || {
        std::thread::sleep(Duration::from_secs(1));
        let now = counted(database);
        std::mem::replace(&mut last, now) == now
    });
    let lost = loaded.posts.saturating_sub(last[2]);
    (loaded, lost)
}

fn bare(shop: Shop) -> (Loaded, usize) {
    let (data, port) = (disk_dir(), free_port());
    let database = data.path().join("app.sqlite3");
    make_database(&database, "wal");
    let command = shop.command(&port.to_string());
    let app = Process::start(&command[0], &command[1..], |command| {
        command
            .current_dir(shop.dir())
            .env("PORT", port.to_string());
        command.envs(shop.variables(Some(&database)));
    });
    wait_until("it answers", || answers(port));
    let measured = measured(port, &database);
    app.signal(Signal::TERM);
    app.end();
    measured
}

fn under_run(shop: Shop, options: &[&str]) -> (Loaded, usize) {
    let site = Site::start(shop, options);
    let measured = measured(site.port, &site.data.path().join("app.sqlite3"));
    site.stop();
    measured
}
