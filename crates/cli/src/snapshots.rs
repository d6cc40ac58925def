//! `monolite snapshots`: what can be restored, from when to when, how large.

use std::path::Path;

use anyhow::anyhow;
use clap::Args;
use monolite_replica::Replica;
use monolite_replica::backup::local;
use monolite_replica::history::{self, History, Point};
use serde::Serialize;

use crate::flags::{self, Flags};
use crate::selection::{Search, Selection};
use crate::{Failure, command, human, print, replication, restore, task, timestamp};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  monolite snapshots\n  monolite snapshots app.sqlite3\n  \
        monolite snapshots s3://bucket/shop --json\n\n\
        Any moment between FROM and TO can be restored: `monolite restore --timestamp`. Old ones\n\
        are kept in longer and longer steps; the details are shown for a database that is named.\n\n\
        Exit code: 0 done, 1 failed, or a newest state cannot be restored, 2 wrong usage."
)]
pub(crate) struct Arguments {
    /// A database by its path in the volume, or the URL of a replica [default: every one]
    #[arg(value_name = "DB|URL")]
    what: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    flags: Flags<flags::Volume>,
}

pub(crate) fn snapshots(arguments: Arguments) -> Result<(), Failure> {
    let settings = arguments.flags.settings()?;
    let volume = replication::place(&settings).dir;
    let selection = Selection::parse(arguments.what.as_deref(), &volume)?;
    let mut all = local_ones(&selection, &volume)?;
    let is_configured = !replication::destinations(&settings)?.is_empty();
    // Without a replica there may still be snapshots on the volume.
    let wanted = matches!(selection, Selection::Url(_)) || is_configured || all.is_empty();
    let mut failed = Vec::new();
    if wanted {
        task::block_on(async {
            let mut search = Search::of(&selection, &settings).await?;
            failed = std::mem::take(&mut search.failed);
            if search.found.is_empty() && failed.is_empty() && all.is_empty() {
                return Err(Failure::Error(search.nothing(&selection)));
            }
            for found in &search.found {
                for replica in &found.replicas {
                    match history::history(replica).await {
                        Ok(history) => {
                            all.push(Kept::replica(&found.database, &volume, replica, &history));
                        }
                        Err(error) => failed.push(error.into()),
                    }
                }
            }
            Ok(())
        })?;
    }
    all.sort_by(|a, b| (&a.database, a.local, &a.place).cmp(&(&b.database, b.local, &b.place)));
    if arguments.json {
        print::json(&all)?;
    } else {
        let details = selection != Selection::All;
        if !all.is_empty() {
            print::lines([overview(&all).trim_end().to_owned()])?;
        }
        if details {
            print::lines(all.iter().map(Kept::details))?;
        }
    }
    failed.extend(all.iter().filter_map(Kept::broken));
    print::failures(failed)
}

/// What one place holds of a database.
#[derive(Debug, Serialize)]
struct Kept {
    database: String,
    place: String,
    /// On the volume itself.
    local: bool,
    oldest: Option<State>,
    newest: Option<State>,
    /// Every state of a span of time is there, or one for each step.
    ranges: Vec<Range>,
    snapshots: Vec<Snapshot>,
    files: usize,
    bytes: u64,
    /// Why the newest file cannot be restored.
    broken: Option<String>,
    /// Restores the newest state that can be, where that is not the newest.
    command: Option<String>,
    /// Files of the replica whose beginnings are damaged already.
    damages: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct State {
    txid: Option<String>,
    timestamp: String,
}

#[derive(Debug, Serialize)]
struct Range {
    level: u8,
    states: usize,
    oldest: State,
    newest: State,
}

#[derive(Debug, Serialize)]
struct Snapshot {
    #[serde(flatten)]
    state: State,
    bytes: u64,
    path: Option<std::path::PathBuf>,
}

impl State {
    fn of(point: &Point) -> Self {
        Self {
            txid: Some(point.txid.to_string()),
            timestamp: timestamp::show(point.time_ms),
        }
    }
}

impl Kept {
    fn replica(database: &str, volume: &Path, replica: &Replica, history: &History) -> Self {
        let place = replica.name();
        let best = history.newest.filter(|_| history.broken.is_some());
        let command = best.map(|best| {
            let rest = format!("--txid {} --overwrite", best.txid);
            command::restore(database, volume, replica, None, &rest)
        });
        Self {
            command,
            damages: history.damaged.clone(),
            database: database.into(),
            place,
            local: false,
            oldest: history.oldest.as_ref().map(State::of),
            newest: history.newest.as_ref().map(State::of),
            ranges: (history.ranges.iter())
                .map(|range| Range {
                    level: range.level,
                    states: range.states,
                    oldest: State::of(&range.oldest),
                    newest: State::of(&range.newest),
                })
                .collect(),
            snapshots: (history.snapshots.iter())
                .map(|snapshot| Snapshot {
                    state: State::of(&snapshot.state),
                    bytes: snapshot.size,
                    path: None,
                })
                .collect(),
            files: history.files,
            bytes: history.bytes,
            broken: history.broken.map(|error| error.to_string()),
        }
    }

