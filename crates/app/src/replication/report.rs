//! The log lines about a replication while it goes on: each change once, and what does not work
//! again and again, at longer and longer intervals.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use monolite_replica::{Clock, ErrorClass, Follower, Repair, State, Status, SystemClock};

/// How often the status is read.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// A lag, in milliseconds, that is worth a line, and one that ends it.
const BEHIND_MS: u64 = 10_000;
const CAUGHT_UP_MS: u64 = 5_000;
/// A problem that lasts is logged again after this time, then after twice as long, and so on.
const FIRST_REMINDER: Duration = Duration::from_secs(60);
const REMINDER_INTERVAL_MAX: Duration = Duration::from_secs(600);
/// How long a database may be without a stored byte and without an error.
const FIRST_UPLOAD_TIME_MAX: Duration = Duration::from_secs(60);
/// Problems of one destination that get a line each; more are counted.
const LINES_MAX: usize = 3;
/// Time between two lines about what was sent.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(3600);

/// Logs how `follower` does, until this is dropped.
pub async fn watch(follower: &Follower) {
    let mut reporter = Reporter::new(Instant::now());
    loop {
        for event in reporter.events(&follower.status(), Instant::now()) {
            event.log();
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The sync before an end: stores what is committed, and in the time that is left makes
/// sure that what was sent is still there. Logs what turned out not to be.
///
/// # Errors
/// Not everything is stored within `limit`, or a replica that lost files has no new
/// snapshot by then.
pub async fn last_sync(
    follower: &Follower,
    limit: Duration,
) -> Result<(), monolite_replica::Error> {
    let (began_ms, end) = (SystemClock.now_ms(), Instant::now() + limit);
    follower.sync(limit).await?;
    let left = end.saturating_duration_since(Instant::now());
    let audited = follower.audit(left).await;
    let mut is_whole = true;
    for status in follower.status() {
        if let Some(repair) = status.repair.clone()
            && repair.found_ms >= began_ms
        {
            is_whole &= repair.done.is_some();
            Event::Repair(status, repair).log();
        }
    }
    match audited {
        Err(error) if is_whole => {
            let error = error.to_string();
            tracing::warn!(
                error,
                "it could not be made sure that the replicas still have what was sent"
            );
            Ok(())
        }
        audited => audited,
    }
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    /// It is stored up to now, and continues.
    Follows(Status),
    /// It does not work.
    Fails {
        status: Status,
        /// For how long already.
        since: Duration,
        /// Number of further databases with a problem in the same destination.
        more: usize,
    },
    /// No byte is stored, and there is no error either.
    NothingYet { status: Status, since: Duration },
    /// It works again.
    Works { status: Status, after: Duration },
    /// It works, and is late.
    Behind(Status),
    /// It is late no more.
    CaughtUp(Status),
    /// The replica did not lead to its newest state any more; is a new snapshot stored?
    Repair(Status, Repair),
    /// It is stored, and could be with less effort: what to do.
    Advice(Status, String),
    /// Another machine could write this destination, too.
    Unleased(String),
    /// What was sent since the last summary.
    Sent {
        files: u64,
        bytes: u64,
        lag_ms: u64,
        databases: usize,
    },
}

impl Event {
    fn log(&self) {
        match self {
            Self::Follows(status) => {
                let (database, destination, txid) =
                    (&status.database, &status.destination, status.txid);
                tracing::info!(database, destination, %txid, "replicating");
            }
            Self::Fails {
                status,
                since,
                more,
            } => {
                let (database, destination) = (&status.database, &status.destination);
                let error = status.error().unwrap_or("not known");
                let more = (*more > 0).then_some(*more);
                let for_s = (!since.is_zero()).then_some(since.as_secs());
                let what = fails(status);
                if waits_for_lease(status) {
                    tracing::warn!(database, destination, more, for_s, error, "{what}");
                    return;
                }
                tracing::error!(database, destination, more, for_s, error, "{what}");
            }
            Self::NothingYet { status, since } => {
                let (database, destination) = (&status.database, &status.destination);
                let for_s = since.as_secs();
                tracing::warn!(
                    database,
                    destination,
                    for_s,
                    "NOTHING is stored in the replica yet"
                );
            }
            Self::Works { status, after } => {
                let (database, destination) = (&status.database, &status.destination);
                let after_s = after.as_secs();
                tracing::info!(database, destination, after_s, "replicating again");
            }
            Self::Behind(status) => tracing::warn!(
                database = status.database,
                destination = status.destination,
                lag_s = status.lag_ms / 1000,
                "the replica is behind"
            ),
            Self::CaughtUp(status) => tracing::info!(
                database = status.database,
                destination = status.destination,
                lag_ms = status.lag_ms,
                "the replica has caught up"
            ),
            Self::Repair(status, repair) => {
                let (database, destination) = (&status.database, &status.destination);
                let found = &repair.why;
                match repair.done {
                    None => tracing::warn!(
                        database,
                        destination,
                        found,
                        "the replica CANNOT be restored to its newest state: storing a new snapshot"
                    ),
                    Some(txid) => tracing::warn!(
                        database,
                        destination,
                        found,
                        %txid,
                        "the replica could not be restored to its newest state: a new snapshot is \
                         stored, and it can be again; states before may be lost"
                    ),
                }
            }
            Self::Advice(status, advice) => {
                let destination = &status.destination;
                tracing::warn!(destination, "{advice}");
            }
            Self::Unleased(destination) => tracing::warn!(
                destination,
                "this provider has no conditional writes: nothing keeps another machine from writing there"
            ),
            Self::Sent {
                files,
                bytes,
                lag_ms,
                databases,
            } => tracing::info!(databases, files, bytes, lag_ms, "stored in the last hour"),
        }
    }
}

/// Whether another machine's lease is all that is in the way: it ends, or goes on to be used.
fn waits_for_lease(status: &Status) -> bool {
    let failure = status.failure.as_ref();
    failure.is_some_and(|failure| failure.class == ErrorClass::LeaseHeld)
}

/// What does not work, and what happens now.
fn fails(status: &Status) -> String {
    if waits_for_lease(status) {
        return "waiting for another machine's lease; nothing has to be done".into();
    }
    let what = match status.never_stored() {
        true => "NOTHING is stored in the replica yet",
        false => "cannot replicate",
    };
    let now = match (status.state, status.is_blocked()) {
        (State::Refused, _) => "until somebody decides",
        (_, true) => "until that is repaired; tried again each minute",
        (_, false) => "trying again",
    };
    format!("{what}, {now}")
}

/// Compares each status with the one before.
struct Reporter {
    known: HashMap<(String, String), Known>,
    /// Destinations with a line that nothing keeps other machines out.
    unleased: HashSet<String>,
    /// When the last summary was made.
    summed_up: Instant,
    /// Files and bytes sent up to the last summary.
    sent: (u64, u64),
}

/// What is known of one database in one destination.
struct Known {
    follows: bool,
    problem: Option<Problem>,
    is_behind: bool,
    repair: Option<Repair>,
    advice: Option<String>,
    first_seen: Instant,
}

/// A problem that lasts.
struct Problem {
    since: Instant,
    logged: Instant,
    /// Time from the last line to the next one.
    interval: Duration,
    is_blocked: bool,
}

impl Problem {
    fn new(since: Instant, now: Instant, is_blocked: bool) -> Self {
        Self {
            since,
            logged: now,
            interval: FIRST_REMINDER,
            is_blocked,
        }
    }

    /// Whether it is to be logged again; if so, it counts as logged.
    fn is_due(&mut self, now: Instant, is_blocked: bool) -> bool {
        let is_new = self.is_blocked != is_blocked;
        if !is_new && now.duration_since(self.logged) < self.interval {
            return false;
        }
        if !is_new {
            self.interval = (self.interval * 2).min(REMINDER_INTERVAL_MAX);
        }
        (self.logged, self.is_blocked) = (now, is_blocked);
        true
    }
}

impl Reporter {
    fn new(now: Instant) -> Self {
        Self {
            known: HashMap::new(),
            unleased: HashSet::new(),
            summed_up: now,
            sent: (0, 0),
        }
    }

    /// What has changed with `all`.
    fn events(&mut self, all: &[Status], now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        for status in all {
            let key = (status.database.clone(), status.destination.clone());
            let known = self.known.entry(key).or_insert_with(|| Known::new(now));
            known.compare(status, now, &mut events);
            if !status.leased && self.unleased.insert(status.destination.clone()) {
                events.push(Event::Unleased(status.destination.clone()));
            }
        }
        limit(&mut events);
        events.extend(self.summary(all, now));
        events
    }

    fn summary(&mut self, all: &[Status], now: Instant) -> Option<Event> {
        if now.duration_since(self.summed_up) < SUMMARY_INTERVAL {
            return None;
        }
        self.summed_up = now;
        let files = all.iter().map(|status| status.sent_files).sum();
        let bytes = all.iter().map(|status| status.sent_bytes).sum();
        let before = std::mem::replace(&mut self.sent, (files, bytes));
        let databases: HashSet<&str> = all.iter().map(|of| of.database.as_str()).collect();
        (files > before.0).then(|| Event::Sent {
            files: files - before.0,
            bytes: bytes.saturating_sub(before.1),
            lag_ms: all.iter().map(|status| status.lag_ms).max().unwrap_or(0),
            databases: databases.len(),
        })
    }
}

/// A bucket that cannot be reached is so for each of a thousand databases.
fn limit(events: &mut Vec<Event>) {
    let mut fails: HashMap<String, usize> = HashMap::new();
    events.retain(|event| {
        let Event::Fails { status, .. } = event else {
            return true;
        };
        let count = fails.entry(status.destination.clone()).or_default();
        *count += 1;
        *count <= LINES_MAX
    });
    for event in events.iter_mut().rev() {
        if let Event::Fails { status, more, .. } = event {
            // In the last line of each destination.
            let count = fails.remove(&status.destination).unwrap_or(0);
            *more = count.saturating_sub(LINES_MAX);
        }
    }
}

impl Known {
    fn new(now: Instant) -> Self {
        Self {
            follows: false,
            problem: None,
            is_behind: false,
            repair: None,
            advice: None,
            first_seen: now,
        }
    }

    fn compare(&mut self, status: &Status, now: Instant, events: &mut Vec<Event>) {
        if status.advice != self.advice
            && let Some(advice) = &status.advice
        {
            self.advice.clone_from(&status.advice);
            events.push(Event::Advice(status.clone(), advice.clone()));
        }
        if status.repair != self.repair
            && let Some(repair) = &status.repair
        {
            self.repair.clone_from(&status.repair);
            events.push(Event::Repair(status.clone(), repair.clone()));
        }
        let is_late =
            status.never_stored() && now.duration_since(self.first_seen) >= FIRST_UPLOAD_TIME_MAX;
        let is_blocked = status.is_blocked();
        match (status.failure.is_some() || is_late, &mut self.problem) {
            (true, None) => {
                let since = match status.failure.is_some() {
                    true => now,
                    false => self.first_seen,
                };
                self.problem = Some(Problem::new(since, now, is_blocked));
                events.push(problem(status, now.duration_since(since)));
            }
            (true, Some(known)) => {
                if known.is_due(now, is_blocked) {
                    events.push(problem(status, now.duration_since(known.since)));
                }
            }
            (false, Some(known)) => {
                let after = now.duration_since(known.since);
                self.problem = None;
                // That says as much as `Follows`.
                self.follows |= !status.never_stored() && status.state == State::Following;
                let status = status.clone();
                events.push(Event::Works { status, after });
            }
            (false, None) => {}
        }
        if self.problem.is_some() {
            // That says more than the lag that comes of it.
            return;
        }
        if !status.never_stored() && status.state == State::Following && !self.follows {
            self.follows = true;
            events.push(Event::Follows(status.clone()));
        }
        if !self.is_behind && status.lag_ms >= BEHIND_MS {
            self.is_behind = true;
            events.push(Event::Behind(status.clone()));
        } else if self.is_behind && status.lag_ms <= CAUGHT_UP_MS {
            self.is_behind = false;
            events.push(Event::CaughtUp(status.clone()));
        }
    }
}

fn problem(status: &Status, since: Duration) -> Event {
    let has_error = status.failure.is_some();
    let (status, more) = (status.clone(), 0);
    match has_error {
        true => Event::Fails {
            status,
            since,
            more,
        },
        false => Event::NothingYet { status, since },
    }
}

#[cfg(test)]
mod tests {
    use monolite_ltx::Txid;
    use monolite_replica::Failure;

    use super::*;

    fn status(database: &str, state: State, error: Option<&str>, lag_ms: u64) -> Status {
        let mut status = Status::new(database, "s3://b/p");
        (status.state, status.lag_ms, status.txid) = (state, lag_ms, Txid(7));
        (status.sent_bytes, status.sent_files) = (10 * lag_ms, lag_ms);
        status.failure = error.map(|error| Failure::new(error, ErrorClass::Transient, 0));
        status
    }

    fn words(events: Vec<Event>) -> Vec<String> {
        let word = |event: Event| match event {
            Event::Follows(status) => format!("{} follows", status.database),
            Event::Fails {
                status,
                more,
                since,
            } => format!("{} fails, {more} more, {since:?}", status.database),
            Event::NothingYet { status, since } => {
                format!("{} has nothing for {since:?}", status.database)
            }
            Event::Works { status, after } => format!("{} works after {after:?}", status.database),
            Event::Behind(status) => format!("{} behind", status.database),
            Event::CaughtUp(status) => format!("{} caught up", status.database),
            Event::Repair(status, repair) => {
                format!(
                    "{} has a gap, closed: {}",
                    status.database,
                    repair.done.is_some()
                )
            }
            Event::Advice(status, _) => format!("{} could be better", status.database),
            Event::Unleased(destination) => format!("{destination} has no lease"),
            Event::Sent { files, bytes, .. } => format!("{files} files, {bytes} bytes"),
        };
        events.into_iter().map(word).collect()
    }

    /// The lines about statuses, each with the second at which it is read.
    fn lines(all: &[(Status, u64)]) -> Vec<Vec<String>> {
        let start = Instant::now();
        let mut reporter = Reporter::new(start);
        let all = all.iter().map(|(status, at)| {
            let now = start + Duration::from_secs(*at);
            words(reporter.events(std::slice::from_ref(status), now))
        });
        all.collect()
    }

    #[test]
    fn each_change_is_logged_once() {
        use State::{Comparing, Following, Refused, Retrying, Starting};
        let at = |at, state, error, lag_ms| (status("a", state, error, lag_ms), at);
        let all = [
            (at(0, Starting, None, 0), vec![]),
            (at(1, Comparing, None, 0), vec![]),
            (at(2, Following, None, 100), vec!["a follows"]),
            (at(3, Following, None, 0), vec![]),
            (
                at(10, Retrying, Some("503"), 100),
                vec!["a fails, 0 more, 0ns"],
            ),
            (at(50, Retrying, Some("503, again"), 90_000), vec![]),
            (
                at(70, Retrying, Some("503"), 90_000),
                vec!["a fails, 0 more, 60s"],
            ),
            (
                at(71, Refused, Some("held"), 90_000),
                vec!["a fails, 0 more, 61s"],
            ),
            (at(620, Comparing, None, 3), vec!["a works after 610s"]),
            (
                at(630, Following, None, 40_000),
                vec!["a follows", "a behind"],
            ),
            (at(640, Following, None, 20_000), vec![]),
            (at(650, Following, None, 5_000), vec!["a caught up"]),
            (
                at(3_600, Following, None, 5_001),
                vec!["5001 files, 50010 bytes"],
            ),
            (at(7_200, Following, None, 5_001), vec![]),
            (
                at(10_800, Following, None, 5_003),
                vec!["2 files, 20 bytes"],
            ),
        ];
        let (statuses, mut expected): (Vec<_>, Vec<_>) = all.into_iter().unzip();
        // It followed before the problem.
        expected[9] = vec!["a behind"];
        assert_eq!(lines(&statuses), expected);
    }

    #[test]
    fn reminders_come_at_longer_intervals() {
        let failing = |at| (status("a", State::Retrying, Some("503"), 0), at);
        let all: Vec<_> = (0..2400).map(failing).collect();
        let lines = lines(&all);
        let seconds = lines
            .iter()
            .enumerate()
            .filter(|(_, lines)| !lines.is_empty());
        let seconds: Vec<usize> = seconds.map(|(at, _)| at).collect();
        assert_eq!(seconds, [0, 60, 180, 420, 900, 1500, 2100]);
    }

    #[test]
    fn a_replica_without_a_byte_is_logged_also_without_an_error() {
        let mut empty = status("a", State::Starting, None, 0);
        empty.txid = Txid(0);
        let mut stored = empty.clone();
        (stored.txid, stored.state) = (Txid(1), State::Following);
        let all = [
            (empty.clone(), 0),
            (empty.clone(), 59),
            (empty.clone(), 60),
            (empty, 120),
        ];
        let all = [&all[..], &[(stored, 121)]].concat();
        let none: [&str; 0] = [];
        assert_eq!(lines(&all)[..2], [none, none]);
        assert_eq!(
            lines(&all)[2..],
            [
                ["a has nothing for 60s"],
                ["a has nothing for 120s"],
                ["a works after 121s"]
            ]
        );
    }

    #[test]
    fn an_error_says_whether_waiting_helps() {
        let mut status = status("a", State::Retrying, None, 0);
        let mut text = |class, txid| {
            status.txid = Txid(txid);
            status.failure = Some(Failure::new("no such table", class, 0));
            fails(&status)
        };
        assert_eq!(
            text(ErrorClass::Transient, 7),
            "cannot replicate, trying again"
        );
        let nothing = text(ErrorClass::Permanent, 0);
        let expected = "NOTHING is stored in the replica yet, until that is repaired;";
        assert!(nothing.starts_with(expected), "{nothing}");
    }

    #[test]
    fn advice_is_no_problem() {
        let mut status = status("a", State::Following, None, 0);
        status.advice = Some("not in WAL mode".into());
        let all = lines(&[(status.clone(), 0), (status, 1)]);
        assert_eq!(all, [vec!["a could be better", "a follows"], vec![]]);
    }

    #[test]
    fn a_destination_without_leases_gets_one_line() {
        let start = Instant::now();
        let mut reporter = Reporter::new(start);
        let mut all = [
            status("a", State::Starting, None, 0),
            status("b", State::Starting, None, 0),
        ];
        all.iter_mut().for_each(|status| status.leased = false);
        assert_eq!(
            words(reporter.events(&all, start)),
            ["s3://b/p has no lease"]
        );
        assert!(reporter.events(&all, start).is_empty());
    }

    #[test]
    fn many_problems_of_one_destination_are_counted() {
        let start = Instant::now();
        let mut reporter = Reporter::new(start);
        let all: Vec<Status> = (0..9)
            .map(|n| status(&n.to_string(), State::Retrying, Some("away"), 0))
            .collect();
        assert_eq!(
            words(reporter.events(&all, start)),
            [
                "0 fails, 0 more, 0ns",
                "1 fails, 0 more, 0ns",
                "2 fails, 6 more, 0ns"
            ]
        );
        assert!(reporter.events(&all, start).is_empty());
    }
}
