//! What the app's own commits lose to replication.

use std::time::Duration;

use super::data;
use super::log::Log;
use super::site::{NAME, Site};
use super::who::Who;
use super::writer::Writer;
use crate::report::Report;
use crate::rounds::{Pace, Samples};

const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn run(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let all = [Who::Nobody, Who::OURS, Who::LITESTREAM];
    let mut rates = all.map(|_| Samples::default());
    let mut logs = all.map(|_| Samples::default());
    for _ in 0..pace.rounds {
        for ((who, rates), logs) in all.iter().zip(&mut rates).zip(&mut logs) {
            let (rate, log) = reached(*who, pace.load)?;
            rates.push(rate);
            logs.push(log as f64 / 1e6);
        }
    }
    let [without, ours, litestream] = rates.map(|rates| rates.median());
    let case = "1 writer as fast as it can, NORMAL, replicated";
    report
        .versus(case, "commits/s", ours, "no replication", without)
        .wanted(">= 0.95");
    report.versus(case, "commits/s", ours, "Litestream", litestream);
    // What was not written into the database yet: a rate has that to its credit.
    let [without, ours, litestream] = logs.map(|logs| logs.median());
    let case = "the same, WAL at its largest (lower is better)";
    report.versus(case, "MB", ours, "no replication", without);
    report.versus(case, "MB", ours, "Litestream", litestream);
    Ok(())
}

/// Commits a second, and the bytes of the largest log.
fn reached(who: Who, time: Duration) -> anyhow::Result<(f64, u64)> {
    let site = Site::new()?;
    data::make(&site.database(), data::SMALL)?;
    let mut following = who.follow(&site)?;
    if let Some(following) = &mut following {
        following.wait_stored(&site, NAME, LIMIT)?;
    }
    let before = site.files(NAME, 0).len();
    let writer = Writer::start(&site.database(), None)?;
    let mut log = Log::new(&site.database());
    log.watch(time);
    let wrote = writer.stop()?;
    if let Some(following) = &mut following {
        // A rate beside one that sends nothing would say nothing.
        let name = who.name();
        following.wait(&site, LIMIT, &format!("{name} stores changes"), || {
            site.files(NAME, 0).len() > before
        })?;
    }
    Ok((wrote.rate(), log.largest))
}
