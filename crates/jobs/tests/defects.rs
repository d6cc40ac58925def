//! Defects that were found, each with the scenario that showed it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use monolite_jobs::jiff::Timestamp;
use monolite_jobs::{Event, JobId, Jobs, NewJob, OnConflict, State, Unique, ops};
use monolite_platform::clock::ManualClock;
use monolite_store::{Options, Store};
use tokio::sync::Notify;

const LONG: Duration = Duration::from_secs(30);

struct Fixture {
    store: Store,
    jobs: Jobs,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(1_772_366_400_000));
        let store = Store::open(dir.path().join("app.sqlite3"), Options::default()).unwrap();
        let jobs = Jobs::open_with_clock(&store, clock.clone()).await.unwrap();
        Self {
            store,
            jobs,
            clock,
            dir,
        }
    }

    async fn push(&self, job: NewJob) -> JobId {
        self.jobs.push(job).await.unwrap().id
    }

    async fn sql(&self, sql: &'static str) {
        let write = self.store.write(move |tx| Ok(tx.execute_batch(sql)?));
        write.await.unwrap();
    }

    async fn state(&self, id: JobId) -> State {
        self.jobs.get(id).await.unwrap().unwrap().state
    }

    fn transactions(&self) -> u64 {
        self.store.stats().transactions
    }
}

fn noop() -> NewJob {
    NewJob::raw("noop", "1")
}

