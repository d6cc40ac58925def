//! The driver lane under `monolite run`: by itself where it is known to be needed, suggested where
//! the app says "locked", and not there when it is switched off.

use std::time::Duration;

use monolite_testkit::shop::{Shop, answers, counted, load, make_database};
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
