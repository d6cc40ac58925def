//! What the health page says of the replica.

use monolite_gate::health::Report;
use monolite_replica::{State, Status};
use serde_json::{Value, json};

/// Databases with a problem that are listed; more are counted.
const LISTED_MAX: usize = 20;
/// A lag, in milliseconds, that is worth a warning.
const BEHIND_MS: u64 = 60_000;

/// For a volume that is not replicated.
pub(crate) fn none() -> Report {
    Report::ok().fact("replica", "none")
}

/// Before the volume is followed: missing databases are looked for and restored.
pub(super) fn starting() -> Report {
    Report::ok().fact("state", "restoring what is missing")
}

/// For the databases that are followed.
pub(super) fn report(all: &[Status]) -> Report {
    let problems: Vec<&Status> = all.iter().filter(|status| is_problem(status)).collect();
    let lag_ms = all.iter().map(|status| status.lag_ms).max().unwrap_or(0);
    let report = match problems.first() {
        Some(first) => Report::failing(reason(first, problems.len() - 1)),
        None if lag_ms >= BEHIND_MS => {
            Report::degraded(format!("the replica is {} s behind", lag_ms / 1000))
        }
        None => Report::ok(),
    };
    let report = report.fact("databases", all.len()).fact("lag_ms", lag_ms);
    match problems.is_empty() {
        true => report,
        false => {
            let listed: Vec<Value> = problems
                .iter()
                .take(LISTED_MAX)
                .map(|one| facts(one))
                .collect();
            report
                .fact("problems", listed)
                .fact("problems_in_all", problems.len())
        }
    }
}

/// A start takes its time; an error, or nothing stored after it, is a problem.
fn is_problem(status: &Status) -> bool {
    let is_empty = status.never_stored() && status.state != State::Starting;
    status.failure.is_some()
        || status.is_blocked()
        || (is_empty && status.state != State::Comparing)
}

fn reason(status: &Status, more: usize) -> String {
    let (database, destination) = (&status.database, &status.destination);
    let what = match status.never_stored() {
        true => "nothing is stored yet of",
        false => "cannot store",
    };
    let why = status.error().unwrap_or("the first upload is under way");
    let more = match more {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    format!("{what} {database} in {destination}: {why}{more}")
}

fn facts(status: &Status) -> Value {
    let failure = status.failure.as_ref();
    json!({
        "database": status.database,
        "destination": status.destination,
        "stored": !status.never_stored(),
        "txid": status.txid.to_string(),
        "stored_ms": status.stored_ms,
        "lag_ms": status.lag_ms,
        "error": failure.map(|failure| &failure.error),
        "class": failure.map(|failure| failure.class.as_str()),
        "since_ms": failure.map(|failure| failure.since_ms),
    })
}

#[cfg(test)]
mod tests {
    use monolite_gate::health::Condition;
    use monolite_ltx::Txid;
    use monolite_replica::{ErrorClass, Failure};

    use super::*;

    fn status(txid: u64, state: State) -> Status {
        let mut status = Status::new("app.sqlite3", "s3://b/p");
        (status.txid, status.state) = (Txid(txid), state);
        status
    }

    fn reason_of(report: &Report) -> Option<&str> {
        match report.condition() {
            Condition::Failing(reason) | Condition::Degraded(reason) => Some(reason),
            _ => None,
        }
    }

    #[test]
    fn a_replica_without_a_byte_is_failing_with_the_reason() {
        let mut never = status(0, State::Retrying);
        never.failure = Some(Failure::new(
            "the bucket does not exist",
            ErrorClass::Permanent,
            5,
        ));
        let report = report(&[never, status(7, State::Following)]);
        let expected =
            "nothing is stored yet of app.sqlite3 in s3://b/p: the bucket does not exist";
        assert_eq!(reason_of(&report), Some(expected));
        assert!(matches!(report.condition(), Condition::Failing(_)));
        assert_eq!(report.facts()["databases"], 2);
        let problem = &report.facts()["problems"][0];
        assert_eq!(problem["stored"], false);
        assert_eq!(problem["class"], "permanent");
        assert_eq!(problem["since_ms"], 5);
    }

    #[test]
    fn what_is_stored_or_begins_is_well() {
        for state in [State::Starting, State::Comparing] {
            assert_eq!(reason_of(&report(&[status(0, state)])), None, "{state:?}");
        }
        let mut late = status(7, State::Following);
        assert_eq!(reason_of(&report(&[late.clone()])), None);
        late.lag_ms = 61_000;
        let late = report(&[late]);
        assert_eq!(reason_of(&late), Some("the replica is 61 s behind"));
        assert!(matches!(late.condition(), Condition::Degraded(_)));
        assert_eq!(none().facts()["replica"], "none");
    }
}
