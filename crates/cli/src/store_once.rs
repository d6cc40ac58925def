//! Stores everything that is committed now, once.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use monolite_replica::{Follower, Sending, State, Status};

use crate::bar::Bar;

/// How long an attempt that fails is repeated.
const RETRY_TIME_MAX: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// More than anybody waits.
const NO_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Returns once everything that is committed is stored, or cannot be: then with
/// one error for each database and destination.
pub(crate) async fn sync(follower: &Follower, bar: &Bar) -> Result<(), Vec<anyhow::Error>> {
    bar.say("storing");
    let mut sync = std::pin::pin!(follower.sync(NO_LIMIT));
    let mut since: HashMap<(String, String), Instant> = HashMap::new();
    loop {
        tokio::select! {
            synced = &mut sync => return synced.map_err(|error| vec![error.into()]),
            () = tokio::time::sleep(POLL_INTERVAL) => {}
        }
        let status = follower.status();
        let sending: Vec<Sending> = status.iter().filter_map(|status| status.sending).collect();
        bar.show(
            "sending",
            sending.iter().map(|sending| sending.bytes).sum(),
            sending.iter().map(|sending| sending.total).sum(),
        );
        let mut wait = false;
        let mut errors = Vec::new();
        for status in &status {
            let key = (status.database.clone(), status.destination.clone());
            match status.error() {
                Some(error) => {
                    let since = *since.entry(key).or_insert_with(Instant::now);
                    let lasts = since.elapsed() >= RETRY_TIME_MAX;
                    wait |= !status.is_blocked() && !lasts;
                    let (database, destination) = (&status.database, &status.destination);
                    errors.push(anyhow!("{database} to {destination}: {error}"));
                }
                None => {
                    since.remove(&key);
                    wait |= !is_stored(status);
                }
            }
        }
        if !wait && !errors.is_empty() {
            return Err(errors);
        }
    }
}

fn is_stored(status: &Status) -> bool {
    status.state == State::Following && status.lag_ms == 0
}
