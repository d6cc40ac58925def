//! Keys, rates and pauses.

use std::time::Duration;

use monolite_jobs::{JobId, NewJob, State};

use crate::{Fixture, note};

#[tokio::test]
async fn a_key_lets_no_more_in_than_its_limit() {
    let fixture = Fixture::new().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let job = note(&n.to_string()).limit("account 1", 2);
        ids.push(fixture.push(job.queue(format!("q{}", n % 2))).await);
    }
    let other = fixture.push(note("other").limit("account 2", 2)).await;
    let states = |ids: Vec<JobId>| {
        let fixture = &fixture;
        async move {
            let mut states = Vec::new();
            for id in ids {
                states.push(fixture.state(id).await);
            }
            states
        }
    };
    use State::{Blocked, Cancelled, Ready};
    assert_eq!(
        states(ids.clone()).await,
        [Ready, Ready, Blocked, Blocked, Blocked]
    );
    assert_eq!(fixture.state(other).await, Ready);
    // Whoever leaves makes room: cancelled here, done below.
    assert_eq!(fixture.jobs.cancel(ids[0]).await.unwrap(), Cancelled);
    assert_eq!(fixture.jobs.cancel(ids[3]).await.unwrap(), Cancelled);
    assert_eq!(
        states(ids.clone()).await,
        [Cancelled, Ready, Ready, Cancelled, Blocked]
    );
    let worker = fixture.worker().queue("q0", 1).queue("q1", 1);
    assert_eq!(worker.run_due().await.unwrap(), 3);
    assert_eq!(fixture.state(ids[4]).await, State::Done);
}

#[tokio::test]
async fn a_failed_job_gives_its_place_away_while_it_waits() {
    let fixture = Fixture::new().await;
    let bad = fixture.push(NewJob::raw("bad", "1").limit("k", 1)).await;
    let good = fixture.push(note("good").limit("k", 1)).await;
    assert_eq!(fixture.state(good).await, State::Blocked);
    let worker = fixture.worker().handler("bad", |ctx| async move {
        if ctx.attempt() == 1 {
            return crate::fail("first");
        }
        Ok(())
    });
    assert_eq!(worker.run_due().await.unwrap(), 2);
    assert_eq!(fixture.state(good).await, State::Done);
    // Due while somebody else has the fixture: it waits as blocked.
    fixture.push(note("third").limit("k", 1)).await;
    fixture.advance_s(20);
    assert_eq!(fixture.jobs.retry(bad).await.unwrap(), State::Blocked);
}

#[tokio::test]
async fn a_rate_is_kept_over_all_workers() {
    let fixture = Fixture::new().await;
    let rate = Some((3, Duration::from_secs(60)));
    fixture.jobs.rate_limit("default", rate).await.unwrap();
    for n in 0..10 {
        fixture.push(note(&n.to_string())).await;
    }
    assert_eq!(fixture.run_due().await, ["0", "1", "2"]);
    assert!(fixture.run_due().await.is_empty());
    fixture.advance_s(59);
    assert!(fixture.run_due().await.is_empty());
    fixture.advance_s(1);
    assert_eq!(fixture.run_due().await, ["3", "4", "5"]);
    fixture.advance_s(3600);
    assert_eq!(fixture.run_due().await, ["6", "7", "8"]);
    // Set back by a day: it waits a period at most.
    fixture.clock.step(-86_400_000);
    assert!(fixture.run_due().await.is_empty());
    fixture.advance_s(60);
    assert_eq!(fixture.run_due().await, ["9"]);
    let nothing = Some((0, Duration::from_secs(1)));
    assert!(fixture.jobs.rate_limit("default", nothing).await.is_err());
    fixture.jobs.rate_limit("default", None).await.unwrap();
    for n in 0..10 {
        fixture.push(note(&n.to_string())).await;
    }
    assert_eq!(fixture.run_due().await.len(), 10);
}

#[tokio::test]
async fn a_running_worker_goes_on_by_itself_when_the_rate_has_room() {
    let fixture = Fixture::new().await;
    let rate = Some((1, Duration::from_millis(50)));
    fixture.jobs.rate_limit("default", rate).await.unwrap();
    let first = fixture.push(note("first")).await;
    let second = fixture.push(note("second")).await;
    let worker = fixture.worker().start().await.unwrap();
    fixture
        .jobs
        .wait(first, Duration::from_secs(20))
        .await
        .unwrap();
    assert_eq!(fixture.state(second).await, State::Ready);
    fixture.clock.advance(Duration::from_millis(60));
    fixture
        .jobs
        .wait(second, Duration::from_secs(20))
        .await
        .unwrap();
    worker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_paused_queue_is_left_alone_until_it_is_resumed() {
    let fixture = Fixture::new().await;
    fixture.jobs.pause("default").await.unwrap();
    let id = fixture.push(note("held")).await;
    assert!(fixture.run_due().await.is_empty());
    let worker = fixture.worker().start().await.unwrap();
    let queues = fixture.jobs.queues().await.unwrap();
    assert!(queues[0].paused);
    assert_eq!(queues[0].count(State::Ready), 1);
    fixture.jobs.resume("default").await.unwrap();
    fixture
        .jobs
        .wait(id, Duration::from_secs(20))
        .await
        .unwrap();
    worker.shutdown(Duration::from_secs(5)).await;
}
