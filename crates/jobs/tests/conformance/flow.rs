//! Attempts, results, chains and batches.

use std::time::Duration;

use monolite_jobs::{Backoff, Failure, NewJob, State};
use serde_json::{Value, json};

use crate::{Fixture, fail, note};

#[tokio::test]
async fn a_job_that_fails_is_tried_again_and_dies_in_the_end() {
    let fixture = Fixture::new().await;
    let id = fixture.push(NewJob::raw("bad", "1").max_attempts(3)).await;
    let run = || async {
        let worker = fixture.jobs.worker().backoff(Backoff::new().jitter(0.0));
        let worker = worker.handler("bad", |ctx| async move {
            fail(&format!("attempt {} of {}", ctx.attempt(), ctx.kind()))
        });
        worker.run_due().await.unwrap()
    };
    assert_eq!(run().await, 1);
    let job = fixture.jobs.get(id).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempts), (State::Scheduled, 1));
    assert_eq!(job.error.as_deref(), Some("attempt 1 of bad"));
    fixture.advance_s(9);
    assert_eq!(run().await, 0);
    fixture.advance_s(1);
    assert_eq!(run().await, 1);
    fixture.advance_s(19);
    assert_eq!(run().await, 0);
    fixture.advance_s(1);
    assert_eq!(run().await, 1);
    let job = fixture.jobs.get(id).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempts), (State::Dead, 3));

    // A dead letter starts anew when it is asked to.
    assert_eq!(fixture.jobs.retry(id).await.unwrap(), State::Ready);
    assert_eq!(run().await, 1);
    let job = fixture.jobs.get(id).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempts), (State::Scheduled, 1));
}

#[tokio::test]
async fn a_handler_may_discard_snooze_or_name_the_pause() {
    let fixture = Fixture::new().await;
    let discarded = fixture.push(NewJob::raw("discard", "1")).await;
    let snoozed = fixture
        .push(NewJob::raw("snooze", "1").max_attempts(1))
        .await;
    let named = fixture.push(NewJob::raw("named", "1")).await;
    let run = || async {
        let worker = fixture.jobs.worker();
        let worker = worker
            .handler("discard", |_| async {
                Err::<(), _>(Failure::discard("no"))
            })
            .handler("snooze", |_| async {
                Err::<(), _>(Failure::snooze(Duration::from_secs(100)))
            })
            .handler("named", |_| async {
                Err::<(), _>(Failure::retry_in(Duration::from_secs(7), "soon"))
            });
        worker.run_due().await.unwrap()
    };
    assert_eq!(run().await, 3);
    assert_eq!(fixture.state(discarded).await, State::Dead);
    fixture.advance_s(7);
    assert_eq!(run().await, 1);
    assert_eq!(fixture.jobs.get(named).await.unwrap().unwrap().attempts, 2);
    // Its only attempt is still to come, however often it snoozes.
    for _ in 0..3 {
        fixture.advance_s(100);
        run().await;
    }
    let job = fixture.jobs.get(snoozed).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempts), (State::Scheduled, 0));
}

#[tokio::test]
async fn a_panic_and_a_timeout_are_failures() {
    let fixture = Fixture::new().await;
    let panics = fixture
        .push(NewJob::raw("panic", "1").max_attempts(1))
        .await;
    let early = fixture
        .push(NewJob::raw("early", "1").max_attempts(1))
        .await;
    let slow = NewJob::raw("slow", "1").max_attempts(1);
    let slow = fixture.push(slow.timeout(Duration::from_millis(10))).await;
    let unread = fixture.push(NewJob::raw("note", "no JSON")).await;
    let worker = fixture.worker();
    let worker = worker
        .handler("panic", |ctx| async move {
            assert!(ctx.attempt() > 1, "attempt {}", ctx.attempt());
            Ok(())
        })
        .handler("early", |ctx| {
            assert!(ctx.attempt() > 1, "before the future");
            async { Ok(()) }
        })
        .handler("slow", |_| async {
            std::future::pending::<()>().await;
            Ok(())
        });
    worker.run_due().await.unwrap();
    for (id, text) in [
        (panics, "it panicked: attempt 1"),
        (early, "it panicked: before the future"),
        (slow, "it took longer than 10ms"),
        (unread, "cannot read its payload"),
    ] {
        let job = fixture.jobs.get(id).await.unwrap().unwrap();
        assert_eq!(job.state, State::Dead);
        let error = job.error.unwrap();
        assert!(error.starts_with(text), "{error}");
    }
}

