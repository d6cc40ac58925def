//! A copy of a database to a file, beside the ways there are.

use std::path::Path;
use std::process::Command;

use super::site::Site;
use super::timed::{timed, timed_to_end};
use super::writer::Writer;
use super::{Scale, data};
use crate::process::own;
use crate::report::Report;
use crate::rounds::{Pace, Samples};
use crate::tools;

/// Commits a second meanwhile.
const RATE: u32 = 100;
const PEERS: [&str; 3] = ["sqlite3 .backup", "VACUUM INTO", "cp, which is no backup"];

pub(super) fn run(pace: Pace, scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    tools::need("sqlite3", "sqlite3")?;
    let site = Site::new()?;
    data::make(&site.database(), scale.backup_bytes)?;
    beside(true, &site, (pace, scale), report)?;
    beside(false, &site, (pace, scale), report)
}

fn beside(
    writing: bool,
    site: &Site,
    (pace, scale): (Pace, Scale),
    report: &mut Report,
) -> anyhow::Result<()> {
    let (database, out) = (site.database(), site.dir().join("out.sqlite3"));
    let mut ours = own()?;
    ours.args(["replica-child", "backup"])
        .arg(&database)
        .arg(&out);
    let mut cp = Command::new("cp");
    cp.arg(&database).arg(&out);
    let backup = format!(".backup '{}'", out.display());
    let vacuum = format!("VACUUM INTO '{}'", out.display());
    let peers = [shell(&database, &backup), shell(&database, &vacuum), cp];

    let mut rates = Samples::default();
    let mut their_rates = PEERS.map(|_| Samples::default());
    let mut late = [false; PEERS.len()];
    let size = database.metadata()?.len() as f64 / 1e6;
    let limit = scale.backup_limit;
    for _ in 0..pace.long_rounds {
        let writer = writing.then(|| Writer::start(&database, Some(RATE)));
        let writer = writer.transpose()?;
        rates.push(size / timed_to_end(&ours, limit)?.as_secs_f64());
        check(&out)?;
        for ((peer, rates), late) in peers.iter().zip(&mut their_rates).zip(&mut late) {
            // One that was too late once is so each time.
            if *late {
                continue;
            }
            let took = timed(peer, limit)?;
            *late = took.is_none();
            // At the most: it may never be done.
            rates.push(size / took.unwrap_or(limit).as_secs_f64());
            let _ = std::fs::remove_file(&out);
        }
        if let Some(writer) = writer {
            writer.stop()?;
        }
    }
    let _ = std::fs::remove_file(site.dir().join("out.sqlite3-journal"));
    let while_ = if writing {
        "while a writer writes"
    } else {
        "nobody writes"
    };
    let case = format!("backup of {size:.0} MB to a file, {while_}");
    for ((peer, theirs), late) in PEERS.into_iter().zip(&their_rates).zip(late) {
        let peer = if late {
            format!("{peer}: not done in {} s", limit.as_secs())
        } else {
            peer.into()
        };
        let wanted = if peer.starts_with("sqlite3") {
            ">= 1.5"
        } else {
            ""
        };
        let row = report.versus(&case, "MB/s", rates.median(), peer, theirs.median());
        row.wanted(wanted);
    }
    Ok(())
}

fn shell(database: &Path, what: &str) -> Command {
    let mut command = Command::new("sqlite3");
    // Also if it has to wait for a writer.
    command.args(["-cmd", ".timeout 10000"]);
    command.arg(database).arg(what);
    command
}

/// It is a database, and goes away.
fn check(out: &Path) -> anyhow::Result<()> {
    let conn = rusqlite::Connection::open(out)?;
    let items: i64 = conn.query_row("SELECT max(id) FROM item", [], |row| row.get(0))?;
    anyhow::ensure!(items > 0, "the backup has no items");
    drop(conn);
    for suffix in ["", "-wal", "-shm"] {
        let mut name = out.as_os_str().to_owned();
        name.push(suffix);
        let _ = std::fs::remove_file(name);
    }
    Ok(())
}
