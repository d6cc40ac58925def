//! Enqueueing: order, delays, unique keys, bounds.

use std::time::Duration;

use monolite_jobs::{Error, Job, JobId, NAME_MAX, NewJob, OnConflict, PAYLOAD_MAX, State, Unique};

use crate::{Fixture, Note, noon, note};

#[tokio::test]
async fn jobs_run_by_priority_then_in_the_order_they_came() {
    let fixture = Fixture::new().await;
    for text in ["a", "b"] {
        fixture.push(note(text)).await;
    }
    fixture.push(note("late").priority(5)).await;
    fixture.push(note("soon").priority(-5)).await;
    assert_eq!(fixture.run_due().await, ["soon", "a", "b", "late"]);
}

#[tokio::test]
async fn a_delay_and_a_time_are_waited_for() {
    let fixture = Fixture::new().await;
    fixture
        .push(note("delayed").delay(Duration::from_secs(60)))
        .await;
    let at = fixture
        .push(note("at").at(noon() + Duration::from_secs(30)))
        .await;
    fixture
        .push(note("past").at(noon() - Duration::from_millis(1)))
        .await;
    assert_eq!(fixture.state(at).await, State::Scheduled);
    assert_eq!(fixture.run_due().await, ["past"]);
    fixture.advance_s(29);
    assert!(fixture.run_due().await.is_empty());
    fixture.advance_s(1);
    assert_eq!(fixture.run_due().await, ["at"]);
    fixture.advance_s(30);
    assert_eq!(fixture.run_due().await, ["delayed"]);
}

#[tokio::test]
async fn many_come_in_one_go_or_not_at_all() {
    let fixture = Fixture::new().await;
    let many = (0..100).map(|n| note(&n.to_string())).collect();
    let added = fixture.jobs.push_many(many).await.unwrap();
    assert!(added.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert_eq!(fixture.run_due().await.len(), 100);

    let bad = vec![note("fine"), note("no queue").queue("")];
    let error = fixture.jobs.push_many(bad).await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert!(fixture.run_due().await.is_empty());
}

#[tokio::test]
async fn names_and_payloads_have_bounds() {
    let fixture = Fixture::new().await;
    let long = "x".repeat(NAME_MAX + 1);
    let bad = [
        note("a").queue(long.clone()),
        NewJob::raw(long.clone(), "1"),
        NewJob::raw("", "1"),
        note("a").limit(long.clone(), 1),
        note("a").unique(Unique::key("")),
        NewJob::raw("big", "x".repeat(PAYLOAD_MAX + 1)),
        note("a").then(note("b").queue("")),
    ];
    for job in bad {
        let error = fixture.jobs.push(job).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    let name = "é".repeat(NAME_MAX / 2);
    fixture.push(note("at the bound").queue(name)).await;
}

#[tokio::test]
async fn a_unique_job_is_there_once_until_it_has_ended() {
    let fixture = Fixture::new().await;
    let once = || note("once").unique(Unique::key("k"));
    let first = fixture.jobs.push(once()).await.unwrap();
    let second = fixture.jobs.push(once()).await.unwrap();
    assert!(first.added && !second.added);
    assert_eq!(first.id, second.id);
    assert_eq!(fixture.run_due().await, ["once"]);
    assert!(fixture.jobs.push(once()).await.unwrap().added);
}

#[tokio::test]
async fn a_window_holds_the_key_beyond_the_end() {
    let fixture = Fixture::new().await;
    let hourly = || {
        let unique = Unique::key("k").window(Duration::from_secs(3600));
        note("hourly").unique(unique.on_conflict(OnConflict::Refuse))
    };
    fixture.push(hourly()).await;
    assert_eq!(fixture.run_due().await, ["hourly"]);
    let error = fixture.jobs.push(hourly()).await.unwrap_err();
    assert!(matches!(error, Error::NotUnique { .. }), "{error}");
    // Setting the clock lets no time pass.
    fixture.clock.step(7_200_000);
    assert!(fixture.jobs.push(hourly()).await.is_err());
    fixture.advance_s(3601);
    fixture.push(hourly()).await;
}

#[tokio::test]
async fn replace_changes_the_one_that_waits() {
    let fixture = Fixture::new().await;
    let with = |text: &str, seconds| {
        let unique = Unique::key("k").on_conflict(OnConflict::Replace);
        let job = note(text).unique(unique);
        job.delay(Duration::from_secs(seconds))
    };
    let first = fixture.push(with("old", 10)).await;
    let again = fixture.jobs.push(with("new", 60)).await.unwrap();
    assert_eq!((again.id, again.added), (first, false));
    fixture.advance_s(10);
    assert!(fixture.run_due().await.is_empty());
    fixture.advance_s(50);
    assert_eq!(fixture.run_due().await, ["new"]);

    // From ready to scheduled and back: it is there exactly once.
    fixture.push(with("a", 0)).await;
    fixture.push(with("b", 5)).await;
    fixture.push(with("c", 0)).await;
    assert_eq!(fixture.run_due().await, ["c"]);
}

#[tokio::test]
async fn typed_jobs_carry_their_settings() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Special;
    impl Job for Special {
        const KIND: &'static str = "special";
        const QUEUE: &'static str = "slow";
        const PRIORITY: i64 = 7;
    }
    let fixture = Fixture::new().await;
    let id = fixture.jobs.enqueue(Special).await.unwrap();
    let job = fixture.jobs.get(id).await.unwrap().unwrap();
    assert_eq!((job.queue.as_str(), job.priority), ("slow", 7));
    assert_eq!(job.enqueued_at, noon());

    fixture
        .jobs
        .enqueue(Note { text: "n".into() })
        .await
        .unwrap();
    let notes: Vec<Note> = fixture.jobs.enqueued().await.unwrap();
    assert_eq!(notes, [Note { text: "n".into() }]);
}

#[tokio::test]
async fn many_of_all_sorts_keep_their_order_and_settings() {
    let fixture = Fixture::new().await;
    let jobs: Vec<_> = (0..57)
        .map(|n| {
            let job = note(&n.to_string()).priority(n % 3);
            match n % 20 {
                7 => job.max_attempts(3),
                11 => job.limit("k", 100),
                _ => job,
            }
        })
        .collect();
    let added = fixture.jobs.push_many(jobs).await.unwrap();
    let ids: Vec<_> = added.iter().map(|added| added.id).collect();
    assert_eq!(ids, (1..=57).map(JobId::from).collect::<Vec<_>>());
    let mut wanted: Vec<i64> = (0..57).collect();
    wanted.sort_by_key(|n| (n % 3, *n));
    let wanted: Vec<_> = wanted.iter().map(ToString::to_string).collect();
    assert_eq!(fixture.run_due().await, wanted);
}
