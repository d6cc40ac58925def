//! What the health page says of the replica.
//!
//! Anybody may read the page: it counts, and names no database, destination or error. Those are in
//! the log.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use monolite_gate::health::Report;
use monolite_replica::{State, Status};

/// A lag, in milliseconds, that is worth a warning.
const BEHIND_MS: u64 = 60_000;

/// What is known of the volume while it is followed.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Each database in each destination.
    pub(super) replicas: Vec<Status>,
    /// Databases whose files were deleted by accident and are not back.
    pub(super) lost: usize,
    /// Databases that the app has where they are not replicated.
    pub(super) unaccounted: usize,
    /// Replicas whose last verification failed.
    pub(super) unrestorable: usize,
}

/// For a volume that is not replicated.
pub(crate) fn none() -> Report {
    Report::ok().fact("replica", "none")
}

/// Before the volume is followed: missing databases are looked for and restored.
pub(super) fn starting() -> Report {
    Report::ok().fact("state", "restoring what is missing")
}

/// After replication has ended, with the run.
pub(super) fn ended() -> Report {
    Report::ok().fact("state", "ended")
}

/// For the databases that are followed.
pub(super) fn report(observed: &Observed) -> Report {
    let all = &observed.replicas;
    let problems: Vec<&Status> = all.iter().filter(|status| is_problem(status)).collect();
    let lag_ms = all.iter().map(|status| status.lag_ms).max().unwrap_or(0);
    let reasons = reasons(observed, &problems);
    let report = match reasons.is_empty() {
        false => Report::failing(reasons.join("; ")),
        true if lag_ms >= BEHIND_MS => {
            Report::degraded(format!("the replica is {} s behind", lag_ms / 1000))
        }
        true => Report::ok(),
    };
    let mut report = report
        .fact("databases", databases(all))
        .fact("lag_ms", lag_ms);
    let never_stored = problems.iter().filter(|status| status.never_stored());
    for (name, count) in [
        ("never_stored", never_stored.count()),
        ("lost", observed.lost),
        ("unrestorable", observed.unrestorable),
    ] {
        if count > 0 {
            report = report.fact(name, count);
        }
    }
    if !problems.is_empty() {
        let mut by_class: BTreeMap<&str, usize> = BTreeMap::new();
        for status in problems {
            *by_class.entry(class(status)).or_default() += 1;
        }
        report = report.fact("problems", serde_json::json!(by_class));
    }
    report
}

/// A start takes its time; an error, or nothing stored after it, is a problem.
fn is_problem(status: &Status) -> bool {
    let is_empty = status.never_stored() && status.state != State::Starting;
    status.failure.is_some()
        || status.is_blocked()
        || (is_empty && status.state != State::Comparing)
}

fn reasons(observed: &Observed, problems: &[&Status]) -> Vec<String> {
    let mut reasons = Vec::new();
    if observed.lost > 0 {
        let of = counted(observed.lost, "database is", "databases are");
        reasons.push(format!("{of} missing: file deleted"));
    }
    if !problems.is_empty() {
        let of = databases(problems.iter().copied());
        let of = counted(of, "database is", "databases are");
        let classes: Vec<String> = problems
            .iter()
            .map(|status| class(status))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|class| match class {
                NO_ERROR => "nothing uploaded yet".to_owned(),
                class => format!("{} error", class.replace('_', " ")),
            })
            .collect();
        reasons.push(format!("{of} not stored: {}", classes.join(", ")));
    }
    if observed.unrestorable > 0 {
        let of = counted(observed.unrestorable, "replica", "replicas");
        reasons.push(format!("{of} cannot be restored: verification failed"));
    }
    reasons
}

/// In the place of an error's class.
const NO_ERROR: &str = "no_error";

fn class(status: &Status) -> &'static str {
    let failure = status.failure.as_ref();
    failure.map_or(NO_ERROR, |failure| failure.class.as_str())
}

/// Databases, of which each may be in several destinations.
fn databases<'s>(all: impl IntoIterator<Item = &'s Status>) -> usize {
    let names = all.into_iter().map(|status| status.database.as_str());
    names.collect::<HashSet<_>>().len()
}

fn counted(count: usize, one: &str, more: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {more}"),
    }
}

#[cfg(test)]
mod tests {
    use monolite_gate::health::Condition;
    use monolite_ltx::Txid;
    use monolite_replica::{ErrorClass, Failure};

    use super::*;

    fn status(database: &str, txid: u64, state: State) -> Status {
        let mut status = Status::new(database, "s3://bucket/prefix");
        (status.txid, status.state) = (Txid(txid), state);
        status
    }

    fn observed(replicas: &[Status]) -> Observed {
        Observed {
            replicas: replicas.to_vec(),
            ..Observed::default()
        }
    }

    fn reason_of(report: &Report) -> Option<&str> {
        match report.condition() {
            Condition::Failing(reason) | Condition::Degraded(reason) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn a_problem_is_counted_and_nothing_is_named() {
        let failing = |database, txid, class| {
            let mut status = status(database, txid, State::Retrying);
            status.failure = Some(Failure::new("AKIA is refused at 10.0.0.7", class, 5));
            status
        };
        let report = report(&observed(&[
            failing("customers/acme.db", 0, ErrorClass::Permanent),
            failing("app.sqlite3", 3, ErrorClass::Permanent),
            failing("app.sqlite3", 3, ErrorClass::LeaseHeld),
            status("fine.db", 7, State::Following),
        ]));
        let expected = "2 databases are not stored: lease held error, permanent error";
        assert_eq!(reason_of(&report), Some(expected));
        assert!(matches!(report.condition(), Condition::Failing(_)));
        let facts = serde_json::json!({
            "databases": 3, "lag_ms": 0, "never_stored": 1,
            "problems": {"permanent": 2, "lease_held": 1},
        });
        assert_eq!(serde_json::json!(report.facts()), facts);
        let page = serde_json::to_string(&report).unwrap();
        for secret in ["acme", "app.sqlite3", "bucket", "AKIA", "10.0.0.7"] {
            assert!(!page.contains(secret), "{page}");
        }
    }

    #[test]
    fn a_lost_file_and_a_replica_that_cannot_be_restored_are_failing() {
        let mut lost = observed(&[status("a", 7, State::Following)]);
        lost.lost = 1;
        lost.unrestorable = 2;
        let report = report(&lost);
        assert!(matches!(report.condition(), Condition::Failing(_)));
        assert_eq!(
            reason_of(&report),
            Some(
                "1 database is missing: file deleted; 2 replicas cannot be restored: verification failed"
            )
        );
        assert_eq!(report.facts()["lost"], 1);
        assert_eq!(report.facts()["unrestorable"], 2);
    }

    #[test]
    fn what_is_stored_or_begins_is_well() {
        for state in [State::Starting, State::Comparing] {
            let begins = report(&observed(&[status("a", 0, state)]));
            assert_eq!(reason_of(&begins), None, "{state:?}");
        }
        let mut late = status("a", 7, State::Following);
        assert_eq!(reason_of(&report(&observed(&[late.clone()]))), None);
        late.lag_ms = 61_000;
        let late = report(&observed(&[late]));
        assert_eq!(reason_of(&late), Some("the replica is 61 s behind"));
        assert!(matches!(late.condition(), Condition::Degraded(_)));
        assert_eq!(none().facts()["replica"], "none");
    }
}
