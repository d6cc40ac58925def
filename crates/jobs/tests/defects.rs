//! Defects that were found, each with the scenario that showed it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use monolite_component::ManualClock;
use monolite_jobs::jiff::Timestamp;
use monolite_jobs::{Event, JobId, Jobs, NewJob, OnConflict, State, Unique, ops};
use monolite_store::{Options, Store};

const LONG: Duration = Duration::from_secs(30);

struct Place {
    store: Store,
    jobs: Jobs,
    clock: Arc<ManualClock>,
    _dir: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(1_772_366_400_000));
        let store = Store::open(dir.path().join("app.sqlite3"), Options::default()).unwrap();
        let jobs = Jobs::open_with_clock(&store, clock.clone()).await.unwrap();
        Self {
            store,
            jobs,
            clock,
            _dir: dir,
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
    let place = Place::new().await;
    let id = place.push(noop().queue("b")).await;
    place
        .sql("UPDATE _monolite_job SET crashes = 1; UPDATE _monolite_job_ready SET suspect = 1")
        .await;
    let worker = place.jobs.worker().queue("a", 2).queue("b", 2);
    let worker = worker.handler("noop", |_| async { Ok(()) });
    let worker = worker.start().await.unwrap();
    place.jobs.wait(id, LONG).await.unwrap();
    worker.shutdown(LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_never_idle_still_hears_what_goes_on() {
    let place = Place::new().await;
    let ran = Arc::new(AtomicUsize::new(0));
    let count = ran.clone();
    let fill = |n: usize| place.jobs.push_many((0..n).map(|_| noop()).collect());
    fill(30_000).await.unwrap();
    let soon = noop().priority(-1).delay(Duration::from_millis(50));
    let soon = place.push(soon).await;
    let worker = place.jobs.worker().queue("default", 1000);
    let worker = worker.handler("noop", move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    });
    let worker = worker.start().await.unwrap();
    while ran.load(Ordering::Relaxed) < 500 {
        tokio::task::yield_now().await;
    }
    place.clock.advance(Duration::from_millis(60));
    place.jobs.wait(soon, LONG).await.unwrap();
    let seen = ran.load(Ordering::Relaxed);
    assert!(seen < 30_000, "only when nothing else was left");
    fill(30_000).await.unwrap();
    worker.shutdown(Duration::ZERO).await;
    let left = place.jobs.queues().await.unwrap()[0].count(State::Ready);
    assert!(left > 20_000, "it went on: {left} left");
}

#[tokio::test]
async fn times_without_end_and_rows_that_cannot_be_read_stop_nobody() {
    let place = Place::new().await;
    let forever = Unique::key("k").window(Duration::MAX);
    place.push(noop().unique(forever)).await;
    place.push(noop().delay(Duration::MAX)).await;
    place.push(noop().at(Timestamp::MAX)).await;
    let cron = place.jobs.schedule("c", "* * * * *", "UTC", noop());
    cron.await.unwrap();
    place
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
        let worker = place.jobs.worker().handler("noop", |_| async { Ok(()) });
        worker.run_due().await.unwrap()
    };
    assert_eq!(run().await, 1);
    for step in [5_000_000, -5_000_000, 90_000_000] {
        place.clock.step(step);
        run().await;
        place.push(noop().delay(Duration::from_secs(1))).await;
    }
    place.clock.advance(Duration::from_secs(61));
    assert!(run().await >= 4);
    // Mended by setting it again.
    let cron = place.jobs.schedule("job", "* * * * *", "UTC", noop());
    cron.await.unwrap();
    place.clock.advance(Duration::from_secs(61));
    assert_eq!(run().await, 2);
}

