//! Our side in a process of its own: what `monolite replicate`, `restore` and
//! `backup` do, with their settings, and nothing else in memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use monolite_replica::backup::{self, BackupOptions};
use monolite_replica::{
    Destination, DestinationOptions, Find, FollowOptions, Follower, RestoreOptions, restore,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// For the last sync.
const LAST_SYNC: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Until SIGTERM.
    Follow {
        volume: PathBuf,
        state: PathBuf,
        url: String,
        #[arg(long)]
        sync_ms: Option<u64>,
        /// Also how often it is looked whether one is due.
        #[arg(long)]
        snapshot_ms: Option<u64>,
    },
    Restore {
        url: String,
        database: String,
        out: PathBuf,
    },
    Backup {
        database: PathBuf,
        out: PathBuf,
    },
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.verb {
        Verb::Follow {
            volume,
            state,
            url,
            sync_ms,
            snapshot_ms,
        } => {
            raise_limit();
            let mut options = FollowOptions::default();
            if let Some(ms) = sync_ms {
                options.sync_interval = Duration::from_millis(ms);
            }
            if let Some(ms) = snapshot_ms {
                options.snapshot_every = Duration::from_millis(ms);
                options.maintain_every = options.snapshot_every / 4;
            }
            runtime()?.block_on(follow(&volume, &state, &url, options))
        }
        Verb::Restore { url, database, out } => {
            let replica = destination(&url, &variable)?.replica(&database);
            let restored = restore(&replica, &out, RestoreOptions::default());
            runtime()?.block_on(restored)?;
            Ok(())
        }
        Verb::Backup { database, out } => {
            backup::to_file(&database, &out, &BackupOptions::default(), &())?;
            Ok(())
        }
    }
}

async fn follow(
    volume: &Path,
    state: &Path,
    url: &str,
    options: FollowOptions,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let to = vec![destination(url, &variable)?];
    let follower = Follower::start(volume, state, to, find(volume), options)?;
    terminate.recv().await;
    for status in follower.status() {
        if let Some(error) = status.error {
            eprintln!("{}: {error}", status.database);
        }
    }
    follower.stop(LAST_SYNC).await?;
    Ok(())
}

/// All databases of a volume.
pub(super) fn find(volume: &Path) -> Find {
    let volume = volume.to_owned();
    Arc::new(move || {
        let entries = std::fs::read_dir(&volume).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        paths
            .filter(|path| path.extension().is_some_and(|is| is == "sqlite3"))
            .collect()
    })
}

pub(super) fn destination(
    url: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> anyhow::Result<Destination> {
    let options = DestinationOptions::default();
    Destination::parse(url, variable, options).with_context(|| url.to_owned())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// As `monolite` makes its own.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.min(4))
        .enable_all()
        .build()
}

/// A database takes about ten files; Go programs do this by themselves.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
}
