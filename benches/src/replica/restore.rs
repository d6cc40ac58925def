//! A restore of a database that had many changes since its snapshot, beside
//! Litestream's of the same files and `cp` of the same database.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use monolite_replica::{FollowOptions, Follower};
use rusqlite::{Connection, params};

use super::child::{destination, find, runtime};
use super::site::{NAME, PREFIX, SNAPSHOTS, Site};
use super::timed::timed_to_end;
use super::{Scale, data, litestream};
use crate::process::own;
use crate::random::Random;
use crate::report::Report;
use crate::rounds::{Pace, Samples};
use crate::store::raw;

/// Items changed by one commit, each on another page.
const CHANGES: usize = 20;
/// For the first snapshot, and for each increment.
const SYNC: Duration = Duration::from_secs(120);
/// For one restore.
const LIMIT: Duration = Duration::from_secs(300);

pub(super) fn run(pace: Pace, scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let site = Site::new()?;
    data::make(&site.database(), scale.restore_bytes)?;
    replicate(&site, scale.increments)?;
    let folder = copy_bucket(&site)?;
    let out = site.dir().join("restored.sqlite3");
    let from_bucket = ours(&site, &site.url(), &out)?;
    let from_folder = ours(&site, &format!("file://{}", folder.display()), &out)?;
    let mut cp = Command::new("cp");
    cp.arg(site.database()).arg(&out);
    let mut cp_kept = Command::new("sh");
    cp_kept.args(["-c", "cp \"$0\" \"$1\" && sync \"$1\""]);
    cp_kept.arg(site.database()).arg(&out);
    let all = [
        from_bucket,
        litestream::restore(&site, None, &out)?,
        from_folder,
        litestream::restore(&site, Some(&folder), &out)?,
        cp,
        cp_kept,
    ];

    let size = site.database().metadata()?.len() as f64 / 1e6;
    let mut rates = all.each_ref().map(|_| Samples::default());
    for round in 0..pace.long_rounds {
        for (command, rates) in all.iter().zip(&mut rates) {
            remove(&out)?;
            let took = timed_to_end(command, LIMIT)?;
            rates.push(size / took.as_secs_f64());
            if round == 0 {
                same(&site.database(), &out)?;
            }
        }
    }
    let [bucket, their_bucket, folder, their_folder, cp, cp_kept] = rates.map(|r| r.median());
    let n = scale.increments;
    let case = |from| format!("restore {size:.0} MB of a snapshot and {n} increments, {from}");
    let unit = "MB/s";
    for (from, ours, theirs) in [
        ("from S3", bucket, their_bucket),
        ("from a folder", folder, their_folder),
    ] {
        let row = report.versus(case(from), unit, ours, "Litestream", theirs);
        row.wanted(">= 3");
        report.versus(case(from), unit, ours, "cp of the database", cp);
        report.versus(case(from), unit, ours, "cp, kept by the disk", cp_kept);
    }
    Ok(())
}

/// Fills the bucket: a snapshot, and then a file of changes for each commit.
fn replicate(site: &Site, increments: u64) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let variables = site.server().variables();
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone())
    };
    let to = vec![destination(&site.url(), &variable)?];
    let (volume, state) = (site.volume(), site.state());
    let conn = raw::open(&site.database(), raw::NORMAL)?;
    conn.busy_timeout(SYNC)?;
    runtime.block_on(async {
        let options = FollowOptions::default();
        let follower = Follower::start(&volume, &state, to, find(&volume), options)?;
        follower.sync(SYNC).await?;
        let mut random = Random::new(3);
        for _ in 0..increments {
            change(&conn, &mut random)?;
            follower.sync(SYNC).await?;
        }
        follower.stop(SYNC).await?;
        anyhow::Ok(())
    })?;
    let files = [0, SNAPSHOTS].map(|level| site.files(NAME, level).len() as u64);
    anyhow::ensure!(
        files == [increments, 1],
        "the bucket has {files:?} files of changes and snapshots"
    );
    // For cp: the file is the whole database.
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

fn change(conn: &Connection, random: &mut Random) -> anyhow::Result<()> {
    let items: i64 = conn.query_row("SELECT max(id) FROM item", [], |row| row.get(0))?;
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let mut change = conn.prepare_cached("UPDATE item SET hits = hits + 1 WHERE id = ?1")?;
    for _ in 0..CHANGES {
        change.execute(params![
            random.below(items.cast_unsigned()).cast_signed() + 1
        ])?;
    }
    conn.execute_batch("COMMIT")?;
    Ok(())
}

/// The bucket's files as both sides have them in a folder.
fn copy_bucket(site: &Site) -> anyhow::Result<PathBuf> {
    let folder = site.dir().join("copy");
    for level in [0, SNAPSHOTS] {
        let to = folder.join(NAME).join(format!("ltx/{level}"));
        std::fs::create_dir_all(&to)?;
        for key in site.files(NAME, level) {
            let name = key.rsplit('/').next().unwrap_or(&key);
            let body = site.server().object(&key).unwrap_or_default();
            std::fs::write(to.join(name), body)?;
        }
    }
    anyhow::ensure!(
        !site.server().keys(PREFIX).is_empty(),
        "the bucket is empty"
    );
    Ok(folder)
}

fn ours(site: &Site, url: &str, out: &Path) -> anyhow::Result<Command> {
    let mut command = own()?;
    command
        .args(["replica-child", "restore", url, NAME])
        .arg(out);
    site.server().lead(&mut command);
    Ok(command)
}

fn remove(out: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(out) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// What was restored is the database, byte for byte.
fn same(database: &Path, out: &Path) -> anyhow::Result<()> {
    let compared = Command::new("cmp").args([database, out]).output()?;
    anyhow::ensure!(
        compared.status.success(),
        "what was restored is another database: {}",
        String::from_utf8_lossy(&compared.stdout)
    );
    Ok(())
}
