//! `monolite verify`: can it be restored, found out before it has to be.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use monolite_ltx::Txid;
use monolite_replica::{
    Integrity, IntegrityCheck, Replica, RestoreError, Restored, Target, VerifyOptions,
};
use serde::Serialize;

use crate::bar::Bar;
use crate::flags::{self, Flags};
use crate::selection::{Search, Selection};
use crate::timestamp::Timestamp;
use crate::{Failure, command, human, print, replication, task, timestamp};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  monolite verify                 # every database, in every replica\n  \
        monolite verify app.sqlite3 --timestamp '1 day ago'\n  \
        monolite verify s3://bucket/shop/app.sqlite3\n\n\
        Each is restored into a temporary file that is removed again: the checksum of every file\n\
        and of the whole database, and SQLite's integrity_check.\n\n\
        Exit code: 0 all can be restored, 1 one cannot, 2 wrong usage."
)]
pub(crate) struct Arguments {
    /// A database by its path in the volume, or the URL of a replica [default: every one]
    #[arg(value_name = "DB|URL")]
    what: Option<String>,

    /// As it was at this moment, as for `monolite restore` [default: the newest state]
    #[arg(long, value_name = "TIME")]
    timestamp: Option<Timestamp>,

    /// The checksums alone: nothing is written to the disk
    #[arg(long)]
    quick: bool,

    /// The directory of the temporary file [default: $TMPDIR, else /tmp]
    #[arg(long, value_name = "DIR", conflicts_with = "quick")]
    scratch: Option<PathBuf>,

    /// Print what was found as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    flags: Flags<flags::Volume>,
}

pub(crate) fn verify(arguments: Arguments) -> Result<(), Failure> {
    let settings = arguments.flags.settings()?;
    let volume = replication::place(&settings).dir;
    let selection = Selection::parse(arguments.what.as_deref(), &volume)?;
    let options = |name: &str| VerifyOptions {
        target: match arguments.timestamp {
            Some(Timestamp(time_ms)) => Target::Time(time_ms),
            None => Target::Latest,
        },
        integrity_check: match arguments.quick {
            true => IntegrityCheck::None,
            false => IntegrityCheck::Full,
        },
        scratch: arguments.scratch.clone().unwrap_or_else(std::env::temp_dir),
        progress: Arc::new(Bar::new(name)),
        ..VerifyOptions::default()
    };
    let json = arguments.json;
    task::block_on(async {
        let mut search = Search::of(&selection, &settings).await?;
        let failed = std::mem::take(&mut search.failed);
        if search.found.is_empty() && failed.is_empty() {
            return Err(Failure::Error(search.nothing(&selection)));
        }
        let mut lines = Vec::new();
        for found in &search.found {
            for replica in &found.replicas {
                let began = Instant::now();
                // Before the replica is listed: it may get more meanwhile.
                let known = match arguments.timestamp {
                    None => replication::stored_txid(&settings, &volume, &found.database, replica),
                    Some(_) => None,
                };
                let result = monolite_replica::verify(replica, options(&found.database)).await;
                let best = match &result {
                    Err(error) => best(replica, error, &options(&found.database)).await,
                    Ok(_) => None,
                };
                let seconds = began.elapsed().as_secs_f64();
                let mut line = Line::of(&found.database, replica, result, seconds);
                line.compare(known);
                if let Some(best) = best {
                    line.advise(&volume, replica, best);
                }
                if !json {
                    print::lines([line.shown()])?;
                }
                lines.push(line);
            }
        }
        if json {
            print::json(&lines)?;
        }
        let bad = lines.iter().any(|line| !line.restorable);
        match print::failures(failed) {
            Ok(()) if bad => Err(Failure::Code(1)),
            result => result,
        }
    })
}

/// How many older states are tried.
const TRIES_MAX: usize = 5;

/// The newest older state that can be restored, proven.
async fn best(
    replica: &Replica,
    error: &RestoreError,
    options: &VerifyOptions,
) -> Option<Restored> {
    let mut best = error.best();
    for _ in 0..TRIES_MAX {
        let options = VerifyOptions {
            target: Target::Txid(best?),
            ..options.clone()
        };
        match monolite_replica::verify(replica, options).await {
            Ok(restored) => return Some(restored),
            Err(error) => best = error.best(),
        }
    }
    None
}

