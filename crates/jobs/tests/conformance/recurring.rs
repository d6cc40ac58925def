//! Recurring jobs.

use std::time::Duration;

use monolite_jobs::{Error, Unique};

use crate::{Fixture, Note, noon, note};

#[tokio::test]
async fn a_schedule_fires_each_tick_once_and_missed_ones_together() {
    let fixture = Fixture::new().await;
    let jobs = &fixture.jobs;
    jobs.schedule("minute", "* * * * *", "UTC", note("tick"))
        .await
        .unwrap();
    assert!(fixture.run_due().await.is_empty());
    for _ in 0..3 {
        fixture.advance_s(60);
        assert_eq!(fixture.run_due().await, ["tick"]);
        assert!(fixture.run_due().await.is_empty());
    }
    fixture.advance_s(3600);
    assert_eq!(fixture.run_due().await, ["tick"]);
    jobs.unschedule("minute").await.unwrap();
    fixture.advance_s(60);
    assert!(fixture.run_due().await.is_empty());
}

#[tokio::test]
async fn setting_it_again_keeps_the_tick_and_changing_it_moves_it() {
    let fixture = Fixture::new().await;
    let set = |schedule: &'static str| fixture.jobs.schedule("s", schedule, "UTC", note("tick"));
    set("0 13 * * *").await.unwrap();
    fixture.advance_s(3600);
    // A worker that starts sets its schedules again: the tick due now is kept.
    set("0 13 * * *").await.unwrap();
    assert_eq!(fixture.run_due().await, ["tick"]);
    set("30 13 * * *").await.unwrap();
    let schedules = fixture.jobs.schedules().await.unwrap();
    assert_eq!(schedules[0].next_at, noon() + Duration::from_secs(5400));
    assert_eq!(
        schedules[0].last_at,
        Some(noon() + Duration::from_secs(3600))
    );
}

#[tokio::test]
async fn zones_follow_their_daylight_saving() {
    let fixture = Fixture::new().await;
    let jobs = &fixture.jobs;
    // 2026-03-29 is the day on which Berlin goes from UTC+1 to UTC+2.
    jobs.schedule("morning", "0 9 * * *", "Europe/Berlin", note("m"))
        .await
        .unwrap();
    let hours_after_noon = |hours: u64| noon() + Duration::from_secs(hours * 3600);
    let next = || async { jobs.schedules().await.unwrap()[0].next_at };
    assert_eq!(next().await, hours_after_noon(20));
    fixture.advance_s(28 * 86_400);
    fixture.run_due().await;
    // The day after: 09:00 is 07:00 UTC.
    assert_eq!(next().await, hours_after_noon(28 * 24 + 19));
}

#[tokio::test]
async fn a_clock_set_back_neither_fires_twice_nor_stops() {
    let fixture = Fixture::new().await;
    let jobs = &fixture.jobs;
    let minute = jobs.schedule("minute", "* * * * *", "UTC", note("minute"));
    minute.await.unwrap();
    let daily = jobs.schedule("daily", "30 12 * * *", "UTC", note("daily"));
    daily.await.unwrap();
    let delayed = note("delayed").delay(Duration::from_secs(3600));
    fixture.push(delayed).await;
    fixture.advance_s(1810);
    let mut fired = fixture.run_due().await;
    fired.sort();
    assert_eq!(fired, ["daily", "minute"]);
    fixture.clock.step(-3_600_000);
    // Every minute of true time one; the day's has been.
    for _ in 0..29 {
        fixture.advance_s(60);
        assert_eq!(fixture.run_due().await, ["minute"]);
    }
    fixture.advance_s(60);
    let mut fired = fixture.run_due().await;
    fired.sort();
    assert_eq!(fired, ["delayed", "minute"]);
    fixture.advance_s(3600);
    assert_eq!(fixture.run_due().await, ["minute"]);
}

#[tokio::test]
async fn a_clock_set_forward_does_not_hurry_delays() {
    let fixture = Fixture::new().await;
    fixture
        .push(note("delayed").delay(Duration::from_secs(600)))
        .await;
    fixture
        .push(note("at").at(noon() + Duration::from_secs(600)))
        .await;
    fixture.clock.step(3_600_000);
    assert_eq!(fixture.run_due().await, ["at"]);
    fixture.advance_s(599);
    assert!(fixture.run_due().await.is_empty());
    fixture.advance_s(1);
    assert_eq!(fixture.run_due().await, ["delayed"]);
}

#[tokio::test]
async fn what_cannot_be_a_schedule_is_refused_by_name() {
    let fixture = Fixture::new().await;
    for (schedule, zone, text) in [
        ("every day", "UTC", "\"every day\" is not a cron expression"),
        ("0 0 30 2 *", "UTC", "never due"),
        (
            "@daily",
            "Mars/Olympus",
            "\"Mars/Olympus\" is not a time zone",
        ),
    ] {
        let refused = fixture.jobs.schedule("s", schedule, zone, note("x"));
        let error = refused.await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    assert!(fixture.jobs.schedules().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_worker_brings_its_schedules_and_unique_jobs_do_not_pile_up() {
    let fixture = Fixture::new().await;
    let job = || note("t").queue("nobody").unique(Unique::key("t"));
    let worker = || fixture.worker().cron("c", "* * * * * *", "UTC", job());
    worker().run_due().await.unwrap();
    for _ in 0..5 {
        fixture.advance_s(1);
        worker().run_due().await.unwrap();
    }
    assert_eq!(fixture.jobs.enqueued::<Note>().await.unwrap().len(), 1);
}
