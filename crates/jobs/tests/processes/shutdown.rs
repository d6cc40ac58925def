//! The end of a worker in order.

use monolite_jobs::State;
use rustix::process::Signal;

use super::check::check_the_end;
use super::fixture::{Fixture, SECOND, ms, number, prepare, task, until};
use super::worker::{Config, Task};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_hands_back_what_does_not_end_in_time() {
    let fixture = Fixture::new();
    let jobs = fixture.jobs().await;
    // The default lease: nobody waits for it to end.
    let mut first = fixture.worker(&Config {
        deadline_ms: 1500,
        ..fixture.config("first")
    });
    let mut ids = Vec::new();
    for n in 1..=8 {
        let job = Task {
            ms: if n <= 4 { 900 } else { 60_000 },
            // For the second time it is short.
            ..task(n)
        };
        ids.push(jobs.enqueue(job).await.unwrap());
        fixture.wait_start(n, 10 * SECOND);
    }
    let second = fixture.worker(&fixture.config("second"));
    first.signal(Signal::TERM);
    assert!(first.ended(15 * SECOND).success());
    for n in 5..=8 {
        until("it starts elsewhere", 10 * SECOND, || {
            fixture.starts(n).len() == 2
        });
        let again = &fixture.starts(n)[1];
        // The same attempt once more.
        assert_eq!((again.who.as_str(), again.number(2)), ("second", 1));
    }
    for id in &ids[..4] {
        let job = jobs.get(*id).await.unwrap().unwrap();
        assert_eq!(job.result.as_deref(), Some("\"first\""), "{job:?}");
    }
    for id in &ids[4..] {
        let job = jobs.get(*id).await.unwrap().unwrap();
        let counted = (job.state, job.attempts, job.crashes);
        assert_eq!(counted, (State::Running, 0, 0), "{job:?}");
        jobs.cancel(*id).await.unwrap();
    }
    for id in &ids[4..] {
        let job = jobs.wait(*id, 20 * SECOND).await.unwrap();
        assert_eq!(job.state, State::Cancelled);
    }
    assert_eq!(fixture.logged("stopped").remove(0).text(), "0 4");
    second.terminate(20 * SECOND);
    check_the_end(&fixture.conn());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_run_twice_by_shutdowns_under_load() {
    let fixture = Fixture::new();
    let jobs = fixture.jobs().await;
    let mut n = 0;
    for round in 0..12 {
        let many: Vec<_> = (0..150)
            .map(|_| {
                n += 1;
                let job = Task {
                    ms: if fastrand::u32(0..4) == 0 { 20 } else { 0 },
                    ..task(n)
                };
                prepare(&job)
            })
            .collect();
        jobs.push_many(many).await.unwrap();
        let worker = fixture.worker(&fixture.config(&format!("w{round}")));
        std::thread::sleep(ms(fastrand::u64(0..60)));
        worker.terminate(10 * SECOND);
        let conn = fixture.conn();
        check_the_end_but_ready(&conn);
    }
    let last = fixture.worker(&fixture.config("last"));
    fixture.drained(30 * SECOND);
    last.terminate(10 * SECOND);
    let conn = fixture.conn();
    check_the_end(&conn);
    let perfect = "SELECT count(*) FROM _monolite_job
        WHERE state = 5 AND run - excused = 1 AND crashes = 0";
    assert_eq!(number(&conn, perfect) as u64, n);
    assert_eq!(fixture.logged("start").len() as u64, n, "each started once");
}

fn check_the_end_but_ready(conn: &rusqlite::Connection) {
    super::check::check_invariants(conn);
    for table in ["claim", "worker"] {
        let rows = number(conn, &format!("SELECT count(*) FROM _monolite_job_{table}"));
        assert_eq!(rows, 0, "{table}");
    }
}

/// Somebody holds the write lock for longer than the worker waits with its
/// end, and lets go just then: what it could not hand back is found later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_could_not_be_handed_back_are_recovered() {
    let fixture = Fixture::new();
    let jobs = fixture.jobs().await;
    let mut first = fixture.worker(&Config {
        deadline_ms: 0,
        lease_ms: 2000,
        ..fixture.config("first")
    });
    let job = Task {
        ms: 60_000,
        ..task(1)
    };
    let id = jobs.enqueue(job).await.unwrap();
    fixture.wait_start(1, 10 * SECOND);
    let conn = fixture.conn();
    conn.execute_batch("BEGIN IMMEDIATE").unwrap();
    first.signal(Signal::TERM);
    // It waits for 5 s with the first try, and is then out of patience: until
    // it leaves there are 5 more.
    until("the worker meets the lock", 20 * SECOND, || {
        !fixture.logged("troubled").is_empty()
    });
    std::thread::sleep(ms(1500));
    conn.execute_batch("ROLLBACK").unwrap();
    assert!(first.ended(20 * SECOND).success());
    let other = fixture.worker(&Config {
        lease_ms: 2000,
        deadline_ms: 0,
        ..fixture.config("other")
    });
    until("it runs again", 15 * SECOND, || {
        fixture.starts(1).len() == 2
    });
    jobs.cancel(id).await.unwrap();
    other.terminate(20 * SECOND);
}
