//! `monolite migrate up --baseline`: call applied what a database has already.

use anyhow::anyhow;
use monolite_migrate::files::{self, Error};

use super::target::{Found, now_ms};
use crate::{Failure, print};

/// Records the files up to the number `to` as applied, if they make what is there.
pub(super) fn baseline(found: &Found, to: Option<u32>, json: bool) -> Result<(), Failure> {
    let migrations = found.migrations()?;
    migrations.check()?;
    let _lock = found.lock("monolite migrate up --baseline")?;
    let Some(conn) = found.open()? else {
        return Err(Failure::Error(anyhow!(
            "there is no database {}; `monolite migrate up` makes one",
            found.path.display()
        )));
    };
    let how = files::BaselineOptions::new(now_ms()).up_to(to);
    let recorded = match files::baseline(&conn, &migrations, &how) {
        Err(error @ Error::NoSuch { .. }) => return Err(Failure::Usage(error.into())),
        other => other?,
    };
    if json {
        return print::json(&recorded);
    }
    print::lines(
        recorded
            .iter()
            .map(|one| format!("{}: {}.sql counts as applied", found.shown(), one.name)),
    )
}
