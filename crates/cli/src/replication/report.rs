//! What is said of a replication while it goes on: what changed, once.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use monolite_replica::{Follower, State, Status};

use super::news::News;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A lag that is worth a line, and one that ends it.
const BEHIND_MS: u64 = 10_000;
const CAUGHT_UP_MS: u64 = 5_000;
/// A problem that lasts is said again after this.
const REMIND: Duration = Duration::from_secs(600);
/// Problems of one destination that get a line each; more are counted.
const EACH: usize = 3;
/// Between two accounts of what was sent.
const ACCOUNT: Duration = Duration::from_secs(3600);

/// Logs how `follower` does, until this is dropped.
pub(crate) async fn watch(follower: &Follower) {
    let mut reporter = Reporter::new(Instant::now());
    loop {
        for news in reporter.news(&follower.status(), Instant::now()) {
            news.log();
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Compares what it is told with what it was told before.
pub(crate) struct Reporter {
    known: HashMap<(String, String), Known>,
    /// Destinations of which it was said that nothing keeps others out.
    unleased: HashSet<String>,
    accounted: Instant,
    /// Files and bytes sent up to the last account.
    sent: (u64, u64),
}

#[derive(Default)]
struct Known {
    follows: bool,
    problem: Option<Problem>,
    is_behind: bool,
    advised: Option<String>,
}

struct Problem {
    since: Instant,
    said: Instant,
    refused: bool,
}

impl Reporter {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            known: HashMap::new(),
            unleased: HashSet::new(),
            accounted: now,
            sent: (0, 0),
        }
    }

    /// What there is to say of `all`.
    pub(crate) fn news(&mut self, all: &[Status], now: Instant) -> Vec<News> {
        let mut news = Vec::new();
        for status in all {
            let key = (status.database.clone(), status.destination.clone());
            let known = self.known.entry(key).or_default();
            known.look(status, now, &mut news);
            if !status.leased && self.unleased.insert(status.destination.clone()) {
                news.push(News::Unleased(status.destination.clone()));
            }
        }
        // A bucket that is away is so for each of a thousand databases.
        let mut fails: HashMap<String, usize> = HashMap::new();
        news.retain(|one| {
            let News::Fails { status, .. } = one else {
                return true;
            };
            let count = fails.entry(status.destination.clone()).or_default();
            *count += 1;
            *count <= EACH
        });
        for one in news.iter_mut().rev() {
            if let News::Fails { status, more, .. } = one {
                // With the last line of each destination.
                let count = fails.remove(&status.destination).unwrap_or(0);
                *more = count.saturating_sub(EACH);
            }
        }
        news.extend(self.account(all, now));
        news
    }

    fn account(&mut self, all: &[Status], now: Instant) -> Option<News> {
        if now.duration_since(self.accounted) < ACCOUNT {
            return None;
        }
        self.accounted = now;
        let files = all.iter().map(|status| status.sent_files).sum();
        let bytes = all.iter().map(|status| status.sent_bytes).sum();
        let before = std::mem::replace(&mut self.sent, (files, bytes));
        let databases: HashSet<&str> = all.iter().map(|of| of.database.as_str()).collect();
        (files > before.0).then(|| News::Sent {
            files: files - before.0,
            bytes: bytes.saturating_sub(before.1),
            lag_ms: all.iter().map(|status| status.lag_ms).max().unwrap_or(0),
            databases: databases.len(),
        })
    }
}

impl Known {
    fn look(&mut self, status: &Status, now: Instant, news: &mut Vec<News>) {
        let refused = status.state == State::Refused;
        if status.advice != self.advised
            && let Some(advice) = &status.advice
        {
            self.advised.clone_from(&status.advice);
            news.push(News::Slow(status.clone(), advice.clone()));
        }
        match (status.error(), self.problem.take()) {
            (Some(_), None) => {
                let (since, more) = (Duration::ZERO, 0);
                let status = status.clone();
                news.push(News::Fails {
                    status,
                    since,
                    more,
                });
                self.problem = Some(Problem {
                    since: now,
                    said: now,
                    refused,
                });
            }
            (Some(_), Some(mut problem)) => {
                if problem.refused != refused || now.duration_since(problem.said) >= REMIND {
                    let since = now.duration_since(problem.since);
                    (problem.said, problem.refused) = (now, refused);
                    let (status, more) = (status.clone(), 0);
                    news.push(News::Fails {
                        status,
                        since,
                        more,
                    });
                }
                self.problem = Some(problem);
            }
            (None, Some(problem)) => {
                let after = now.duration_since(problem.since);
                let status = status.clone();
                // It says the same, and that it was not so.
                self.follows |= status.txid.0 > 0 && status.state == State::Following;
                news.push(News::Works { status, after });
            }
            (None, None) => {}
        }
        let is_stored = status.txid.0 > 0 && status.state == State::Following;
        if status.failure.is_none() && is_stored && !self.follows {
            self.follows = true;
            news.push(News::Follows(status.clone()));
        }
        if self.problem.is_some() {
            // That says more than the lag that comes of it.
            return;
        }
        if !self.is_behind && status.lag_ms >= BEHIND_MS {
            self.is_behind = true;
            news.push(News::Behind(status.clone()));
        } else if self.is_behind && status.lag_ms <= CAUGHT_UP_MS {
            self.is_behind = false;
            news.push(News::CaughtUp(status.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use monolite_ltx::Txid;
    use monolite_replica::{ErrorClass, Failure};

    use super::*;

    fn status(database: &str, state: State, error: Option<&str>, lag_ms: u64) -> Status {
        let mut status = Status::new(database, "s3://b/p");
        (status.state, status.lag_ms, status.txid) = (state, lag_ms, Txid(7));
        (status.sent_bytes, status.sent_files) = (10 * lag_ms, lag_ms);
        status.failure = error.map(|error| Failure::new(error, ErrorClass::Transient, 0));
        status
    }

    fn words(news: Vec<News>) -> Vec<String> {
        let word = |one: News| match one {
            News::Follows(status) => format!("{} follows", status.database),
            News::Fails {
                status,
                more,
                since,
            } => format!("{} fails, {more} more, {since:?}", status.database),
            News::Works { status, after } => format!("{} works after {after:?}", status.database),
            News::Behind(status) => format!("{} behind", status.database),
            News::CaughtUp(status) => format!("{} caught up", status.database),
            News::Slow(status, _) => format!("{} slow", status.database),
            News::Unleased(destination) => format!("{destination} has no lease"),
            News::Sent { files, bytes, .. } => format!("{files} files, {bytes} bytes"),
        };
        news.into_iter().map(word).collect()
    }

    #[test]
    fn each_change_is_said_once() {
        let start = Instant::now();
        let mut reporter = Reporter::new(start);
        let mut news = |state, error, lag_ms, at: u64| {
            let now = start + Duration::from_secs(at);
            words(reporter.news(&[status("a", state, error, lag_ms)], now))
        };
        use State::{Comparing, Following, Refused, Retrying, Starting};
        let nothing: [&str; 0] = [];
        assert_eq!(news(Starting, None, 0, 0), nothing);
        assert_eq!(news(Comparing, None, 0, 1), nothing);
        assert_eq!(news(Following, None, 100, 2), ["a follows"]);
        assert_eq!(news(Following, None, 0, 3), nothing);
        assert_eq!(
            news(Retrying, Some("503"), 100, 10),
            ["a fails, 0 more, 0ns"]
        );
        assert_eq!(news(Retrying, Some("503, again"), 90_000, 100), nothing);
        assert_eq!(
            news(Retrying, Some("503"), 600_000, 610),
            ["a fails, 0 more, 600s"]
        );
        assert_eq!(
            news(Refused, Some("held"), 600_000, 611),
            ["a fails, 0 more, 601s"]
        );
        assert_eq!(news(Comparing, None, 3, 620), ["a works after 610s"]);
        assert_eq!(news(Following, None, 40_000, 630), ["a behind"]);
        assert_eq!(news(Following, None, 20_000, 640), nothing);
        assert_eq!(news(Following, None, 5_000, 650), ["a caught up"]);
        assert_eq!(
            news(Following, None, 5_001, 3_600),
            ["5001 files, 50010 bytes"]
        );
        assert_eq!(news(Following, None, 5_001, 7_200), nothing);
        assert_eq!(news(Following, None, 5_003, 10_800), ["2 files, 20 bytes"]);
    }

    #[test]
    fn advice_is_no_problem() {
        let start = Instant::now();
        let mut reporter = Reporter::new(start);
        let mut all = [status("a", State::Following, None, 0)];
        all[0].advice = Some("not in WAL mode".into());
        assert_eq!(words(reporter.news(&all, start)), ["a slow", "a follows"]);
        assert!(reporter.news(&all, start).is_empty());
    }

    #[test]
    fn that_nothing_keeps_others_out_is_said_once() {
        let start = Instant::now();
        let mut reporter = Reporter::new(start);
        let mut all = [
            status("a", State::Starting, None, 0),
            status("b", State::Starting, None, 0),
        ];
        all.iter_mut().for_each(|status| status.leased = false);
        assert_eq!(words(reporter.news(&all, start)), ["s3://b/p has no lease"]);
        assert!(reporter.news(&all, start).is_empty());
    }

    #[test]
    fn many_problems_of_one_place_are_counted() {
        let start = Instant::now();
        let mut reporter = Reporter::new(start);
        let all: Vec<Status> = (0..9)
            .map(|n| status(&n.to_string(), State::Retrying, Some("away"), 0))
            .collect();
        let news = words(reporter.news(&all, start));
        assert_eq!(
            news,
            [
                "0 fails, 0 more, 0ns",
                "1 fails, 0 more, 0ns",
                "2 fails, 6 more, 0ns"
            ]
        );
        assert!(reporter.news(&all, start).is_empty());
    }
}
