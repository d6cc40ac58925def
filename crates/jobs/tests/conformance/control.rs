//! Cancel, retry, delete, list.

use std::time::Duration;

use monolite_jobs::ops::Filter;
use monolite_jobs::{Error, Failure, NewJob, State};

use crate::{Fixture, note};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn jobs_that_wait_are_cancelled_at_once_and_can_come_back() {
    let fixture = Fixture::new().await;
    let ready = fixture.push(note("ready")).await;
    let later = fixture.push(note("later").delay(LONG)).await;
    for id in [ready, later] {
        assert_eq!(fixture.jobs.cancel(id).await.unwrap(), State::Cancelled);
        let again = fixture.jobs.cancel(id).await.unwrap_err();
        assert!(matches!(again, Error::WrongState { .. }), "{again}");
    }
    fixture.advance_s(30);
    assert!(fixture.run_due().await.is_empty());
    fixture.jobs.retry(later).await.unwrap();
    assert_eq!(fixture.run_due().await, ["later"]);
    let missing = fixture.jobs.cancel(12_345.into()).await.unwrap_err();
    assert!(
        matches!(missing, Error::NotFound(id) if id.get() == 12_345),
        "{missing}"
    );
}

#[tokio::test]
async fn a_running_job_is_told_and_then_dropped() {
    let fixture = Fixture::new().await;
    let polite = fixture.push(NewJob::raw("polite", "1")).await;
    let stubborn = fixture.push(NewJob::raw("stubborn", "1")).await;
    let worker = fixture.jobs.worker().grace(Duration::from_millis(20));
    let worker = worker
        .handler("polite", |ctx| async move {
            ctx.progress(0.5, "half way").await?;
            ctx.cancelled().await;
            Err::<(), _>(Failure::retry("told to end"))
        })
        .handler("stubborn", |ctx| async move {
            ctx.progress(0.1, "").await?;
            std::future::pending::<()>().await;
            Ok(())
        });
    let worker = worker.start().await.unwrap();
    for id in [polite, stubborn] {
        // Running for sure once it has told of its progress.
        while fixture
            .jobs
            .get(id)
            .await
            .unwrap()
            .unwrap()
            .progress
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(fixture.jobs.cancel(id).await.unwrap(), State::Running);
        let job = fixture.jobs.wait(id, LONG).await.unwrap();
        assert_eq!(job.state, State::Cancelled);
    }
    let job = fixture.jobs.get(polite).await.unwrap().unwrap();
    assert_eq!(
        (job.progress, job.note.as_deref()),
        (Some(0.5), Some("half way"))
    );
    worker.shutdown(LONG).await;
}

#[tokio::test]
async fn only_what_has_ended_is_deleted_and_no_number_is_given_twice() {
    let fixture = Fixture::new().await;
    let first = fixture.push(note("first")).await;
    let error = fixture.jobs.delete(first).await.unwrap_err();
    assert!(matches!(error, Error::WrongState { .. }), "{error}");
    fixture.run_due().await;
    fixture.jobs.delete(first).await.unwrap();
    let second = fixture.push(note("second")).await;
    assert!(second > first);
    fixture.run_due().await;
    // What was left of it to keep its number went with the next clean-up.
    assert!(fixture.jobs.get(first).await.unwrap().is_none());
}

#[tokio::test]
async fn lists_filter_by_state_queue_and_kind() {
    let fixture = Fixture::new().await;
    let a = fixture.push(note("a")).await;
    let b = fixture.push(note("b").queue("other")).await;
    let c = fixture.push(NewJob::raw("kind", "1").delay(LONG)).await;
    let d = fixture.push(NewJob::raw("dies", "1").queue("d")).await;
    let worker = fixture.jobs.worker().queue("d", 1);
    let worker = worker.handler("dies", |_| async { Err::<(), _>(Failure::discard("no")) });
    worker.run_due().await.unwrap();
    let list = |filter: Filter| {
        let jobs = fixture.jobs.clone();
        async move {
            let jobs = jobs.list(filter, 10).await.unwrap();
            jobs.iter().map(|job| job.id).collect::<Vec<_>>()
        }
    };
    let any = Filter::new;
    let in_state = |state| any().state(state);
    assert_eq!(list(any()).await, [d, c, b, a]);
    assert_eq!(list(in_state(State::Ready)).await, [b, a]);
    assert_eq!(list(in_state(State::Scheduled)).await, [c]);
    assert_eq!(list(in_state(State::Dead)).await, [d]);
    assert!(list(in_state(State::Running)).await.is_empty());
    assert_eq!(list(any().queue("other")).await, [b]);
    assert_eq!(list(any().kind("note").before(b)).await, [a]);
}

#[tokio::test]
async fn ended_jobs_are_removed_after_their_time_and_not_before() {
    let fixture = Fixture::new().await;
    let kept = |seconds| Duration::from_secs(seconds);
    let worker = || fixture.worker().keep_done(kept(60)).keep_dead(kept(600));
    let first = fixture.push(note("first")).await;
    let waits = fixture.push(note("waits").delay(kept(86_400))).await;
    worker().run_due().await.unwrap();
    // Removal goes along with work: a thousand ends take one look.
    let many = |n: i32| (0..n).map(|n| note(&n.to_string())).collect();
    fixture.advance_s(59);
    fixture.jobs.push_many(many(1100)).await.unwrap();
    worker().run_due().await.unwrap();
    assert!(fixture.jobs.get(first).await.unwrap().is_some());
    fixture.advance_s(2);
    fixture.jobs.push_many(many(1100)).await.unwrap();
    worker().run_due().await.unwrap();
    assert!(fixture.jobs.get(first).await.unwrap().is_none());
    assert_eq!(fixture.state(waits).await, State::Scheduled);
}
