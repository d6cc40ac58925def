//! `monolite restore`: databases back from a replica, or from a snapshot on
//! the volume.

mod from_file;
mod from_local;
mod from_replica;
mod orders;
mod outcome;

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use monolite_ltx::Txid;
use monolite_replica::Target;

pub(crate) use self::from_local::{databases as local_databases, list as local_snapshots};
use self::from_replica::Home;
use self::orders::How;
use self::outcome::Done;
use crate::flags::{self, Flags};
use crate::selection::{Search, Selection};
use crate::timestamp::Timestamp;
use crate::{Failure, replication, task};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  monolite restore                             # what is missing on the volume\n  \
        monolite restore app.sqlite3 --overwrite --timestamp '1h ago'\n  \
        monolite restore app.sqlite3 -o /tmp/look.sqlite3 --timestamp '2026-11-21 14:30'\n  \
        monolite restore s3://bucket/shop/app.sqlite3 -o app.sqlite3\n  \
        monolite restore app.sqlite3 --local --overwrite\n  \
        monolite restore monday.sqlite3.zst -o app.sqlite3\n\n\
        A database appears whole and proven by its checksums, or not at all; a -wal or -shm\n\
        of the old one goes with it. Stop the app before its database is replaced; what was\n\
        there is kept next to it, as app.sqlite3.before-TIME.\n\
        Times without a zone are local; `monolite snapshots` shows what there is.\n\n\
        Exit code: 0 done, 1 failed or refused, 2 wrong usage."
)]
pub(crate) struct Arguments {
    /// A database by its path in the volume, the URL or folder of a replica, or a file that
    /// `monolite backup` made [default: every database that is missing on the volume]
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

pub(crate) fn restore(arguments: Arguments) -> Result<(), Failure> {
    let settings = arguments.flags.settings()?;
    let volume = replication::place(&settings).dir;
    let file = from_file::find(arguments.what.as_deref(), &volume);
    let selection = match file {
        Some(_) => Selection::All,
        None => Selection::parse(arguments.what.as_deref(), &volume)?,
    };
    if file.is_none() && arguments.overwrite && selection == Selection::All && !arguments.all {
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
        if let Some(file) = file {
            if how.target != Target::Latest || local {
                return Err(Failure::Usage(anyhow!(
                    "a backup file holds one state: leave out --timestamp, --txid and --local"
                )));
            }
            return from_file::restore(file, &volume, &how).await;
        }
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
