//! `monolite replicate`: every commit of a volume to its replicas.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use monolite_app::replication::{Heartbeat, last_sync, watch};
use monolite_replica::{Destination, Find, FollowOptions, Follower, Status, StorageError};
use serde::Serialize;

use crate::bar::Bar;
use crate::flags::{self, Flags};
use crate::{Failure, descriptors, human, log, print, replication, store_once, task, timestamp};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  monolite replicate --data /data --replica s3://bucket/shop\n  \
        monolite replicate --once --replica /mnt/backup\n\n\
        Every database of the volume is followed, also those that come later; cache.sqlite3,\n\
        pubsub.sqlite3 and metrics.sqlite3 are not. SIGTERM or Ctrl-C ends it with a last sync,\n\
        a second one at once. `monolite run` does the same while it serves the app.\n\n\
        Exit code: 0 everything is stored, 1 not everything, 2 wrong usage."
)]
pub(crate) struct Arguments {
    /// Store everything that is committed now, and exit
    #[arg(long)]
    once: bool,

    /// With --once, print what is stored as JSON
    #[arg(long, requires = "once")]
    json: bool,

    #[command(flatten)]
    flags: Flags<flags::Replicate>,
}

/// Longest time to write down what the next run needs, and to give the lease back.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(5);

/// Longest wait for what a destination holds, before the start.
const ASK_TIME_MAX: Duration = Duration::from_secs(5);

pub(crate) fn replicate(arguments: Arguments) -> Result<(), Failure> {
    let settings = arguments.flags.settings()?;
    let destinations = replication::required(&settings)?;
    let volume = replication::volume(&settings)?;
    let _lock = replication::lock(&volume, "replicate")?;
    let start = Start {
        state: monolite_app::state(&volume),
        find: monolite_app::find(&volume, &settings.replica_exclude),
        options: FollowOptions {
            spare_scratch: Some(std::env::temp_dir()),
            ..monolite_app::follow_options(&settings)
        },
        volume,
        destinations,
    };
    descriptors::raise_limit();
    if arguments.once {
        return task::block_on(start.once(arguments.json));
    }
    log::start(settings.log).map_err(Failure::Usage)?;
    let heartbeat = settings.heartbeat_url.as_deref().map(Heartbeat::new);
    let heartbeat = heartbeat.transpose().map_err(|error| anyhow!(error))?;
    let limit = settings.sync_timeout;
    let runtime = task::runtime()?;
    let result = runtime.block_on(start.follow(heartbeat, limit));
    runtime.shutdown_background();
    result
}

/// All that replication begins with.
pub(crate) struct Start {
    pub(crate) volume: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) destinations: Vec<Destination>,
    pub(crate) find: Find,
    pub(crate) options: FollowOptions,
}

impl Start {
    fn follower(&self) -> Result<Follower, Failure> {
        Ok(Follower::start(
            &self.volume,
            &self.state,
            self.destinations.clone(),
            Arc::clone(&self.find),
            self.options.clone(),
        )?)
    }

    async fn follow(self, heartbeat: Option<Heartbeat>, limit: Duration) -> Result<(), Failure> {
        let mut signals = task::Signals::listen()?;
        for destination in &self.destinations {
            // One that does not answer is waited for, and tried again for ever.
            let asked = tokio::time::timeout(ASK_TIME_MAX, destination.databases());
            if let Ok(Err(
                error @ (StorageError::Foreign { .. } | StorageError::OldLitestream { .. }),
            )) = asked.await
            {
                return Err(error.into());
            }
        }
        self.announce();
        let left_out = monolite_app::not_looked_at(&self.volume);
        for what in &left_out {
            tracing::error!("{what}");
        }
        let follower = self.follower()?;
        let beat = async {
            match heartbeat {
                Some(heartbeat) => heartbeat.beat(&follower).await,
                None => std::future::pending().await,
            }
        };
        let signal = tokio::select! {
            signal = signals.next() => signal,
            () = watch(&follower) => return Ok(()),
            () = beat => return Ok(()),
        };
        tracing::info!(
            signal,
            limit_s = limit.as_secs_f32(),
            "stopping: a last sync"
        );
        let stop = async {
            let synced = last_sync(&follower, limit.saturating_sub(limit / 4)).await;
            let stopped = follower.stop(limit / 4).await;
            synced.and(stopped)
        };
        tokio::select! {
            stopped = stop => match stopped {
                Ok(()) if !left_out.is_empty() => {
                    tracing::error!("stopped: everything is stored, but not what is named above");
                    log::last_words("");
                    return Err(Failure::Code(1));
                }
                Ok(()) => tracing::info!("stopped: everything is stored"),
                Err(error) => {
                    tracing::error!(%error, "stopped");
                    log::last_words("");
                    return Err(Failure::Code(1));
                }
            },
            signal = signals.next() => {
                tracing::error!(signal, "asked again: not waiting for what is not stored");
                log::last_words("");
                return Err(Failure::Code(1));
            }
        }
        log::last_words("");
        Ok(())
    }