#[derive(Serialize)]
struct Line {
    database: String,
    replica: String,
    restorable: bool,
    error: Option<String>,
    /// Files of the replica that are damaged, though the state can be restored.
    damages: Vec<String>,
    /// Of what cannot be restored: the newest older state that can be.
    best: Option<Best>,
    txid: Option<String>,
    timestamp: Option<String>,
    size: Option<u64>,
    fetched_bytes: Option<u64>,
    fetched_files: Option<usize>,
    /// By the checksum of the whole database.
    proven: bool,
    /// The answer of integrity_check: `ok`, or why there is none.
    integrity: Option<String>,
    seconds: f64,
}

#[derive(Serialize)]
struct Best {
    txid: String,
    timestamp: String,
    /// Restores it.
    command: String,
}

impl Line {
    /// `known`: the last transaction that this volume knows is stored.
    fn compare(&mut self, known: Option<Txid>) {
        let found = self
            .txid
            .as_ref()
            .and_then(|txid| txid.parse::<Txid>().ok());
        if let (Some(known), Some(found)) = (known, found)
            && found < known
        {
            self.restorable = false;
            self.error = Some(format!(
                "{}: its newest state is transaction {found} of {}, and this volume has stored {known}: \
                 what was stored after is missing; `monolite replicate`, or `monolite run`, stores a \
                 new snapshot",
                self.replica,
                self.timestamp.as_deref().unwrap_or_default(),
            ));
        }
    }

    fn advise(&mut self, volume: &Path, replica: &Replica, best: Restored) {
        let rest = format!("--txid {} --overwrite", best.txid);
        let command = command::restore(&self.database, volume, replica, None, &rest);
        let (txid, timestamp) = (best.txid.to_string(), timestamp::show(best.timestamp_ms));
        self.error = self.error.take().map(|error| {
            format!("{error}. Verified: transaction {txid} of {timestamp} can be, by `{command}`")
        });
        self.best = Some(Best {
            txid,
            timestamp,
            command,
        });
    }

    fn of(
        database: &str,
        replica: &Replica,
        result: Result<Restored, RestoreError>,
        seconds: f64,
    ) -> Self {
        let mut line = Self {
            database: database.into(),
            replica: replica.name(),
            restorable: result.is_ok(),
            error: None,
            damages: Vec::new(),
            best: None,
            txid: None,
            timestamp: None,
            size: None,
            fetched_bytes: None,
            fetched_files: None,
            proven: false,
            integrity: None,
            seconds,
        };
        match result {
            Err(error) => line.error = Some(error.to_string()),
            Ok(restored) => {
                line.damages.clone_from(&restored.damages);
                line.txid = Some(restored.txid.to_string());
                line.timestamp = Some(timestamp::show(restored.timestamp_ms));
                line.size = Some(u64::from(restored.pages) * u64::from(restored.page_size));
                line.fetched_bytes = Some(restored.bytes);
                line.fetched_files = Some(restored.files);
                line.proven = restored.checksum.is_some();
                line.integrity = match restored.integrity {
                    Integrity::Unchecked => None,
                    Integrity::Ok => Some("ok".into()),
                    Integrity::Unknown(words) => Some(words),
                };
            }
        }
        line
    }

    fn shown(&self) -> String {
        if let Some(error) = &self.error {
            return format!("FAIL  {}  {error}", self.database);
        }
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let mut proof = vec!["the checksum of each file"];
        if self.proven {
            proof.push("that of the whole database");
        }
        let failed = self.integrity.as_deref().filter(|answer| *answer != "ok");
        if self.integrity.is_some() && failed.is_none() {
            proof.push("integrity_check");
        }
        let no_answer = failed.map(|why| format!("; integrity_check gave no answer: {why}"));
        let damages = match self.damages.as_slice() {
            [] => String::new(),
            [first, ..] => format!(
                "; {} of its files cannot be read, and others were used instead; the first: {first}",
                self.damages.len()
            ),
        };
        let mark = if self.damages.is_empty() {
            "ok  "
        } else {
            "WARN"
        };
        format!(
            "{mark}  {}  {}, transaction {} of {}, {} in {:.1} s: {}{}{damages}",
            self.database,
            self.replica,
            text(&self.txid),
            text(&self.timestamp),
            human::size(self.size.unwrap_or(0)),
            self.seconds,
            proof.join(", "),
            no_answer.unwrap_or_default(),
        )
    }
}
