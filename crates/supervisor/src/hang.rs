//! Notices an app that was healthy and does not answer any more.
//!
//! While requests are answered nobody asks. Otherwise the app's health path is asked: at once where
//! requests wait in the app or were answered 504, else once a minute. The app is silent from the
//! first unanswered question on; any byte of any response ends that, and so does an answer to the
//! question, of whatever status, as long as no request was answered 504 meanwhile. It hangs when it
//! was silent for the whole limit.
//!
//! No false alarm:
//! - a long request keeps only those apps silent that serve one request at a time, and such a request
//!   was answered 504 at the response timeout; the limit is longer by default;
//! - on a busy machine some byte comes within the limit; and where this process itself does not get to
//!   run in time, or the machine was asleep, what was seen until then does not count.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use monolite_gate::health::{Health, Report, Severity};
use monolite_gate::{AppActivity, Gate};
use tokio::time::Instant;

use crate::config::HealthCheck;

/// How often the gate's counts are read: a sixth of the limit, within these.
const LOOK_INTERVALS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];
/// How often an app is asked to which no request came.
const IDLE_ASK_INTERVAL: Duration = Duration::from_secs(60);
/// A look or a question that takes so much longer than it may: this process did not get to run.
const STALL_TIME: Duration = Duration::from_secs(2);
/// So many unanswered questions at least make a hang.
const UNANSWERED_MIN: u32 = 3;
/// An app that answers its health path and no request hangs if so many were answered 504.
const LATE_MIN: u64 = 10;
/// Silence is on the health page from here on.
const REPORT_TIME: Duration = Duration::from_secs(15);
/// And makes it 503 from here on, where an app that hangs is not restarted.
const FAILING_TIME: Duration = Duration::from_secs(60);

/// The part of the health page.
const PART: &str = "app";

/// What one look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Something of a response came.
    Progress,
    /// Nothing of a response, but an answer to the question; so many requests were answered 504.
    Answer { late: u64 },
    /// Nothing at all; so many requests were answered 504.
    Nothing { late: u64 },
    /// This process did not get to run: nothing is known.
    Stall,
}

/// How long the app has been silent, and whether that is a hang.
#[derive(Debug)]
struct Silence {
    /// `None`: silence is never a hang.
    limit: Option<Duration>,
    since: Option<Instant>,
    unanswered: u32,
    late: u64,
}

impl Silence {
    fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            since: None,
            unanswered: 0,
            late: 0,
        }
    }

    /// Takes in what was seen between `from` and `now`; true if the app hangs.
    fn observe(&mut self, seen: Seen, from: Instant, now: Instant) -> bool {
        match seen {
            Seen::Progress => *self = Self::new(self.limit),
            // Where requests were answered 504 and none otherwise, the health path alone is no sign
            // of life.
            Seen::Answer { late: 0 } if self.late == 0 => *self = Self::new(self.limit),
            Seen::Stall => {
                self.since = self.since.map(|_| now);
                self.unanswered = 0;
            }
            Seen::Answer { late } => {
                self.since.get_or_insert(from);
                self.unanswered = 0;
                self.late += late;
            }
            Seen::Nothing { late } => {
                self.since.get_or_insert(from);
                self.unanswered = self.unanswered.saturating_add(1);
                self.late += late;
            }
        }
        let is_long = self.limit.is_some_and(|limit| self.lasts(now) >= limit);
        is_long && (self.unanswered >= UNANSWERED_MIN || self.late >= LATE_MIN)
    }

    /// Whether it does not answer now, or answered too many requests late.
    fn is_silent(&self) -> bool {
        self.unanswered > 0 || self.late >= LATE_MIN
    }

    fn lasts(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now - since)
    }
}

/// What the health page says of the app.
#[derive(Default)]
struct State {
    silent_since: Option<Instant>,
    limit: Option<Duration>,
    restarts: u64,
}

/// The app as a part of the health page.
#[derive(Clone, Default)]
pub(crate) struct AppHealth(Arc<Mutex<State>>);