    fn announce(&self) {
        let (volume, found) = (self.volume.display(), (self.find)().len());
        for destination in &self.destinations {
            let (to, encrypted) = (destination.name(), destination.is_sealed());
            tracing::info!(%volume, to, encrypted, databases = found, "replication begins");
            if monolite_app::is_on_disk_of(destination, &self.volume) {
                tracing::warn!(
                    to,
                    "this folder is on the volume's own disk, and is lost with it"
                );
            }
        }
        if found == 0 {
            tracing::warn!(%volume, "there is no database yet; each is replicated as soon as it exists");
        }
    }

    /// Stores what is committed now, and ends.
    pub(crate) async fn store(&self, bar: &Bar) -> Result<Stored, Failure> {
        bar.say("asking the replica");
        let (mut reached, mut failed) = (Vec::new(), Vec::new());
        for destination in &self.destinations {
            // What cannot work fails now, and is not tried for a minute.
            match destination.databases().await {
                Ok(_) => reached.push(destination.clone()),
                Err(error) => failed.push(error.into()),
            }
        }
        let mut status = Vec::new();
        if !reached.is_empty() {
            let start = Self {
                volume: self.volume.clone(),
                state: self.state.clone(),
                destinations: reached,
                find: Arc::clone(&self.find),
                options: FollowOptions {
                    wait_for_background: true,
                    ..self.options.clone()
                },
            };
            let follower = start.follower()?;
            if let Err(errors) = store_once::sync(&follower, bar).await {
                failed.extend(errors);
            }
            status = follower.status();
            // All is stored, or it cannot be.
            let _ = follower.stop(RELEASE_TIME_MAX).await;
        }
        Ok(Stored { status, failed })
    }

    async fn once(self, json: bool) -> Result<(), Failure> {
        if (self.find)().is_empty() {
            let volume = self.volume.display();
            return Err(Failure::Error(anyhow!(
                "there is no database in {volume}; name the volume with --data"
            )));
        }
        let bar = Bar::new(self.volume.display().to_string());
        let mut stored = self.store(&bar).await?;
        let left_out = monolite_app::not_looked_at(&self.volume);
        stored
            .failed
            .extend(left_out.into_iter().map(anyhow::Error::msg));
        drop(bar);
        stored.print(json)?;
        stored.verdict()
    }
}

/// What became of it.
pub(crate) struct Stored {
    pub(crate) status: Vec<Status>,
    pub(crate) failed: Vec<anyhow::Error>,
}

#[derive(Serialize)]
struct Line<'s> {
    database: &'s str,
    destination: &'s str,
    stored: bool,
    txid: String,
    timestamp: Option<String>,
    sent_bytes: u64,
    sent_files: u64,
    error: Option<&'s str>,
    advice: Option<&'s str>,
    /// What was found missing or damaged in the replica, which has a new snapshot now.
    repaired: Option<&'s str>,
}

impl Stored {
    pub(crate) fn print(&self, json: bool) -> Result<(), Failure> {
        if json {
            let lines: Vec<Line<'_>> = self.status.iter().map(line).collect();
            return print::json(&lines);
        }
        for status in &self.status {
            if let Some(repair) = &status.repair {
                let (database, destination) = (&status.database, &status.destination);
                print::warning(&anyhow!(
                    "{database} in {destination} could not be restored to its newest state: {}; \
                     states before may be lost{}",
                    repair.why,
                    match repair.done {
                        Some(_) => ". A new snapshot is stored, and it can be again",
                        None => "",
                    }
                ));
            }
        }
        let stored = |status: &&Status| status.failure.is_none();
        for advice in self
            .status
            .iter()
            .filter_map(|status| status.advice.as_deref())
        {
            print::warning(&anyhow!("{advice}"));
        }
        print::lines(self.status.iter().filter(stored).map(|status| {
            let sent = match status.sent_files {
                0 => "nothing new".into(),
                _ => format!("{} sent", human::size(status.sent_bytes)),
            };
            let (database, destination) = (&status.database, &status.destination);
            format!(
                "stored {database} in {destination}: {sent}, transaction {}",
                status.txid
            )
        }))
    }

    /// Each problem in a line of its own, the last by `main`.
    pub(crate) fn verdict(self) -> Result<(), Failure> {
        print::failures(self.failed)
    }
}

fn line(status: &Status) -> Line<'_> {
    Line {
        database: &status.database,
        destination: &status.destination,
        stored: status.failure.is_none(),
        txid: status.txid.to_string(),
        timestamp: status.stored_ms.map(timestamp::show),
        sent_bytes: status.sent_bytes,
        sent_files: status.sent_files,
        error: status.error(),
        advice: status.advice.as_deref(),
        repaired: status.repair.as_ref().map(|repair| repair.why.as_str()),
    }
}
