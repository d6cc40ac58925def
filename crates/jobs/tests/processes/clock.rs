//! The wall clock is set, an hour forward and an hour back.

use std::time::Duration;

use monolite_component::{Clock, SystemClock};
use monolite_jobs::Unique;

use super::check::check_the_end;
use super::place::{Line, Place, Process, SECOND, ms, prepare, task, until};
use super::worker::{Config, FileClock, Task};

const HOUR_MS: i64 = 3_600_000;

/// A worker that waits for a wall time looks at the clock this often.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// A machine under load.
const SLACK: Duration = Duration::from_secs(5);

/// What is counted in whole milliseconds, and read one clock after the other.
const EARLY_US: u64 = 20_000;

struct Stepped {
    place: Place,
    offset_ms: i64,
}

impl Stepped {
    fn new() -> Self {
        let place = Place::new();
        FileClock::set(&place.clock_file(), 0);
        Self {
            place,
            offset_ms: 0,
        }
    }

    fn step(&mut self, by_ms: i64) {
        self.offset_ms += by_ms;
        FileClock::set(&self.place.clock_file(), self.offset_ms);
    }

    fn wall_ms(&self) -> i64 {
        SystemClock.now_ms() + self.offset_ms
    }

    fn workers(&self, cron: bool) -> [Process; 2] {
        ["a", "b"].map(|name| {
            let cron = cron.then(|| ("every second".into(), "* * * * * *".into(), 7));
            self.place.worker(&Config {
                lease_ms: 2000,
                cron,
                ..self.place.config(name)
            })
        })
    }
}

fn check_once_after(start: &[Line], since_us: u64, pause: Duration) {
    assert_eq!(start.len(), 1, "{start:?}");
    let waited = start[0].us - since_us + EARLY_US;
    assert!(
        waited >= pause.as_micros() as u64,
        "{} ms early",
        (pause.as_micros() as u64 - waited) / 1000
    );
}

