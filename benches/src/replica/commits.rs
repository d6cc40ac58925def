//! What the app's own commits lose to replication.

use std::time::Duration;

use super::data;
use super::site::{NAME, Site};
use super::who::Who;
use super::writer::Writer;
use crate::report::Report;
use crate::rounds::{Pace, Samples};

const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn run(pace: Pace, report: &mut Report) -> anyhow::Result<()> {
    let all = [Who::Nobody, Who::OURS, Who::LITESTREAM];
    let mut rates = all.map(|_| Samples::default());
    for _ in 0..pace.rounds {
        for (who, rates) in all.iter().zip(&mut rates) {
            rates.push(rate(*who, pace.load)?);
        }
    }
    let [without, ours, litestream] = rates.map(|rates| rates.median());
    let case = "1 writer as fast as it can, NORMAL, replicated";
    report
        .versus(case, "commits/s", ours, "no replication", without)
        .wanted(">= 0.95");
    report.versus(case, "commits/s", ours, "Litestream", litestream);
    Ok(())
}

fn rate(who: Who, time: Duration) -> anyhow::Result<f64> {
    let site = Site::new()?;
    data::make(&site.database(), data::SMALL)?;
    let mut following = who.follow(&site)?;
    if let Some(following) = &mut following {
        following.wait_stored(&site, NAME, LIMIT)?;
    }
    let before = site.files(NAME, 0).len();
    let writer = Writer::start(&site.database(), None)?;
    std::thread::sleep(time);
    let wrote = writer.stop()?;
    if let Some(following) = &mut following {
        // A rate beside one that sends nothing would say nothing.
        let name = who.name();
        following.wait(&site, LIMIT, &format!("{name} stores changes"), || {
            site.files(NAME, 0).len() > before
        })?;
    }
    Ok(wrote.rate())
}