impl AppHealth {
    pub(crate) fn register(health: &Health, limit: Option<Duration>) -> Self {
        let this = Self::default();
        this.change(|state| state.limit = limit);
        let part = this.clone();
        health.register(PART, Severity::Critical, move || part.report());
        this
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A new life begins.
    pub(crate) fn begins(&self) {
        self.change(|state| state.silent_since = None);
    }

    /// It is restarted because it hangs.
    pub(crate) fn restarts(&self) {
        self.change(|state| state.restarts += 1);
    }

    fn report(&self) -> Report {
        let (silent, limit, restarts) = self.change(|state| {
            let silent = state.silent_since.map(|since| since.elapsed());
            (silent.unwrap_or_default(), state.limit, state.restarts)
        });
        let failing = limit.map_or(FAILING_TIME, |limit| limit / 2);
        let what = format!("has answered nothing for {} s", silent.as_secs());
        let report = match silent {
            _ if silent < REPORT_TIME.min(failing) => Report::ok(),
            _ if silent < failing => Report::degraded(what),
            _ => Report::failing(what),
        };
        report.fact("hang_restarts", restarts)
    }
}

/// Comes when the app at `address`, which was healthy, hangs; answers with how long it was silent.
/// With no `limit` it never comes, and the health page alone says so.
pub(crate) async fn hangs(
    gate: &Gate,
    check: &HealthCheck,
    address: SocketAddr,
    limit: Option<Duration>,
    health: &AppHealth,
) -> Duration {
    let mut silence = Silence::new(limit);
    let [shortest, longest] = LOOK_INTERVALS;
    let interval = limit.map_or(longest, |limit| (limit / 6).clamp(shortest, longest));
    let mut last = gate.activity().unwrap_or_default();
    let mut asked = Instant::now();
    let mut was_reported = false;
    loop {
        let from = Instant::now();
        tokio::time::sleep(interval).await;
        let has_stalled = from.elapsed() > interval + STALL_TIME;
        // Nothing passes to it while a service needs a pause.
        let Some(now) = gate.activity() else {
            continue;
        };
        let seen = if has_stalled {
            Seen::Stall
        } else if now.progress != last.progress {
            Seen::Progress
        } else {
            let is_asked_for = gate.stats().in_flight > 0 || now.late != last.late;
            let is_due = asked.elapsed() >= IDLE_ASK_INTERVAL;
            if !is_asked_for && !is_due && silence.since.is_none() {
                continue;
            }
            asked = Instant::now();
            ask(gate, check, address, interval, last).await
        };
        last = gate.activity().unwrap_or(now);
        let now = Instant::now();
        let is_hang = silence.observe(seen, from, now);
        // One late request among answers is no sign of an app that hangs.
        let is_silent = silence.is_silent();
        health.change(|state| state.silent_since = silence.since.filter(|_| is_silent));
        let is_reported = is_silent && silence.lasts(now) >= REPORT_TIME;
        if is_reported && !was_reported {
            let (silent_s, in_flight) = (silence.lasts(now).as_secs(), gate.stats().in_flight);
            tracing::warn!(silent_s, in_flight, "the app does not answer");
        } else if was_reported && !is_reported {
            tracing::info!("the app answers again");
        }
        was_reported = is_reported;
        if is_hang {
            return silence.lasts(now);
        }
    }
}

/// Asks the health path, and looks what requests have got meanwhile.
async fn ask(
    gate: &Gate,
    check: &HealthCheck,
    address: SocketAddr,
    limit: Duration,
    last: AppActivity,
) -> Seen {
    let began = Instant::now();
    let answer = check.ask(address, limit).await;
    let now = gate.activity().unwrap_or(last);
    let late = now.late.saturating_sub(last.late);
    if now.progress != last.progress {
        Seen::Progress
    } else if answer.is_ok() {
        Seen::Answer { late }
    } else if began.elapsed() > limit + STALL_TIME {
        Seen::Stall
    } else {
        Seen::Nothing { late }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(120);
    const STEP: Duration = Duration::from_secs(10);

    /// What is seen in steps of ten seconds; answers with the step at which the app hangs.
    fn hangs_at(seen: impl IntoIterator<Item = Seen>) -> Option<usize> {
        let mut silence = Silence::new(Some(LIMIT));
        let mut now = Instant::now();
        seen.into_iter().position(|seen| {
            let from = now;
            now += STEP;
            silence.observe(seen, from, now)
        })
    }

    const NOTHING: Seen = Seen::Nothing { late: 0 };
    const ANSWER: Seen = Seen::Answer { late: 0 };

    #[test]
    fn silence_for_the_whole_limit_is_a_hang() {
        assert_eq!(hangs_at([NOTHING; 30]), Some(11));
        assert_eq!(hangs_at([Seen::Nothing { late: 5 }; 30]), Some(11));
    }

    #[test]
    fn a_single_sign_of_life_ends_the_silence() {
        for sign in [Seen::Progress, ANSWER] {
            // As a long request in an app that serves one at a time: then all get their answer.
            let busy = [NOTHING; 11].into_iter().chain([sign]);
            let busy: Vec<Seen> = busy.cycle().take(1000).collect();
            assert_eq!(hangs_at(busy), None, "{sign:?}");
        }
    }

    #[test]
    fn a_machine_that_sleeps_or_starves_is_no_hang() {
        let starved = [NOTHING, NOTHING, Seen::Stall]
            .into_iter()
            .cycle()
            .take(1000);
        assert_eq!(hangs_at(starved), None);
        // Awake again, it is given the whole limit.
        let woken = [NOTHING; 5]
            .into_iter()
            .chain([Seen::Stall])
            .chain([NOTHING; 30]);
        assert_eq!(hangs_at(woken), Some(5 + 1 + 11));
    }

    #[test]
    fn an_app_that_answers_its_health_path_alone_hangs() {
        let late = Seen::Answer { late: 1 };
        assert_eq!(hangs_at([late; 30]), Some(11));
        // Few requests: not before there were enough of them.
        let few = [late, ANSWER].into_iter().cycle().take(30);
        assert_eq!(hangs_at(few), Some(18));
        // None but slow ones among many that are answered.
        let slow = [late, Seen::Progress].into_iter().cycle().take(1000);
        assert_eq!(hangs_at(slow), None);
        // One, and then nobody comes any more.
        let one = [late].into_iter().chain([ANSWER; 1000]);
        assert_eq!(hangs_at(one), None);
    }

    #[test]
    fn without_a_limit_it_is_only_reported() {
        let mut silence = Silence::new(None);
        let start = Instant::now();
        for n in 0..1000 {
            let from = start + STEP * n;
            assert!(!silence.observe(NOTHING, from, from + STEP));
        }
        assert_eq!(silence.lasts(start + STEP * 1000), STEP * 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_health_page_says_so_and_fails_at_half_the_limit() {
        use monolite_gate::health::Condition;
        let health = Health::default();
        let app = AppHealth::register(&health, Some(LIMIT));
        let condition = || health.reports().remove(0).1.condition().clone();
        assert_eq!(condition(), Condition::Ok);
        app.change(|state| state.silent_since = Some(Instant::now()));
        tokio::time::advance(Duration::from_secs(14)).await;
        assert_eq!(condition(), Condition::Ok);
        tokio::time::advance(Duration::from_secs(6)).await;
        let expected = Condition::Degraded("has answered nothing for 20 s".into());
        assert_eq!(condition(), expected);
        tokio::time::advance(Duration::from_secs(40)).await;
        assert!(matches!(condition(), Condition::Failing(_)));
        app.begins();
        app.restarts();
        assert_eq!(condition(), Condition::Ok);
        let (_, report) = health.reports().remove(0);
        assert_eq!(report.facts()["hang_restarts"], 1);
    }
}
