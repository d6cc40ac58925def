//! Which databases are missing on the volume, and which destinations have them.

use std::collections::BTreeMap;
use std::time::Duration;

use monolite_replica::Destination;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::context::{Context, has_content};
use super::error::ReplicationError;
use super::record::Record;

/// Longest wait for a destination when nothing is known to be missing.
const QUICK_MAX: Duration = Duration::from_secs(3);
/// Pause between two rounds of asking.
const PAUSE: Duration = Duration::from_secs(1);

/// A database in a destination.
#[derive(Debug, Clone)]
pub(super) struct Holding {
    pub(super) destination: Destination,
    /// Its name there: its path in the volume; empty if the destination is the replica of one
    /// database, as Litestream makes it.
    pub(super) called: String,
}

/// What a destination answered when it was asked which databases it has.
enum Answer {
    Databases(Vec<String>),
    /// It did not answer, and may do so later or not.
    Silent {
        why: String,
        may_later: bool,
    },
}

/// Finds out which databases are missing, and who has them.
///
/// `record` is brought up to date before any of them is restored: should this process die, the next
/// one knows which were missing.
pub(super) async fn missing(
    context: &Context,
    record: &mut Record,
) -> Result<BTreeMap<String, Vec<Holding>>, ReplicationError> {
    let started = Instant::now();
    let present = present(context).await;
    let destinations = &context.options.destinations;
    let mut answers: Vec<Option<Answer>> = destinations.iter().map(|_| None).collect();
    loop {
        let held = held(context, &answers);
        let limit = match doubt(context, record, &present, &held) {
            Some(_) => context
                .options
                .restore_time
                .saturating_sub(started.elapsed()),
            None => QUICK_MAX,
        };
        ask(destinations, &mut answers, limit).await;
        let held = self::held(context, &answers);
        let doubt = doubt(context, record, &present, &held);
        let why = silence(destinations, &answers);
        let is_over = started.elapsed() + PAUSE >= context.options.restore_time;
        match (doubt, why) {
            (Some(database), Some((why, may_later))) if is_over || !may_later => {
                return Err(ReplicationError::Inventory { database, why });
            }
            (Some(database), Some((why, _))) => {
                tracing::warn!(
                    database,
                    why,
                    "not on the volume, and a replica may have it: trying again"
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
                return conclude(context, record, &present, held);
            }
            (Some(_), None) => return conclude(context, record, &present, held),
        }
    }
}

/// Writes down which databases belong here; answers with those that are to be restored.
fn conclude(
    context: &Context,
    record: &mut Record,
    present: &[String],
    held: BTreeMap<String, Vec<Holding>>,
) -> Result<BTreeMap<String, Vec<Holding>>, ReplicationError> {
    if present.is_empty() && held.is_empty() {
        let replicas: Vec<&str> = context
            .options
            .destinations
            .iter()
            .map(Destination::name)
            .collect();
        let replicas = replicas.join(", ");
        tracing::info!(
            replicas,
            "the replica holds nothing yet: starting on an empty volume"
        );
    }
    let is_missing = |name: &String| {
        let path = context.volume.join(name);
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
        if has_content(&context.volume.join(name)) == Some(false) {
            tracing::warn!(
                database = name,
                "was on this volume, is not any more, and no replica has it"
            );
        }
    }
    let saved = record.save(&context.options.state);
    saved.map_err(ReplicationError::io(
        "write the state of replication on the volume",
    ))?;
    Ok(missing)
}

/// The databases on the volume.
async fn present(context: &Context) -> Vec<String> {
    let found = context.find().await;
    let whole = found.iter().filter(|path| has_content(path) == Some(true));
    whole.filter_map(|path| context.name(path)).collect()
}

/// A database that may be missing, and that no destination is known to have.
fn doubt(
    context: &Context,
    record: &Record,
    present: &[String],
    held: &BTreeMap<String, Vec<Holding>>,
) -> Option<String> {
    let gone = |name: &&String| {
        !held.contains_key(*name) && has_content(&context.volume.join(name)) == Some(false)
    };
    match record.here.iter().find(gone) {
        Some(name) => Some(name.clone()),
        // A new volume, or a lost one.
        None if present.is_empty() && held.is_empty() => Some(context.main.clone()),
        None => None,
    }
}

/// Asks all destinations that have not answered yet, at the same time.
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
            && let Some(slot) = answers.get_mut(n)
        {
            *slot = Some(answer);
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

/// Which destinations have which databases, of all that belong on this volume.
fn held(context: &Context, answers: &[Option<Answer>]) -> BTreeMap<String, Vec<Holding>> {
    let mut held: BTreeMap<String, Vec<Holding>> = BTreeMap::new();
    let mut own = Vec::new();
    for (destination, answer) in context.options.destinations.iter().zip(answers) {
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
            } else if (context.options.wanted)(called) {
                held.entry(called.clone()).or_default().push(holding);
            }
        }
    }
    // A replica of one database, which can only be the app's.
    if !own.is_empty() && (context.options.wanted)(&context.main) {
        held.entry(context.main.clone()).or_insert(own);
    }
    held
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use monolite_replica::DestinationOptions;

    use super::*;
    use crate::Settings;
    use crate::replication::Replication;

    fn context(volume: &Path, url: &str) -> Context {
        let variable = |_: &str| Some("x".to_owned());
        let options = DestinationOptions::default();
        let destination = Destination::parse(url, &variable, options).unwrap();
        let mut options = Replication::new(&Settings::default(), vec![destination], volume);
        // One round of asking.
        options.restore_time = Duration::ZERO;
        Context {
            options,
            volume: volume.into(),
            main: "app.db".into(),
        }
    }

    /// Nobody listens there.
    const AWAY: &str = "s3://bucket/shop?endpoint=http://127.0.0.1:1";

    #[tokio::test]
    async fn a_missing_database_that_a_replica_may_have_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::default();
        let found = missing(&context(dir.path(), AWAY), &mut record).await;
        let error = found.unwrap_err().to_string();
        assert!(
            error.starts_with("app.db is not on the volume, and what its replica"),
            "{error}"
        );
        assert!(error.ends_with("--replica none"), "{error}");
    }

    #[tokio::test]
    async fn nothing_is_missing_where_all_is_there() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("app.db"), "x").unwrap();
        let mut record = Record::default();
        let found = missing(&context(dir.path(), AWAY), &mut record)
            .await
            .unwrap();
        assert!(found.is_empty());
        assert!(record.here.contains("app.db"));
        let saved = Record::load(&dir.path().join(".monolite/replica")).unwrap();
        assert_eq!(saved, record);
    }

    #[tokio::test]
    async fn a_new_volume_with_an_empty_replica_has_nothing_to_restore() {
        let (dir, replica) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut context = context(dir.path(), replica.path().to_str().unwrap());
        context.options.restore_time = Duration::from_secs(60);
        let found = missing(&context, &mut Record::default()).await.unwrap();
        assert!(found.is_empty());
    }
}
