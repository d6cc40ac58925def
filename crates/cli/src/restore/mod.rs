//! `monolite restore`: databases back from a replica, or from a snapshot on
//! the volume.

mod from_local;
mod from_replica;
mod orders;

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use monolite_ltx::Txid;
use monolite_replica::{Restored, Target};
use serde::Serialize;

pub(crate) use self::from_local::{databases as local_databases, list as local_snapshots};
use self::from_replica::Home;
use self::orders::{Order, Orders};
use crate::flags::{self, Flags};
use crate::selection::{Search, Selection};
use crate::timestamp::Timestamp;
use crate::{Failure, human, print, replication, task, timestamp};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  monolite restore                             # what is missing on the volume\n  \
        monolite restore app.sqlite3 --overwrite --timestamp '1h ago'\n  \
        monolite restore app.sqlite3 -o /tmp/look.sqlite3 --timestamp '2026-11-21 14:30'\n  \
        monolite restore s3://bucket/shop/app.sqlite3 -o app.sqlite3\n  \
        monolite restore app.sqlite3 --local --overwrite\n\n\
        A database appears whole and proven by its checksums, or not at all; a -wal or -shm\n\
        of the old one goes with it. Stop the app before its database is replaced.\n\
        Times without a zone are local; `monolite snapshots` shows what there is.\n\n\
        Exit code: 0 done, 1 failed or refused, 2 wrong usage."
)]
pub(crate) struct Arguments {
    /// A database by its path in the volume, or the URL of a replica [default: every one that is
    /// missing on the volume]
    #[arg(value_name = "DB|URL")]
    what: Option<String>,

    /// Restore to this file, or to this directory with a / at its end [default: the volume]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// As it was at this moment: 2026-11-21T14:30:00Z, '2026-11-21 14:30' (local time), '1h ago'
    /// [default: the newest state]
    #[arg(long, value_name = "TIME", conflicts_with = "txid")]
    timestamp: Option<Timestamp>,

    /// The state of this transaction, as `monolite snapshots` shows it
    #[arg(long, value_name = "ID", value_parser = txid, conflicts_with = "local")]
    txid: Option<Txid>,

    /// Leave a database that is there, and succeed; also if nothing was replicated yet
    #[arg(long, conflicts_with = "overwrite")]
    if_missing: bool,

    /// Replace a database that is there
    #[arg(long)]
    overwrite: bool,

    /// Every database of the replica, not only those that are missing
    #[arg(long, conflicts_with = "what")]
    all: bool,

    /// From a snapshot on the volume that `monolite backup --local` took
    #[arg(long)]
    local: bool,

    /// Print what was restored as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    flags: Flags<flags::Volume>,
}

fn txid(text: &str) -> Result<Txid, String> {
    let known = text.trim();
    // As it is shown, and without its zeros.
    let whole = match known.len() {
        1..16 => format!("{known:0>16}"),
        _ => known.to_owned(),
    };
    whole
        .parse()
        .map_err(|_| "a transaction is up to 16 hexadecimal digits, as 00000000000001ff".into())
}

/// What all of it has in common.
struct How {
    target: Target,
    overwrite: bool,
    if_missing: bool,
    all: bool,
    output: Option<PathBuf>,
}

