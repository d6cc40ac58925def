//! `monolite migrate baseline`: call applied what a database has already.

use anyhow::anyhow;
use clap::Args;
use monolite_migrate::files::{self, Error};

use crate::migrate::target::{TURN, Target, now_ms};
use crate::{Failure, print};

#[derive(Args)]
#[command(
    after_help = "Examples:\n  monolite migrate baseline                  # the database is what all files make\n  \
        monolite migrate baseline --to 1           # what the first file makes\n\n\
        For a database whose tables were made by other means. The files are tried on an empty\n\
        database in memory, and must make what is there; none is run on the database itself.\n\n\
        Exit code: 0 done, 1 failed or not what is there, 2 wrong usage."
)]
pub(crate) struct Baseline {
    /// Up to the file of this number [default: the newest]
    #[arg(long, value_name = "N")]
    to: Option<u32>,

    /// Though the database is not what the files make
    #[arg(long)]
    force: bool,

    /// Print what was recorded as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    target: Target,
}

pub(crate) fn baseline(arguments: Baseline) -> Result<(), Failure> {
    let found = arguments.target.find()?;
    let migrations = found.migrations()?;
    migrations.check()?;
    let _turn = found.turn("monolite migrate baseline", TURN)?;
    let Some(conn) = found.open()? else {
        return Err(Failure::Error(anyhow!(
            "there is no database {}; `monolite migrate up` makes one",
            found.path.display()
        )));
    };
    let how = files::BaselineOptions::new(now_ms())
        .up_to(arguments.to)
        .force(arguments.force);
    let recorded = match files::baseline(&conn, &migrations, &how) {
        Err(error @ Error::NoSuch { .. }) => return Err(Failure::Usage(error.into())),
        other => other?,
    };
    if arguments.json {
        return print::json(&recorded);
    }
    print::lines(
        recorded
            .iter()
            .map(|one| format!("{}: {}.sql counts as applied", found.shown(), one.name)),
    )
}
