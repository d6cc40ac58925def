//! Real apps with what hurts (`tests/fixtures/apps`), unmodified, each on its own server: with the
//! lane no answer is 5xx, nothing is lost, and no log says "locked".

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod common;

use std::time::Duration;

use common::{Site, With};
use monolite_testkit::shop::{Loaded, Shop, answers, counted, load, make_database};
use monolite_testkit::{Process, Signal, free_port, wait_until};

const CLIENTS: usize = 10;
const DURATION: Duration = Duration::from_secs(4);

/// The load, what the database holds after it, and all that the app has printed.
fn run(shop: Shop, with: With, journal_mode: &str) -> (Loaded, [usize; 4], String) {
    let site = Site::empty();
    let (database, port) = (site.database(), free_port());
    make_database(&database, journal_mode);
    let command = shop.command(&port.to_string());
    let app = Process::start(&command[0], &command[1..], |command| {
        command
            .current_dir(shop.dir())
            .env("PORT", port.to_string());
        command.envs(shop.variables(Some(&database)));
        if with == With::Lane {
            command.envs(site.lane.variables(|name| std::env::var_os(name)));
        }
    });
    wait_until("the app answers", || answers(port));
    let loaded = load(port, CLIENTS, DURATION);
    // Jobs that are still under way.
    let mut last = counted(&database);
    wait_until("its jobs are done", || {
        std::thread::sleep(Duration::from_millis(300));
        let now = counted(&database);
        std::mem::replace(&mut last, now) == now
    });
    app.signal(Signal::TERM);
    let output = app.end().1;
    println!(
        "{shop:?} {with:?} {journal_mode}: {:.0} a second, {} failed, p99 {:?}; {:?}",
        loaded.per_second(),
        loaded.failed,
        loaded.quantile(0.99),
        site.counted(),
    );
    (loaded, counted(&database), output)
}

fn check(shop: Shop) {
    for journal_mode in ["wal", "delete"] {
        let (loaded, [posts, counter, jobs, seen], output) = run(shop, With::Lane, journal_mode);
        assert_eq!(loaded.failed, 0, "{journal_mode}: {output}");
        assert!(
            !output.contains("locked") && !output.contains("BUSY"),
            "{journal_mode}: {output}"
        );
        assert!(loaded.good > 20, "{loaded:?}");
        assert_eq!(
            [posts, counter, jobs],
            [loaded.posts; 3],
            "{journal_mode}: {output}"
        );
        assert_eq!(seen, loaded.seen, "{journal_mode}");
    }
}

#[test]
fn rails() {
    check(Shop::Rails);
}

#[test]
fn django() {
    check(Shop::Django);
}

#[test]
fn flask_with_sqlalchemy() {
    check(Shop::Flask);
}

#[test]
fn express_with_better_sqlite3() {
    check(Shop::Node);
}

#[test]
fn php_with_pdo() {
    check(Shop::Php);
}

/// So that the tests above can fail.
#[test]
fn without_the_lane_each_of_them_fails() {
    for shop in Shop::ALL {
        let (loaded, counted, output) = run(shop, With::Nothing, "wal");
        let jobs_lost = counted[2] < loaded.posts;
        assert!(
            loaded.failed > 0 || jobs_lost,
            "{shop:?}: {loaded:?} {output}"
        );
    }
}
