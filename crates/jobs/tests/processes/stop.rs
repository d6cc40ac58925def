//! Workers that stand still for longer than their lease.

use rustix::process::Signal;

use monolite_jobs::State;

use super::check::check_the_end;
use super::fixture::{Fixture, Process, SECOND, ms, number, task, until};
use super::worker::{Config, Task};

const LEASE_MS: u64 = 1000;

fn config(fixture: &Fixture, name: &str) -> Config {
    Config {
        lease_ms: LEASE_MS,
        ..fixture.config(name)
    }
}

/// Stops it at a moment at which it does not hold the database's write lock,
/// which nobody could take from it.
fn stop(fixture: &Fixture, process: &Process) {
    let conn = fixture.conn();
    conn.busy_timeout(ms(300)).unwrap();
    loop {
        process.signal(Signal::STOP);
        if conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok() {
            return;
        }
        process.signal(Signal::CONT);
        std::thread::sleep(ms(20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_stopped_worker_go_elsewhere_and_its_late_answers_are_refused() {
    for round in 0..3 {
        let fixture = Fixture::new();
        let jobs = fixture.jobs().await;
        let stopped = fixture.worker(&config(&fixture, "stopped"));
        let mut ids = Vec::new();
        // Two go on afterwards; two are over while it is stopped, and the last
        // of them then still runs elsewhere.
        for (n, ms, first_ms) in [
            (1, 300, 60_000),
            (2, 300, 60_000),
            (3, 900, 0),
            (4, 1500, 0),
        ] {
            let job = Task {
                ms,
                first_ms,
                ..task(n)
            };
            ids.push(jobs.enqueue(job).await.unwrap());
            fixture.wait_start(n, 10 * SECOND);
        }
        stop(&fixture, &stopped);
        let other = fixture.worker(&config(&fixture, "other"));
        for n in 1..=4 {
            let started = || fixture.starts(n);
            until("it starts elsewhere", 20 * SECOND, || started().len() == 2);
            assert_eq!(started()[1].who, "other");
        }
        if round == 1 {
            // Let the other be done with them.
            std::thread::sleep(ms(1500));
        }
        stopped.signal(Signal::CONT);
        let told = || {
            let mut log = fixture.log();
            log.retain(|l| l.who == "stopped" && (l.what == "lost" || l.what == "stale"));
            log
        };
        until("it notices", 10 * SECOND, || !told().is_empty());
        for id in ids {
            let job = jobs.wait(id, 20 * SECOND).await.unwrap();
            assert_eq!(job.state, State::Done, "{job:?}");
            assert_eq!(job.result.as_deref(), Some("\"other\""), "{job:?}");
            assert_eq!((job.attempts, job.crashes), (2, 1), "{job:?}");
        }
        for n in 1..=4 {
            assert_eq!(fixture.starts(n).len(), 2, "task {n}");
        }
        until("it says that its lease was lost", 10 * SECOND, || {
            told().iter().any(|line| line.what == "lost")
        });
        // It works on, under a new number.
        other.terminate(10 * SECOND);
        let id = jobs.enqueue(task(5)).await.unwrap();
        let job = jobs.wait(id, 20 * SECOND).await.unwrap();
        assert_eq!(job.result.as_deref(), Some("\"stopped\""), "{job:?}");
        stopped.terminate(10 * SECOND);
        check_the_end(&fixture.conn());
    }
}

/// Nobody else is there to take its jobs: then nothing was lost either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_alone_keeps_its_jobs_over_a_stop() {
    let fixture = Fixture::new();
    let jobs = fixture.jobs().await;
    // Its schedule makes it look after dead workers right when it wakes up.
    let alone = fixture.worker(&Config {
        cron: Some(("every second".into(), "* * * * * *".into(), 7)),
        ..config(&fixture, "alone")
    });
    let job = Task {
        ms: 3500,
        ..task(1)
    };
    let id = jobs.enqueue(job).await.unwrap();
    fixture.wait_start(1, 10 * SECOND);
    stop(&fixture, &alone);
    std::thread::sleep(ms(LEASE_MS + 500));
    alone.signal(Signal::CONT);
    let job = jobs.wait(id, 20 * SECOND).await.unwrap();
    assert_eq!((job.state, job.crashes), (State::Done, 0), "{job:?}");
    assert_eq!(fixture.starts(1).len(), 1);
    alone.terminate(10 * SECOND);
    assert_eq!(
        number(&fixture.conn(), "SELECT count(*) FROM _monolite_job_claim"),
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_the_runtime_keeps_its_lease() {
    let fixture = Fixture::new();
    let jobs = fixture.jobs().await;
    let blocked = fixture.worker(&Config {
        lease_ms: 300,
        current_thread: true,
        ..fixture.config("blocked")
    });
    let job = Task {
        block_ms: 2000,
        ..task(1)
    };
    let id = jobs.enqueue(job).await.unwrap();
    fixture.wait_start(1, 10 * SECOND);
    let other = fixture.worker(&Config {
        lease_ms: 300,
        ..fixture.config("other")
    });
    let job = jobs.wait(id, 20 * SECOND).await.unwrap();
    assert_eq!(job.result.as_deref(), Some("\"blocked\""), "{job:?}");
    assert_eq!((job.attempts, job.crashes), (1, 0), "{job:?}");
    assert_eq!(fixture.starts(1).len(), 1);
    assert!(fixture.logged("lost").is_empty());
    blocked.terminate(10 * SECOND);
    other.terminate(10 * SECOND);
    check_the_end(&fixture.conn());
}
