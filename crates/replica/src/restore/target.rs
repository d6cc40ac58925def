//! From what was asked for to the files that lead there.

use jiff::{SignedDuration, Timestamp};
use monolite_ltx::Txid;

use super::error::RestoreError;
use crate::history::{Plan, PlanError, Target, plan, states, time_of};
use crate::storage::{FileInfo, Replica};

/// The state that is asked for. For a time, the headers of some files are read: as
/// many as it takes to halve all states down to one. What is wrong with them is added
/// to `notes`.
pub(super) async fn wanted(
    replica: &Replica,
    files: &[FileInfo],
    target: Target,
    notes: &mut Vec<String>,
) -> Result<Txid, RestoreError> {
    match target {
        Target::Latest => match files.iter().map(|file| file.max).max() {
            Some(newest) => Ok(newest),
            None => Err(failed(replica, PlanError::Empty)),
        },
        Target::Txid(txid) => Ok(txid),
        Target::Time(time_ms) => at_time(replica, files, time_ms, notes).await,
    }
}

/// Finds the files that lead to a state; `is_newest`: to the newest of all.
pub(super) fn lead_to(
    replica: &Replica,
    files: &[FileInfo],
    txid: Txid,
    is_newest: bool,
) -> Result<Plan, RestoreError> {
    let target = (!is_newest).then_some(txid);
    plan(files, None, target).map_err(|source| failed(replica, source))
}

async fn at_time(
    replica: &Replica,
    files: &[FileInfo],
    time_ms: i64,
    notes: &mut Vec<String>,
) -> Result<Txid, RestoreError> {
    let states = states(files);
    let Some(oldest) = states.first().copied() else {
        // There is none at all; the plan says why.
        let none = plan(files, None, None).err();
        return Err(failed(replica, none.unwrap_or(PlanError::Empty)));
    };
    let mut time = async |txid| match time_of(replica, files, txid).await {
        Ok(time_ms) => Ok::<_, RestoreError>(time_ms.unwrap_or(0)),
        // Of a state that only damaged files lead to, the time it was stored at.
        Err(error) if error.is_damage() => {
            notes.push(format!(
                "{error}; when transaction {txid} was is not known exactly"
            ));
            let leads = files.iter().filter(|file| file.max == txid);
            Ok(leads.map(|file| file.stored_ms).min().unwrap_or(0))
        }
        Err(error) => Err(error.into()),
    };
    let oldest_ms = time(oldest).await?;
    if time_ms < oldest_ms {
        return Err(RestoreError::TooOld {
            replica: replica.name(),
            asked: instant(time_ms),
            distance: distance(oldest_ms.saturating_sub(time_ms)),
            oldest: instant(oldest_ms),
            txid: oldest,
        });
    }
    // What is before `low` is not younger than asked, from `high` on it is.
    let (mut low, mut high) = (1, states.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(txid) = states.get(middle) else {
            break;
        };
        if time(*txid).await? <= time_ms {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(states.get(low - 1).copied().unwrap_or(oldest))
}

fn failed(replica: &Replica, source: PlanError) -> RestoreError {
    let replica = replica.name();
    RestoreError::Plan { replica, source }
}

pub(super) fn instant(time_ms: i64) -> String {
    match Timestamp::from_millisecond(time_ms) {
        Ok(time) => format!("{time:.0}"),
        Err(_) => format!("{time_ms} ms since 1970"),
    }
}

/// The one or two largest units of a span of time.
fn distance(ms: i64) -> String {
    let seconds = SignedDuration::from_millis(ms).as_secs();
    let units = [
        ("day", 86_400),
        ("hour", 3_600),
        ("minute", 60),
        ("second", 1),
    ];
    let (mut left, mut words) = (seconds, Vec::new());
    for (unit, size) in units {
        let count = left / size;
        left %= size;
        if count > 0 && words.len() < 2 {
            let plural = if count == 1 { "" } else { "s" };
            words.push(format!("{count} {unit}{plural}"));
        } else if !words.is_empty() {
            break;
        }
    }
    match words.is_empty() {
        true => "less than a second".into(),
        false => words.join(" and "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_told_as_people_do() {
        assert_eq!(distance(10_800_000), "3 hours");
        assert_eq!(distance(90_061_000), "1 day and 1 hour");
        assert_eq!(distance(3_661_000), "1 hour and 1 minute");
        assert_eq!(distance(59_000), "59 seconds");
        assert_eq!(distance(86_401_000), "1 day");
        assert_eq!(distance(400), "less than a second");
        assert_eq!(instant(1_772_366_400_000), "2026-03-01T12:00:00Z");
    }
}
