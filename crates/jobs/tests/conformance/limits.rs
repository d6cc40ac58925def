//! Keys, rates and pauses.

use std::time::Duration;

use monolite_jobs::{JobId, NewJob, State};

use crate::{Place, note};

#[tokio::test]
async fn a_key_lets_no_more_in_than_its_limit() {
    let place = Place::new().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let job = note(&n.to_string()).limit("account 1", 2);
        ids.push(place.push(job.queue(format!("q{}", n % 2))).await);
    }
    let other = place.push(note("other").limit("account 2", 2)).await;
    let states = |ids: Vec<JobId>| {
        let place = &place;
        async move {
            let mut states = Vec::new();
            for id in ids {
                states.push(place.state(id).await);
            }
            states
        }
    };
    use State::{Blocked, Cancelled, Ready};
    assert_eq!(
        states(ids.clone()).await,
        [Ready, Ready, Blocked, Blocked, Blocked]
    );
    assert_eq!(place.state(other).await, Ready);
    // Whoever leaves makes room: cancelled here, done below.
    assert_eq!(place.jobs.cancel(ids[0]).await.unwrap(), Cancelled);
    assert_eq!(place.jobs.cancel(ids[3]).await.unwrap(), Cancelled);
    assert_eq!(
        states(ids.clone()).await,
        [Cancelled, Ready, Ready, Cancelled, Blocked]
    );
    let worker = place.worker().queue("q0", 1).queue("q1", 1);
    assert_eq!(worker.run_due().await.unwrap(), 3);
    assert_eq!(place.state(ids[4]).await, State::Done);
}

#[tokio::test]
async fn a_failed_job_gives_its_place_away_while_it_waits() {
    let place = Place::new().await;
    let bad = place.push(NewJob::raw("bad", "1").limit("k", 1)).await;
    let good = place.push(note("good").limit("k", 1)).await;
    assert_eq!(place.state(good).await, State::Blocked);
    let worker = place.worker().handler("bad", |ctx| async move {
        if ctx.attempt() == 1 {
            return crate::fail("first");
        }
        Ok(())
    });
    assert_eq!(worker.run_due().await.unwrap(), 2);
    assert_eq!(place.state(good).await, State::Done);
    // Due while somebody else has the place: it waits as blocked.
    place.push(note("third").limit("k", 1)).await;
    place.advance_s(20);
    assert_eq!(place.jobs.retry(bad).await.unwrap(), State::Blocked);
}

#[tokio::test]
async fn a_rate_is_kept_over_all_workers() {
    let place = Place::new().await;
    let rate = Some((3, Duration::from_secs(60)));
    place.jobs.rate_limit("default", rate).await.unwrap();
    for n in 0..10 {
        place.push(note(&n.to_string())).await;
    }
    assert_eq!(place.run_due().await, ["0", "1", "2"]);
    assert!(place.run_due().await.is_empty());
    place.advance_s(59);
    assert!(place.run_due().await.is_empty());
    place.advance_s(1);
    assert_eq!(place.run_due().await, ["3", "4", "5"]);
    place.advance_s(3600);
    assert_eq!(place.run_due().await, ["6", "7", "8"]);
    // Set back by a day: it waits a period at most.
    place.clock.step(-86_400_000);
    assert!(place.run_due().await.is_empty());
    place.advance_s(60);
    assert_eq!(place.run_due().await, ["9"]);
    let nothing = Some((0, Duration::from_secs(1)));
    assert!(place.jobs.rate_limit("default", nothing).await.is_err());
    place.jobs.rate_limit("default", None).await.unwrap();
    for n in 0..10 {
        place.push(note(&n.to_string())).await;
    }
    assert_eq!(place.run_due().await.len(), 10);
}

#[tokio::test]
async fn a_running_worker_goes_on_by_itself_when_the_rate_has_room() {
    let place = Place::new().await;
    let rate = Some((1, Duration::from_millis(50)));
    place.jobs.rate_limit("default", rate).await.unwrap();
    let first = place.push(note("first")).await;
    let second = place.push(note("second")).await;
    let worker = place.worker().start().await.unwrap();
    place
        .jobs
        .wait(first, Duration::from_secs(20))
        .await
        .unwrap();
    assert_eq!(place.state(second).await, State::Ready);
    place.clock.advance(Duration::from_millis(60));
    place
        .jobs
        .wait(second, Duration::from_secs(20))
        .await
        .unwrap();
    worker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_paused_queue_is_left_alone_until_it_is_resumed() {
    let place = Place::new().await;
    place.jobs.pause("default").await.unwrap();
    let id = place.push(note("held")).await;
    assert!(place.run_due().await.is_empty());
    let worker = place.worker().start().await.unwrap();
    let queues = place.jobs.queues().await.unwrap();
    assert!(queues[0].paused);
    assert_eq!(queues[0].count(State::Ready), 1);
    place.jobs.resume("default").await.unwrap();
    place.jobs.wait(id, Duration::from_secs(20)).await.unwrap();
    worker.shutdown(Duration::from_secs(5)).await;
}
