//! A queue that never becomes empty keeps nobody from anything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use monolite_jobs::{Job, Jobs};

use super::fixture::{Fixture, SECOND, ms, number, prepare, task, until};
use super::worker::{Config, Noop, Task};

/// Keeps so many waiting.
const BACKLOG: i64 = 20_000;

/// Answers with the share of looks at which nothing waited.
async fn feed(fixture: Arc<Fixture>, jobs: Jobs, end: Arc<AtomicBool>) -> f64 {
    let conn = fixture.conn();
    let (mut looks, mut empty) = (0, 0);
    while !end.load(Ordering::Relaxed) {
        let waiting = number(&conn, "SELECT count(*) FROM _monolite_job_ready");
        looks += 1;
        empty += i32::from(waiting == 0);
        if waiting < BACKLOG {
            let many = (0..5000).map(|_| Noop.prepare().unwrap()).collect();
            jobs.push_many(many).await.unwrap();
        } else {
            tokio::time::sleep(ms(5)).await;
        }
    }
    f64::from(empty) / f64::from(looks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_constant_load_everything_else_goes_on() {
    everything_else_goes_on(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_constant_load_on_one_thread_everything_else_goes_on() {
    everything_else_goes_on(true).await;
}

async fn everything_else_goes_on(current_thread: bool) {
    let fixture = Arc::new(Fixture::new());
    let jobs = fixture.jobs().await;
    let conn = fixture.conn();
    // A suspect, to begin with.
    let first = fixture.worker(&Config {
        lease_ms: 500,
        ..fixture.config("first")
    });
    jobs.enqueue(Task {
        kills: 1,
        ..task(1)
    })
    .await
    .unwrap();
    fixture.wait_start(1, 10 * SECOND);
    drop(first);

    let end = Arc::new(AtomicBool::new(false));
    let feeding = tokio::spawn(feed(Arc::clone(&fixture), jobs.clone(), Arc::clone(&end)));
    until("a backlog", 60 * SECOND, || {
        number(&conn, "SELECT count(*) FROM _monolite_job_ready") >= BACKLOG
    });
    let config = |name: &str| Config {
        lease_ms: 500,
        current_thread,
        cron: Some(("every second".into(), "* * * * * *".into(), 7)),
        ..fixture.config(name)
    };
    let worker = fixture.worker(&config("worker"));
    let mut problems = Vec::new();
    let mut expect = |what: &str, there: &dyn Fn() -> bool| {
        let deadline = std::time::Instant::now() + 10 * SECOND;
        while !there() {
            if std::time::Instant::now() > deadline {
                problems.push(format!("not within 10 s: {what}"));
                return;
            }
            std::thread::sleep(ms(20));
        }
    };
    expect("the job of a dead worker runs", &|| {
        fixture.starts(1).len() == 2
    });
    // Before all that wait, by its priority; so only its delay matters.
    let delayed = prepare(&task(2)).priority(-1).delay(SECOND);
    jobs.push(delayed).await.unwrap();
    expect("a delayed job runs", &|| !fixture.starts(2).is_empty());
    let ticks = fixture.logged("fired").len();
    expect("a schedule fires", &|| {
        fixture.logged("fired").len() > ticks + 2
    });
    let long = Task {
        ms: 60_000,
        ..task(3)
    };
    let long = jobs.push(prepare(&long).priority(-1)).await.unwrap();
    expect("a job of high priority starts", &|| {
        !fixture.starts(3).is_empty()
    });
    jobs.cancel(long.id).await.unwrap();
    let cancelled = format!(
        "SELECT count(*) FROM _monolite_job WHERE id = {} AND state = 7",
        long.id
    );
    expect("a cancelled job is stopped", &|| {
        number(&conn, &cancelled) == 1
    });
    // The end of the worker, in the midst of it.
    let mut worker = worker;
    worker.signal(rustix::process::Signal::TERM);
    let begun = std::time::Instant::now();
    let status = worker.ended(30 * SECOND);
    if begun.elapsed() > 10 * SECOND {
        problems.push(format!("the worker took {:?} to end", begun.elapsed()));
    }
    end.store(true, Ordering::Relaxed);
    let idle = feeding.await.unwrap();
    assert!(status.success());
    assert!(idle < 0.3, "there was no load: {idle}");
    assert!(problems.is_empty(), "{problems:#?}");
}
