//! Recurring jobs with many processes.

use std::collections::HashSet;

use super::check::check_the_end;
use super::fixture::{Fixture, Process, SECOND, ms, number};
use super::worker::Config;

const RUNS_FOR_MS: u64 = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tick_fires_once_with_four_processes_that_are_killed() {
    let fixture = Fixture::new();
    let _jobs = fixture.jobs().await;
    let conn = fixture.conn();
    // Notes every tick in the very transaction that fires it.
    conn.execute_batch(
        "CREATE TABLE tick (at INTEGER, next INTEGER, newest_job INTEGER);
         CREATE TRIGGER note_tick AFTER UPDATE OF last_at ON _monolite_job_cron BEGIN
             INSERT INTO tick VALUES (new.last_at, new.next_at,
                 (SELECT max(id) FROM _monolite_job));
         END",
    )
    .unwrap();
    let config = |name: usize| Config {
        lease_ms: 1000,
        max_crashes: 1000,
        cron: Some(("every second".into(), "* * * * * *".into(), 7)),
        ..fixture.config(&format!("w{name}"))
    };
    let mut workers: Vec<Process> = (0..4).map(|n| Process::start(&config(n))).collect();
    fixture.wait_start(7, 20 * SECOND);
    let mut passed = 0;
    for name in 4.. {
        let pause = fastrand::u64(100..900);
        std::thread::sleep(ms(pause));
        passed += pause;
        if passed > RUNS_FOR_MS {
            break;
        }
        let victim = fastrand::usize(0..workers.len());
        workers.remove(victim).kill();
        workers.push(Process::start(&config(name)));
    }
    for worker in workers {
        worker.terminate(10 * SECOND);
    }
    let sweeper = fixture.worker(&Config {
        cron: None,
        ..config(999)
    });
    conn.execute("DELETE FROM _monolite_job_cron", []).unwrap();
    fixture.drained(20 * SECOND);
    std::thread::sleep(ms(1500));
    sweeper.terminate(10 * SECOND);
    check_the_end(&conn);

    let mut statement = conn
        .prepare("SELECT at, next, newest_job FROM tick ORDER BY rowid")
        .unwrap();
    let ticks = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let ticks: Vec<(i64, i64, i64)> = ticks.unwrap().map(Result::unwrap).collect();
    let times: HashSet<_> = ticks.iter().map(|tick| tick.0).collect();
    assert_eq!(times.len(), ticks.len(), "a tick fired twice: {ticks:?}");
    for pair in ticks.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "ticks not in a row: {ticks:?}");
    }
    let jobs: HashSet<_> = ticks.iter().map(|tick| tick.2).collect();
    assert_eq!(jobs.len(), ticks.len(), "each tick has its job");
    let all = number(&conn, "SELECT count(*) FROM _monolite_job");
    assert_eq!(all, ticks.len() as i64, "and there are no others");
    // Late ones are merged: then there are fewer, but not many fewer.
    assert!(ticks.len() as u64 >= RUNS_FOR_MS / 1000 / 2, "{ticks:?}");
}
