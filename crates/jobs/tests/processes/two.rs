//! Two processes on one queue.

use std::collections::HashMap;

use super::check::{check_invariants, check_the_end};
use super::fixture::{Fixture, SECOND, ms, number, prepare, task};
use super::worker::{Config, Task};

const RUNS_FOR_SECONDS: u64 = 60;
const LEASE_MS: u64 = 2000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_starts_twice_within_its_lease() {
    let fixture = Fixture::new();
    let jobs = fixture.jobs().await;
    let conn = fixture.conn();
    // Every claim ever made, by whom and of what.
    conn.execute_batch(
        "CREATE TABLE claimed (worker INTEGER, jobs TEXT);
         CREATE TRIGGER note_claim AFTER INSERT ON _monolite_job_claim BEGIN
             INSERT INTO claimed VALUES (new.worker, new.jobs);
         END",
    )
    .unwrap();
    let config = |name: &str| Config {
        lease_ms: LEASE_MS,
        max_crashes: 1000,
        ..fixture.config(name)
    };
    let workers = ["a", "b"].map(|name| fixture.worker(&config(name)));
    let begun = std::time::Instant::now();
    let mut n = 0;
    let mut round = 0;
    while begun.elapsed().as_secs() < RUNS_FOR_SECONDS {
        round += 1;
        let mut many = Vec::new();
        for _ in 0..fastrand::u64(1..30) {
            n += 1;
            let job = Task {
                ms: match fastrand::u32(0..100) {
                    0 => LEASE_MS * 3 / 2, // Only renewals keep it.
                    1..30 => fastrand::u64(0..50),
                    _ => 0,
                },
                ..task(n)
            };
            many.push(prepare(&job));
        }
        jobs.push_many(many).await.unwrap();
        tokio::time::sleep(ms(fastrand::u64(0..100))).await;
        if round % 100 == 0 {
            check_invariants(&conn);
        }
    }
    fixture.drained(60 * SECOND);
    for worker in workers {
        worker.terminate(10 * SECOND);
    }
    check_the_end(&conn);
    let done = number(&conn, "SELECT count(*) FROM _monolite_job WHERE state = 5");
    assert_eq!(done as u64, n);
    let claimed_twice = "SELECT count(*) FROM (
        SELECT 1 FROM claimed, json_each(claimed.jobs) p
        GROUP BY p.value ->> 0, p.value ->> 1 HAVING count(*) > 1)";
    assert_eq!(number(&conn, claimed_twice), 0, "one run in two claims");

    let log = fixture.log();
    let mut starts: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut by: HashMap<&str, u64> = HashMap::new();
    for line in log.iter().filter(|line| line.what == "start") {
        starts.entry(line.number(1)).or_default().push(line.us);
        *by.entry(&line.who).or_default() += 1;
    }
    assert_eq!(starts.len() as u64, n);
    assert_eq!(by.len(), 2, "both have worked: {by:?}");
    let lost = log.iter().filter(|line| line.what == "lost").count();
    for (id, times) in starts {
        for pair in times.windows(2) {
            let apart_ms = pair[1].abs_diff(pair[0]) / 1000;
            assert!(apart_ms >= LEASE_MS, "job {id} again after {apart_ms} ms");
            // It takes a machine that stood still for that long.
            assert!(lost > 0, "job {id} started twice, no lease was lost");
        }
    }
}