/// Nothing but a delay and a retry is about: no traffic helps to notice.
async fn quiet_delays(by_ms: i64) {
    let mut it = Stepped::new();
    let jobs = it.place.jobs().await;
    let workers = it.workers(false);
    let delay = 3 * SECOND;
    let retried = Task {
        fails: 1,
        retry_ms: 3000,
        ..task(2)
    };
    let before = super::worker::steady_us();
    jobs.push(prepare(&task(1)).delay(delay)).await.unwrap();
    jobs.enqueue(retried).await.unwrap();
    let failed = it.place.wait_start(2, 10 * SECOND);
    std::thread::sleep(SECOND);
    it.step(by_ms);
    let limit = delay + NOTICED_WITHIN + SLACK;
    it.place.wait_start(1, limit);
    until("the retry", limit, || it.place.starts(2).len() == 2);
    it.place.drained(10 * SECOND);
    check_once_after(&it.place.starts(1), before, delay);
    check_once_after(&it.place.starts(2)[1..], failed.us, delay);
    for worker in workers {
        worker.terminate(10 * SECOND);
    }
    check_the_end(&it.place.conn());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_is_kept_though_the_clock_goes_back() {
    quiet_delays(-HOUR_MS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_is_kept_though_the_clock_goes_forward() {
    quiet_delays(HOUR_MS).await;
}

/// Nothing but a schedule is about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_goes_on_whatever_the_clock_does() {
    let mut it = Stepped::new();
    let _jobs = it.place.jobs().await;
    let workers = it.workers(true);
    let place_log = |it: &Stepped| it.place.starts(7);
    until("it fires", 20 * SECOND, || place_log(&it).len() > 2);
    for by_ms in [-HOUR_MS, HOUR_MS, HOUR_MS, -HOUR_MS] {
        it.step(by_ms);
        let before = place_log(&it).len();
        until(
            &format!("it fires after {by_ms} ms"),
            NOTICED_WITHIN + SLACK,
            || place_log(&it).len() > before + 2,
        );
    }
    let starts = place_log(&it);
    for worker in workers {
        worker.terminate(10 * SECOND);
    }
    // Twice for one tick would be two in the same second, or more in all than
    // there were seconds; a late one and the next may lie close together.
    let us = starts.last().unwrap().us - starts[0].us;
    let (fired, seconds) = (starts.len() as u64, us / 1_000_000);
    // One more for each step: a tick of the old time and one of the new.
    assert!(fired <= seconds + 2 + 4, "{fired} in {seconds} s");
    for three in starts.windows(3) {
        let apart = three[2].us - three[0].us;
        assert!(apart > 500_000, "three times in {apart} µs");
    }
}

/// Jobs for a wall time follow the wall, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_for_a_wall_time_start_when_the_clock_says_so_and_once() {
    let mut it = Stepped::new();
    let jobs = it.place.jobs().await;
    let workers = it.workers(false);
    let soon = it.wall_ms() + HOUR_MS / 2;
    let late = it.wall_ms() + HOUR_MS * 3 / 2;
    jobs.push(prepare(&task(1)).at_ms(soon)).await.unwrap();
    jobs.push(prepare(&task(2)).at_ms(late)).await.unwrap();
    std::thread::sleep(SECOND);
    it.step(-HOUR_MS);
    std::thread::sleep(SECOND);
    assert!(it.place.starts(1).is_empty(), "too soon");
    it.step(2 * HOUR_MS);
    it.place.wait_start(1, NOTICED_WITHIN + SLACK);
    // Its time comes a second time.
    it.step(-HOUR_MS);
    std::thread::sleep(2 * SECOND);
    it.step(HOUR_MS);
    std::thread::sleep(2 * SECOND);
    assert_eq!(it.place.starts(1).len(), 1);
    assert!(it.place.starts(2).is_empty(), "too soon");
    it.step(HOUR_MS);
    it.place.wait_start(2, NOTICED_WITHIN + SLACK);
    it.place.drained(10 * SECOND);
    for worker in workers {
        worker.terminate(10 * SECOND);
    }
    check_the_end(&it.place.conn());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unique_window_lasts_as_long_as_was_said() {
    for by_ms in [-HOUR_MS, HOUR_MS] {
        let mut it = Stepped::new();
        let jobs = it.place.jobs().await;
        let workers = it.workers(false);
        let window = 5 * SECOND;
        let unique = |n| prepare(&task(n)).unique(Unique::key("k").window(window));
        let begun = std::time::Instant::now();
        assert!(jobs.push(unique(1)).await.unwrap().added);
        it.place.drained(10 * SECOND);
        it.step(by_ms);
        let again = jobs.push(unique(2)).await.unwrap().added;
        // Unless this machine stood still for so long.
        assert!(!again || begun.elapsed() >= window, "{by_ms}: it is over");
        tokio::time::sleep(window + ms(200)).await;
        assert!(jobs.push(unique(3)).await.unwrap().added, "{by_ms}");
        it.place.drained(10 * SECOND);
        assert!(it.place.starts(2).is_empty());
        for worker in workers {
            worker.terminate(10 * SECOND);
        }
    }
}

/// Most starts within any `period`.
fn most_in(starts: &[Line], period: Duration) -> usize {
    let period_us = period.as_micros() as u64;
    let after = |from: &Line| {
        let near = starts.iter();
        near.filter(|line| line.us >= from.us && line.us - from.us < period_us)
            .count()
    };
    starts.iter().map(after).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_holds_in_any_period() {
    let place = Place::new();
    let jobs = place.jobs().await;
    let period = 2 * SECOND;
    jobs.rate_limit("default", Some((4, period))).await.unwrap();
    let workers = ["a", "b"].map(|name| place.worker(&place.config(name)));
    let many = (1..=16).map(|n| prepare(&task(n))).collect();
    jobs.push_many(many).await.unwrap();
    place.drained(30 * SECOND);
    let most = most_in(&place.logged("start"), period - ms(100));
    assert!(most <= 4, "{most} started within one period");
    for worker in workers {
        worker.terminate(10 * SECOND);
    }
}

/// The step neither stops a rate nor makes it forget what has started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_holds_over_a_step_of_the_clock() {
    for by_ms in [-HOUR_MS, HOUR_MS] {
        let mut it = Stepped::new();
        let jobs = it.place.jobs().await;
        let period = 6 * SECOND;
        jobs.rate_limit("default", Some((2, period))).await.unwrap();
        let workers = it.workers(false);
        let many = (1..=4).map(|n| prepare(&task(n))).collect();
        jobs.push_many(many).await.unwrap();
        it.place.wait_start(2, 10 * SECOND);
        it.step(by_ms);
        // Something that makes all of them look at once.
        jobs.push(prepare(&task(5)).queue("elsewhere"))
            .await
            .unwrap();
        std::thread::sleep(SECOND);
        let most = it.place.logged("start").len();
        assert!(most <= 2, "{by_ms}: {most} started within one period");
        until("the rest", 2 * period + NOTICED_WITHIN + SLACK, || {
            it.place.logged("start").len() == 4
        });
        for worker in workers {
            worker.terminate(10 * SECOND);
        }
    }
}
