//! What is missing on the volume, and who holds it.

use std::collections::BTreeMap;
use std::time::Duration;

use monolite_replica::Destination;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::has_content;
use super::record::Record;
use super::replicated::Shared;
use crate::Error;

/// How long a destination is waited for when nothing is known to be missing.
const QUICK: Duration = Duration::from_secs(3);
/// Between two rounds of asking.
const PAUSE: Duration = Duration::from_secs(1);

/// A destination that has a database.
#[derive(Debug, Clone)]
pub(super) struct Holding {
    pub(super) destination: Destination,
    /// What it calls the database: its path in the volume, or nothing if the
    /// destination is that database's own, as Litestream has it.
    pub(super) called: String,
}

/// What a destination answered when it was asked for what it has.
enum Answer {
    Databases(Vec<String>),
    /// It did not, and whether it may do so later.
    Silent {
        why: String,
        may_later: bool,
    },
}

/// Finds out which databases are missing, and who holds them.
///
/// `record` is brought up to date, and says which were missing before any of
/// them is restored: should this process die, the next one knows.
pub(super) async fn missing(
    shared: &Shared,
    record: &mut Record,
) -> Result<BTreeMap<String, Vec<Holding>>, Error> {
    let started = Instant::now();
    let present = present(shared);
    let destinations = &shared.replication.destinations;
    let mut answers: Vec<Option<Answer>> = destinations.iter().map(|_| None).collect();
    loop {
        let held = held(shared, &answers);
        let limit = match doubt(shared, record, &present, &held) {
            Some(_) => shared
                .replication
                .restore_time
                .saturating_sub(started.elapsed()),
            None => QUICK,
        };
        ask(destinations, &mut answers, limit).await;
        let held = self::held(shared, &answers);
        let doubt = doubt(shared, record, &present, &held);
        let why = silence(destinations, &answers);
        let is_over = started.elapsed() + PAUSE >= shared.replication.restore_time;
        match (doubt, why) {
            (Some(database), Some((why, may_later))) if is_over || !may_later => {
                return Err(Error::NoStock { database, why });
            }
            (Some(database), Some((why, _))) => {
                tracing::warn!(
                    database,
                    why,
                    "not on the volume, and a replica may have it: trying on"
                );
                tokio::time::sleep(PAUSE).await;
            }
            (None, why) => {
                if let Some((why, _)) = why {
                    tracing::warn!(
                        why,
                        "cannot ask a replica what it holds; nothing is missing"
                    );
                }
                return settle(shared, record, &present, held);
            }
            (Some(_), None) => return settle(shared, record, &present, held),
        }
    }
}

/// What is to be restored; remembers it.
fn settle(
    shared: &Shared,
    record: &mut Record,
    present: &[String],
    held: BTreeMap<String, Vec<Holding>>,
) -> Result<BTreeMap<String, Vec<Holding>>, Error> {
    let is_missing = |name: &String| {
        let path = shared.volume.join(name);
        !record.deleted.contains(name) && has_content(&path) == Some(false)
    };
    let missing: BTreeMap<_, _> = held
        .into_iter()
        .filter(|(name, _)| is_missing(name))
        .collect();
    let before = std::mem::take(&mut record.here);
    for name in present.iter().chain(missing.keys()) {
        record.came(name);
    }
    for name in before.difference(&record.here) {
        if has_content(&shared.volume.join(name)) == Some(false) {
            tracing::warn!(
                database = name,
                "was on this volume, is not any more, and no replica holds it"
            );
        }
    }
    let saved = record.save(&shared.replication.state);
    saved.map_err(|source| Error::Io {
        what: "write the state of replication on the volume",
        source,
    })?;
    Ok(missing)
}

/// The databases on the volume.
fn present(shared: &Shared) -> Vec<String> {
    let found = (shared.replication.find)();
    let whole = found.iter().filter(|path| has_content(path) == Some(true));
    whole.filter_map(|path| shared.name(path)).collect()
}

/// A database that may be missing, and that nobody is known to hold.
fn doubt(
    shared: &Shared,
    record: &Record,
    present: &[String],
    held: &BTreeMap<String, Vec<Holding>>,
) -> Option<String> {
    let gone = |name: &&String| {
        !held.contains_key(*name) && has_content(&shared.volume.join(name)) == Some(false)
    };
    match record.here.iter().find(gone) {
        Some(name) => Some(name.clone()),
        // A new volume, or a lost one.
        None if present.is_empty() && held.is_empty() => Some(shared.main.clone()),
        None => None,
    }
}

/// Asks all that have not answered yet, at the same time.
async fn ask(destinations: &[Destination], answers: &mut [Option<Answer>], limit: Duration) {
    let mut asked = JoinSet::new();
    for (n, destination) in destinations.iter().enumerate() {
        if !matches!(answers.get(n), Some(Some(Answer::Databases(_)))) {
            let destination = destination.clone();
            asked.spawn(async move { (n, ask_one(&destination, limit).await) });
        }
    }
    while let Some(answer) = asked.join_next().await {
        if let Ok((n, answer)) = answer
            && let Some(place) = answers.get_mut(n)
        {
            *place = Some(answer);
        }
    }
}

async fn ask_one(destination: &Destination, limit: Duration) -> Answer {
    match tokio::time::timeout(limit, destination.databases()).await {
        Ok(Ok(databases)) => Answer::Databases(databases),
        Ok(Err(error)) => Answer::Silent {
            why: error.to_string(),
            may_later: error.is_transient(),
        },
        Err(_) => Answer::Silent {
            why: format!(
                "{} does not answer within {:.0} s",
                destination.name(),
                limit.as_secs_f32()
            ),
            may_later: true,
        },
    }
}

/// Why some did not answer, and whether one of them may do so later.
fn silence(destinations: &[Destination], answers: &[Option<Answer>]) -> Option<(String, bool)> {
    let mut reasons = Vec::new();
    let mut any_later = false;
    for (destination, answer) in destinations.iter().zip(answers) {
        match answer {
            Some(Answer::Databases(_)) => {}
            Some(Answer::Silent { why, may_later }) => {
                reasons.push(why.clone());
                any_later |= may_later;
            }
            None => reasons.push(format!("{} was not asked", destination.name())),
        }
    }
    (!reasons.is_empty()).then(|| (reasons.join("; "), any_later))
}

/// Who holds what, of all that belongs on this volume.
fn held(shared: &Shared, answers: &[Option<Answer>]) -> BTreeMap<String, Vec<Holding>> {
    let mut held: BTreeMap<String, Vec<Holding>> = BTreeMap::new();
    let mut own = Vec::new();
    for (destination, answer) in shared.replication.destinations.iter().zip(answers) {
        let Some(Answer::Databases(names)) = answer else {
            continue;
        };
        for called in names {
            let holding = Holding {
                destination: destination.clone(),
                called: called.clone(),
            };
            if called.is_empty() {
                own.push(holding);
            } else if (shared.replication.wanted)(called) {
                held.entry(called.clone()).or_default().push(holding);
            }
        }
    }
    // A replica of one database, which can only be the app's.
    if !own.is_empty() && (shared.replication.wanted)(&shared.main) {
        held.entry(shared.main.clone()).or_insert(own);
    }
    held
}