#[tokio::test]
async fn what_was_claimed_ahead_is_given_back_when_jobs_turn_out_long() {
    let place = Place::new().await;
    let quick = (0..5_000).map(|_| noop()).collect();
    place.jobs.push_many(quick).await.unwrap();
    let long = (0..100).map(|_| NewJob::raw("long", "1")).collect();
    place.jobs.push_many(long).await.unwrap();
    let worker = |places| {
        let worker = place.jobs.worker().queue("default", places);
        worker
            .handler("noop", |_| async { Ok(()) })
            .handler("long", |_| async {
                std::future::pending::<()>().await;
                Ok(())
            })
    };
    let first = worker(2).start().await.unwrap();
    place.jobs.wait(5_000.into(), LONG).await.unwrap();
    let ready = || async { place.jobs.queues().await.unwrap()[0].count(State::Ready) };
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
    let place = Place::new().await;
    let id = place.push(NewJob::raw("bomb", "1").max_attempts(1)).await;
    let worker = place.jobs.worker().timeout(Duration::from_millis(20));
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
    while place.state(id).await == State::Running || place.state(id).await == State::Ready {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let other = place.push(NewJob::raw("bomb", "1")).await;
    while place.state(other).await == State::Ready {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    worker.shutdown(Duration::MAX).await;
    assert_ne!(place.state(other).await, State::Running);
}

#[tokio::test]
async fn replacing_a_job_lets_go_of_the_key_it_held() {
    let place = Place::new().await;
    let with = |seconds| {
        let unique = Unique::key("u").on_conflict(OnConflict::Replace);
        let job = noop().unique(unique).limit("k", 1);
        job.delay(Duration::from_secs(seconds))
    };
    let holder = place.push(with(0)).await;
    let waits = place.push(noop().limit("k", 1)).await;
    assert_eq!(place.state(waits).await, State::Blocked);
    assert_eq!(place.push(with(60)).await, holder);
    assert_eq!(place.state(waits).await, State::Ready);
}

#[tokio::test]
async fn a_retry_respects_a_key_that_somebody_else_holds_now() {
    let place = Place::new().await;
    let unique = || noop().unique(Unique::key("u"));
    let first = place.push(unique()).await;
    place.jobs.cancel(first).await.unwrap();
    let second = place.push(unique()).await;
    let error = place.jobs.retry(first).await.unwrap_err();
    assert!(error.to_string().contains("unique key"), "{error}");
    place.jobs.cancel(second).await.unwrap();
    place.jobs.retry(first).await.unwrap();
    let chain = noop().then(unique());
    assert!(place.jobs.push(chain).await.is_err());
}

#[tokio::test]
async fn a_job_deleted_by_hand_makes_no_worker_spin() {
    let place = Place::new().await;
    place.push(noop().queue("q")).await;
    place.push(noop().queue("q")).await;
    place.sql("DELETE FROM _monolite_job WHERE id = 1").await;
    // And one that the trigger does not see.
    place
        .sql("INSERT INTO _monolite_job_ready VALUES ('q', 0, 0, 999)")
        .await;
    let worker = place.jobs.worker().queue("q", 2);
    let worker = worker.handler("noop", |_| async { Ok(()) });
    let worker = worker.start().await.unwrap();
    place.jobs.wait(2.into(), LONG).await.unwrap();
    let before = place.transactions();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let spent = place.transactions() - before;
    assert!(spent < 40, "{spent} transactions in half a second");
    worker.shutdown(LONG).await;
}

#[tokio::test]
async fn a_cancelled_job_that_is_handed_back_stays_cancelled() {
    let place = Place::new().await;
    let id = place.push(noop()).await;
    let now = ops::Now::of(&*place.clock);
    let done = place.store.write(move |tx| {
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
    assert_eq!(place.state(id).await, State::Cancelled);
}

#[tokio::test]
async fn a_machine_started_anew_blames_no_job() {
    let place = Place::new().await;
    let id = place.push(noop()).await;
    let before = ops::Now {
        boot: "the one before".into(),
        ..ops::Now::of(&*place.clock)
    };
    let claimed = place.store.write(move |tx| {
        let want = ops::Want {
            queue: "default".into(),
            count: 1,
            suspect: true,
        };
        ops::take_lease(tx, &before, 1, "w", 1000, false)?;
        Ok(ops::claim(tx, &before, 1, &want)?.0.is_some())
    });
    assert!(claimed.await.unwrap());
    let worker = place.jobs.worker().handler("noop", |_| async { Ok(()) });
    worker.run_due().await.unwrap();
    let job = place.jobs.get(id).await.unwrap().unwrap();
    assert_eq!((job.state, job.crashes), (State::Done, 0));
}

#[tokio::test]
async fn closing_everything_stops_the_workers_of_a_handle() {
    let place = Place::new().await;
    let id = place.push(NewJob::raw("hangs", "1")).await;
    let worker = place.jobs.worker().handler("hangs", |ctx| async move {
        ctx.progress(0.0, "").await?;
        std::future::pending::<()>().await;
        Ok(())
    });
    let worker = worker.start().await.unwrap();
    while place.state(id).await != State::Running {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    place.jobs.shutdown_workers(Duration::ZERO).await;
    assert_eq!(place.state(id).await, State::Ready);
    worker.shutdown(LONG).await;
}