#[tokio::test]
async fn a_chain_hands_results_on_and_ends_where_a_link_dies() {
    let fixture = Fixture::new().await;
    let add = || NewJob::raw("add", "1");
    let first = fixture
        .push(add().then(add()).then(add().queue("other")))
        .await;
    fixture
        .push(NewJob::raw("dies", "1").then(note("never")))
        .await;
    let log = fixture.log.clone();
    let worker = fixture.worker().queue("default", 1).queue("other", 1);
    let worker = worker
        .handler("add", move |ctx| {
            let log = log.clone();
            async move {
                let sum = ctx.input::<i64>()?.unwrap_or(0) + 1;
                log.push(&format!("{} {sum}", ctx.queue()));
                Ok(sum)
            }
        })
        .handler("dies", |_| async { Err::<(), _>(Failure::discard("no")) });
    worker.run_due().await.unwrap();
    assert_eq!(fixture.log.take(), ["default 1", "default 2", "other 3"]);
    let job = fixture.jobs.get(first).await.unwrap().unwrap();
    assert_eq!(job.result.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_batch_calls_back_once_when_all_have_ended() {
    let fixture = Fixture::new().await;
    let jobs = vec![
        note("a"),
        NewJob::raw("dies", "1"),
        note("b").then(note("c")),
        note("d").delay(Duration::from_secs(5)),
    ];
    let callback = NewJob::raw("report", "1");
    let batch = fixture.jobs.push_batch(jobs, Some(callback)).await.unwrap();
    let run = || async {
        let log = fixture.log.clone();
        let worker = fixture.worker();
        let worker = worker
            .handler("dies", |_| async { Err::<(), _>(Failure::discard("no")) })
            .handler("report", move |ctx| {
                let log = log.clone();
                async move {
                    log.push(&ctx.input::<Value>()?.unwrap().to_string());
                    Ok(())
                }
            });
        worker.run_due().await.unwrap();
        fixture.log.take()
    };
    assert_eq!(run().await, ["a", "b", "c"]);
    let status = fixture.jobs.batch(batch.id).await.unwrap().unwrap();
    assert_eq!((status.total, status.unfinished, status.failed), (4, 1, 1));
    fixture.advance_s(5);
    let report = json!({ "batch": batch.id, "total": 4, "failed": 1 });
    assert_eq!(run().await, ["d".to_string(), report.to_string()]);
    // One that is retried later does not enqueue the callback again.
    fixture.jobs.retry(batch.jobs[1]).await.unwrap();
    assert!(run().await.is_empty());

    let callback = NewJob::raw("report", "1");
    fixture
        .jobs
        .push_batch(vec![], Some(callback))
        .await
        .unwrap();
    assert_eq!(run().await.len(), 1);
}

#[tokio::test]
async fn a_result_is_kept_and_waited_for() {
    let fixture = Fixture::new().await;
    let id = fixture.push(NewJob::raw("answer", "1")).await;
    let unit = fixture.push(note("unit")).await;
    let worker = fixture
        .worker()
        .handler("answer", |_| async { Ok(json!({ "n": 42 })) });
    let worker = worker.start().await.unwrap();
    let job = fixture
        .jobs
        .wait(id, Duration::from_secs(20))
        .await
        .unwrap();
    assert_eq!(job.state, State::Done);
    assert_eq!(job.result.as_deref(), Some(r#"{"n":42}"#));
    let job = fixture
        .jobs
        .wait(unit, Duration::from_secs(20))
        .await
        .unwrap();
    assert_eq!((job.state, job.result), (State::Done, None));
    worker.shutdown(Duration::from_secs(5)).await;

    let id = fixture.push(note("nobody works")).await;
    let error = fixture.jobs.wait(id, Duration::from_millis(10)).await;
    assert!(matches!(error, Err(monolite_jobs::Error::NotEnded(_))));
}

#[tokio::test]
async fn inline_jobs_have_run_when_the_enqueue_returns() {
    let fixture = Fixture::new().await;
    let log = fixture.log.clone();
    let jobs = fixture
        .worker()
        .handler("more", move |ctx| {
            let log = log.clone();
            async move {
                log.push("more");
                ctx.jobs().push(note("nested")).await?;
                Ok(())
            }
        })
        .inline();
    let id = jobs.push(NewJob::raw("more", "1")).await.unwrap().id;
    assert_eq!(fixture.log.take(), ["more", "nested"]);
    assert_eq!(fixture.state(id).await, State::Done);
    let later = note("later").delay(Duration::from_secs(1));
    jobs.push_many(vec![note("a"), later]).await.unwrap();
    assert_eq!(fixture.log.take(), ["a"]);
}

#[tokio::test]
async fn a_job_nobody_knows_waits_a_day_for_a_newer_program() {
    let fixture = Fixture::new().await;
    let id = fixture
        .push(NewJob::raw("nobody", "1").max_attempts(1))
        .await;
    fixture.run_due().await;
    let job = fixture.jobs.get(id).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempts), (State::Scheduled, 0));
    fixture.advance_s(86_400);
    fixture.run_due().await;
    let job = fixture.jobs.get(id).await.unwrap().unwrap();
    assert_eq!(job.state, State::Dead);
    assert!(job.error.unwrap().contains("no worker has a handler"));
}