    fn local(database: String, volume: &Path, taken: Vec<local::Snapshot>) -> Self {
        let state = |one: &local::Snapshot| State {
            txid: None,
            timestamp: timestamp::show(one.taken_ms),
        };
        let place = local::directory(volume, Path::new(&database));
        Self {
            database,
            place: place.display().to_string(),
            local: true,
            oldest: taken.first().map(state),
            newest: taken.last().map(state),
            ranges: Vec::new(),
            files: taken.len(),
            bytes: taken.iter().map(|one| one.bytes).sum(),
            snapshots: (taken.into_iter())
                .map(|one| Snapshot {
                    state: state(&one),
                    bytes: one.bytes,
                    path: Some(one.path),
                })
                .collect(),
            broken: None,
            command: None,
            damages: Vec::new(),
        }
    }

    /// Why the newest state cannot be restored, with what can be done.
    fn broken(&self) -> Option<anyhow::Error> {
        for damage in &self.damages {
            print::warning(&anyhow!("{damage}"));
        }
        let broken = self.broken.as_ref()?;
        let command = self.command.as_ref();
        let best = command.map_or(String::new(), |command| {
            format!("; the newest state that can be restored is restored by `{command}`")
        });
        Some(anyhow!(
            "{}: its newest state cannot be restored: {broken}{best}; `monolite replicate`, or \
             `monolite run`, stores a new snapshot",
            self.place
        ))
    }

    fn row(&self) -> Vec<String> {
        let time = |state: &Option<State>| match state {
            Some(state) => state.timestamp.clone(),
            None => "nothing".into(),
        };
        vec![
            self.database.clone(),
            time(&self.oldest),
            time(&self.newest),
            self.snapshots.len().to_string(),
            human::size(self.bytes),
            self.place.clone(),
        ]
    }

    /// What there is in between.
    fn details(&self) -> String {
        let mut text = format!(
            "\n{}: {} in {}\n",
            self.place,
            human::size(self.bytes),
            human::count(self.files, "file", "files")
        );
        let mut rows = Vec::new();
        // The snapshots have a line each.
        for range in self.ranges.iter().filter(|range| range.level < 9) {
            let step = match range.level {
                0 => "each sync",
                1 => "each 5 minutes",
                2 => "each hour",
                _ => "merged",
            };
            rows.push(vec![
                format!("  {step}"),
                human::count(range.states, "state", "states"),
                format!("{} to {}", range.oldest.timestamp, range.newest.timestamp),
            ]);
        }
        text += &human::table(&rows);
        let rows: Vec<Vec<String>> = (self.snapshots.iter())
            .map(|snapshot| {
                vec![
                    "  snapshot".into(),
                    snapshot.state.timestamp.clone(),
                    snapshot.state.txid.clone().unwrap_or_default(),
                    human::size(snapshot.bytes),
                ]
            })
            .collect();
        text += &human::table(&rows);
        text.trim_end().to_owned()
    }
}

fn local_ones(selection: &Selection, volume: &Path) -> Result<Vec<Kept>, Failure> {
    let names = match selection {
        Selection::Url(_) => return Ok(Vec::new()),
        Selection::Database(name) => vec![name.clone()],
        Selection::All => restore::local_databases(volume)?,
    };
    let mut kept = Vec::new();
    for name in names {
        let taken = restore::local_snapshots(volume, &name)?;
        if !taken.is_empty() {
            kept.push(Kept::local(name, volume, taken));
        }
    }
    Ok(kept)
}

fn overview(all: &[Kept]) -> String {
    let headings = ["DATABASE", "FROM", "TO", "SNAPSHOTS", "STORED", "WHERE"];
    let mut rows = vec![headings.map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(Kept::row));
    human::table(&rows)
}