#[tokio::test]
async fn a_suspect_is_claimed_from_whichever_queue_it_is_in() {
    let fixture = Fixture::new().await;
    let id = fixture.push(noop().queue("b")).await;
    fixture
        .sql("UPDATE _monolite_job SET crashes = 1; UPDATE _monolite_job_ready SET suspect = 1")
        .await;
    let worker = fixture.jobs.worker().queue("a", 2).queue("b", 2);
    let worker = worker.handler("noop", |_| async { Ok(()) });
    let worker = worker.start().await.unwrap();
    fixture.jobs.wait(id, LONG).await.unwrap();
    worker.shutdown(LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_never_idle_still_hears_what_goes_on() {
    let fixture = Fixture::new().await;
    let ran = Arc::new(AtomicUsize::new(0));
    let count = ran.clone();
    let fill = |n: usize| fixture.jobs.push_many((0..n).map(|_| noop()).collect());
    fill(30_000).await.unwrap();
    let soon = noop().priority(-1).delay(Duration::from_millis(50));
    let soon = fixture.push(soon).await;
    let worker = fixture.jobs.worker().queue("default", 1000);
    let worker = worker.handler("noop", move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    });
    let worker = worker.start().await.unwrap();
    while ran.load(Ordering::Relaxed) < 500 {
        tokio::task::yield_now().await;
    }
    fixture.clock.advance(Duration::from_millis(60));
    fixture.jobs.wait(soon, LONG).await.unwrap();
    let seen = ran.load(Ordering::Relaxed);
    assert!(seen < 30_000, "only when nothing else was left");
    fill(30_000).await.unwrap();
    worker.shutdown(Duration::ZERO).await;
    let left = fixture.jobs.queues().await.unwrap()[0].count(State::Ready);
    assert!(left > 20_000, "it went on: {left} left");
}

#[tokio::test]
async fn times_without_end_and_rows_that_cannot_be_read_stop_nobody() {
    let fixture = Fixture::new().await;
    let forever = Unique::key("k").window(Duration::MAX);
    fixture.push(noop().unique(forever)).await;
    fixture.push(noop().delay(Duration::MAX)).await;
    fixture.push(noop().at(Timestamp::MAX)).await;
    let cron = fixture.jobs.schedule("c", "* * * * *", "UTC", noop());
    cron.await.unwrap();
    fixture
        .sql(
            "INSERT INTO _monolite_job_cron VALUES
                 ('zone', '* * * * *', 'Mars/Olympus', '{}', 1, NULL),
                 ('job', '* * * * *', 'UTC', 'no JSON', 1, NULL);
             INSERT INTO _monolite_job_worker VALUES (7, 'w', 'boot', 0);
             INSERT INTO _monolite_job_claim (worker, jobs) VALUES (7, 'no JSON'), (7, '[[1]]');
             INSERT INTO _monolite_job (queue, kind, state, priority, enqueued_at, changed_at,
                 payload, input, due_at, limit_key, limit_max)
             VALUES ('default', 'noop', 3, 0, 1, 1, CAST(x'ff22' AS TEXT), CAST(x'ff' AS TEXT), 1,
                 'limit', -1)",
        )
        .await;
    let run = || async {
        let worker = fixture.jobs.worker().handler("noop", |_| async { Ok(()) });
        worker.run_due().await.unwrap()
    };
    assert_eq!(run().await, 1);
    for step in [5_000_000, -5_000_000, 90_000_000] {
        fixture.clock.step(step);
        run().await;
        fixture.push(noop().delay(Duration::from_secs(1))).await;
    }
    fixture.clock.advance(Duration::from_secs(61));
    assert!(run().await >= 4);
    // Mended by setting it again.
    let cron = fixture.jobs.schedule("job", "* * * * *", "UTC", noop());
    cron.await.unwrap();
    fixture.clock.advance(Duration::from_secs(61));
    assert_eq!(run().await, 2);
}

#[tokio::test]
async fn what_was_claimed_ahead_is_given_back_when_jobs_turn_out_long() {
    let fixture = Fixture::new().await;
    let quick = (0..5_000).map(|_| noop()).collect();
    fixture.jobs.push_many(quick).await.unwrap();
    let long = (0..100).map(|_| NewJob::raw("long", "1")).collect();
    fixture.jobs.push_many(long).await.unwrap();
    let worker = |places| {
        let worker = fixture.jobs.worker().queue("default", places);
        worker
            .handler("noop", |_| async { Ok(()) })
            .handler("long", |_| async {
                std::future::pending::<()>().await;
                Ok(())
            })
    };
    let first = worker(2).start().await.unwrap();
    fixture.jobs.wait(5_000.into(), LONG).await.unwrap();
    let ready = || async { fixture.jobs.queues().await.unwrap()[0].count(State::Ready) };
    let deadline = Instant::now() + LONG;
    while ready().await != 98 {
        assert!(Instant::now() < deadline, "{} are ready", ready().await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.shutdown(Duration::ZERO).await;
    assert_eq!(ready().await, 100);
}

#[tokio::test]
async fn a_shutdown_without_end_waits_and_a_panic_anywhere_costs_one_attempt() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let fixture = Fixture::new().await;
    let id = fixture.push(NewJob::raw("bomb", "1").max_attempts(1)).await;
    let worker = fixture.jobs.worker().timeout(Duration::from_millis(20));
    let worker = worker
        .observe(|event| {
            assert!(!matches!(event, Event::Started { .. }), "an observer's own");
        })
        .handler("bomb", |ctx| async move {
            let _bomb = (ctx.attempt() == 1).then_some(Bomb);
            std::future::pending::<()>().await;
            Ok(())
        });
    let worker = worker.start().await.unwrap();
    while fixture.state(id).await == State::Running || fixture.state(id).await == State::Ready {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let other = fixture.push(NewJob::raw("bomb", "1")).await;
    while fixture.state(other).await == State::Ready {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    worker.shutdown(Duration::MAX).await;
    assert_ne!(fixture.state(other).await, State::Running);
}

#[tokio::test]
async fn replacing_a_job_lets_go_of_the_key_it_held() {
    let fixture = Fixture::new().await;
    let with = |seconds| {
        let unique = Unique::key("u").on_conflict(OnConflict::Replace);
        let job = noop().unique(unique).limit("k", 1);
        job.delay(Duration::from_secs(seconds))
    };
    let holder = fixture.push(with(0)).await;
    let waits = fixture.push(noop().limit("k", 1)).await;
    assert_eq!(fixture.state(waits).await, State::Blocked);
    assert_eq!(fixture.push(with(60)).await, holder);
    assert_eq!(fixture.state(waits).await, State::Ready);
}

#[tokio::test]
async fn a_retry_respects_a_key_that_somebody_else_holds_now() {
    let fixture = Fixture::new().await;
    let unique = || noop().unique(Unique::key("u"));
    let first = fixture.push(unique()).await;
    fixture.jobs.cancel(first).await.unwrap();
    let second = fixture.push(unique()).await;
    let error = fixture.jobs.retry(first).await.unwrap_err();
    assert!(error.to_string().contains("unique key"), "{error}");
    fixture.jobs.cancel(second).await.unwrap();
    fixture.jobs.retry(first).await.unwrap();
    let chain = noop().then(unique());
    assert!(fixture.jobs.push(chain).await.is_err());
}

#[tokio::test]
async fn a_job_deleted_by_hand_makes_no_worker_spin() {
    let fixture = Fixture::new().await;
    fixture.push(noop().queue("q")).await;
    fixture.push(noop().queue("q")).await;
    fixture.sql("DELETE FROM _monolite_job WHERE id = 1").await;
    // And one that the trigger does not see.
    fixture
        .sql("INSERT INTO _monolite_job_ready VALUES ('q', 0, 0, 999)")
        .await;
    let worker = fixture.jobs.worker().queue("q", 2);
    let worker = worker.handler("noop", |_| async { Ok(()) });
    let worker = worker.start().await.unwrap();
    fixture.jobs.wait(2.into(), LONG).await.unwrap();
    let before = fixture.transactions();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let spent = fixture.transactions() - before;
    assert!(spent < 40, "{spent} transactions in half a second");
    worker.shutdown(LONG).await;
}

#[tokio::test]
async fn a_cancelled_job_that_is_handed_back_stays_cancelled() {
    let fixture = Fixture::new().await;
    let id = fixture.push(noop()).await;
    let now = ops::Now::of(&*fixture.clock);
    let done = fixture.store.write(move |tx| {
        let want = ops::Want {
            queue: "default".into(),
            count: 1,
            suspect: false,
        };
        ops::take_lease(tx, &now, 1, "w", 1000, false)?;
        let claim = ops::claim(tx, &now, 1, &want)?.0.unwrap();
        ops::cancel(tx, &now, id)?;
        let ack = ops::Ack {
            id,
            run: claim.jobs[0].run,
            linked: false,
            end: ops::End::HandedBack,
        };
        Ok(ops::finish(tx, &now, &ack, false)?)
    });
    assert_eq!(done.await.unwrap(), Some(State::Cancelled));
    assert_eq!(fixture.state(id).await, State::Cancelled);
}

#[tokio::test]
async fn a_machine_started_anew_blames_no_job() {
    let fixture = Fixture::new().await;
    let id = fixture.push(noop()).await;
    let before = ops::Now {
        boot: "the one before".into(),
        ..ops::Now::of(&*fixture.clock)
    };
    let claimed = fixture.store.write(move |tx| {
        let want = ops::Want {
            queue: "default".into(),
            count: 1,
            suspect: true,
        };
        ops::take_lease(tx, &before, 1, "w", 1000, false)?;
        Ok(ops::claim(tx, &before, 1, &want)?.0.is_some())
    });
    assert!(claimed.await.unwrap());
    let worker = fixture.jobs.worker().handler("noop", |_| async { Ok(()) });
    worker.run_due().await.unwrap();
    let job = fixture.jobs.get(id).await.unwrap().unwrap();
    assert_eq!((job.state, job.crashes), (State::Done, 0));
}

#[tokio::test]
async fn closing_everything_stops_the_workers_of_a_handle() {
    let fixture = Fixture::new().await;
    let id = fixture.push(NewJob::raw("hangs", "1")).await;
    let worker = fixture.jobs.worker().handler("hangs", |ctx| async move {
        ctx.progress(0.0, "").await?;
        std::future::pending::<()>().await;
        Ok(())
    });
    let worker = worker.start().await.unwrap();
    while fixture.state(id).await != State::Running {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fixture.jobs.shutdown_workers(Duration::ZERO).await;
    assert_eq!(fixture.state(id).await, State::Ready);
    worker.shutdown(LONG).await;
}

/// A shutdown waits for a database that is busy or full, not for one whose file is gone.
#[tokio::test]
async fn a_worker_whose_database_was_deleted_ends_at_once() {
    let fixture = Fixture::new().await;
    let (begun, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let worker = fixture.jobs.worker().handler("slow", {
        let (begun, end) = (Arc::clone(&begun), Arc::clone(&end));
        move |_| {
            let (begun, end) = (Arc::clone(&begun), Arc::clone(&end));
            async move {
                begun.notify_one();
                end.notified().await;
                Ok(())
            }
        }
    });
    fixture.push(NewJob::raw("slow", "1")).await;
    let worker = worker.start().await.unwrap();
    begun.notified().await;
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("app.sqlite3{suffix}");
        std::fs::remove_file(fixture.dir.path().join(name)).unwrap();
    }
    end.notify_one();
    let began = Instant::now();
    worker.shutdown(LONG).await;
    assert!(began.elapsed() < LONG / 3, "{:?}", began.elapsed());
}