pub(crate) fn restore(arguments: Arguments) -> Result<(), Failure> {
    let settings = arguments.flags.settings()?;
    let volume = replication::place(&settings).dir;
    let selection = Selection::parse(arguments.what.as_deref(), &volume)?;
    if arguments.overwrite && selection == Selection::All && !arguments.all {
        return Err(Failure::Usage(anyhow!(
            "--overwrite without a database replaces every one; name one, or say --all as well"
        )));
    }
    let how = How {
        target: match (arguments.timestamp, arguments.txid) {
            (Some(Timestamp(time_ms)), _) => Target::Time(time_ms),
            (None, Some(txid)) => Target::Txid(txid),
            (None, None) => Target::Latest,
        },
        overwrite: arguments.overwrite,
        if_missing: arguments.if_missing,
        all: arguments.all,
        output: arguments.output,
    };
    let (local, json) = (arguments.local, arguments.json);
    let done = task::block_on(async {
        if local {
            let found = from_local::find(&selection, &volume, how.target)?;
            let names = found.iter().map(|one| one.database.as_str());
            let orders = orders::orders(names, &selection, &volume, &how)?;
            return from_local::restore(orders, found).await;
        }
        let search = Search::of(&selection, &settings).await?.print_failed()?;
        if search.found.is_empty() {
            let why = search.nothing(&selection);
            if !how.if_missing {
                return Err(Failure::Error(why));
            }
            eprintln!("monolite: nothing was restored: {why}");
            return Ok(Done::default());
        }
        if matches!(how.target, Target::Txid(_)) {
            one_replica(&search)?;
        }
        let names = search.found.iter().map(|one| one.database.as_str());
        let orders = orders::orders(names, &selection, &volume, &how)?;
        let destinations = replication::destinations(&settings)?;
        let home = Home {
            volume: &volume,
            destinations: &destinations,
        };
        Ok(from_replica::restore(orders, search, how.target, &home).await)
    })?;
    done.show(json)
}

/// Each replica counts its own transactions.
fn one_replica(search: &Search) -> Result<(), Failure> {
    match search.found.iter().find(|found| found.replicas.len() > 1) {
        Some(found) => Err(Failure::Usage(anyhow!(
            "{} is in {} replicas, and each counts its own transactions; name one by its URL, or give --timestamp",
            found.database,
            found.replicas.len()
        ))),
        None => Ok(()),
    }
}

/// What came of it.
#[derive(Default)]
struct Done {
    lines: Vec<Line>,
    failed: Vec<anyhow::Error>,
}

/// One database.
#[derive(Serialize)]
struct Line {
    database: String,
    path: PathBuf,
    /// It was there, and was left.
    skipped: bool,
    from: Option<String>,
    txid: Option<String>,
    timestamp: Option<String>,
    /// Bytes of the database.
    size: Option<u64>,
    fetched_bytes: Option<u64>,
    fetched_files: Option<usize>,
    seconds: Option<f64>,
    /// By the checksum of the whole database.
    proven: Option<bool>,
}

impl Line {
    fn skipped(order: Order) -> Self {
        Self {
            database: order.database,
            path: order.out,
            skipped: true,
            from: None,
            txid: None,
            timestamp: None,
            size: None,
            fetched_bytes: None,
            fetched_files: None,
            seconds: None,
            proven: None,
        }
    }

    fn restored(order: Order, from: String, restored: &Restored, seconds: f64) -> Self {
        Self {
            skipped: false,
            from: Some(from),
            txid: Some(restored.txid.to_string()),
            timestamp: Some(timestamp::show(restored.timestamp_ms)),
            size: Some(u64::from(restored.pages) * u64::from(restored.page_size)),
            fetched_bytes: Some(restored.bytes),
            fetched_files: Some(restored.files),
            seconds: Some(seconds),
            proven: Some(restored.checksum.is_some()),
            ..Self::skipped(order)
        }
    }

    fn shown(&self) -> String {
        let path = self.path.display();
        if self.skipped {
            return format!("{path}: it is there, and was left as it is (--overwrite replaces it)");
        }
        let size = human::size(self.size.unwrap_or(0));
        let mut text = format!("{path}: restored, {size}");
        if let (Some(txid), Some(timestamp)) = (&self.txid, &self.timestamp) {
            text += &format!(", transaction {txid} of {timestamp}");
        } else if let Some(timestamp) = &self.timestamp {
            text += &format!(" of {timestamp}");
        }
        if let Some(from) = &self.from {
            text += &format!(", from {from}");
        }
        if let Some(seconds) = self.seconds {
            text += &format!(" in {seconds:.1} s");
        }
        match self.proven {
            Some(true) => text + "; its checksum is right",
            Some(false) => text + "; its files are whole, and quick_check found nothing",
            None => text,
        }
    }
}

impl Done {
    fn show(self, json: bool) -> Result<(), Failure> {
        match json {
            true => print::json(&self.lines)?,
            false => print::lines(self.lines.iter().map(Line::shown))?,
        }
        print::failures(self.failed)
    }
}
