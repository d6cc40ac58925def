//! From a commit to the moment from which it could be restored, at 100 commits
//! a second.

use std::time::{Duration, Instant};

use super::arrivals::{Arrivals, telling};
use super::site::{NAME, Site};
use super::who::{Ours, Who};
use super::writer::{Writer, Wrote};
use super::{Scale, data, litestream};
use crate::contest::histogram::Histogram;
use crate::report::Report;

const RATE: u32 = 100;
/// Commits that only warm up.
const WARM_UP: u64 = 100;
/// For the first state, and for the last commit.
const LIMIT: Duration = Duration::from_secs(20);
/// Of those who can be set faster than a second.
const FAST: Duration = Duration::from_millis(50);
const FASTEST: Duration = Duration::from_millis(10);

pub(super) fn run(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let ours = |interval| {
        let snapshots = None;
        Who::Ours(Ours {
            interval,
            snapshots,
        })
    };
    let litestream = |interval| {
        let snapshots = None;
        Who::Litestream(litestream::Settings {
            interval,
            snapshots,
        })
    };
    let ours_default = lags(ours(None), scale)?;
    let theirs_default = lags(litestream(None), scale)?;
    let ours_fast = lags(ours(Some(FAST)), scale)?;
    let theirs_fast = lags(litestream(Some(FAST)), scale)?;
    let theirs_fastest = lags(litestream(Some(FASTEST)), scale)?;
    for (interval, ours, peer, theirs) in [
        ("1 s", &ours_default, "Litestream, default", &theirs_default),
        ("50 ms", &ours_fast, "Litestream at 50 ms", &theirs_fast),
        ("50 ms", &ours_fast, "Litestream at 10 ms", &theirs_fastest),
    ] {
        for (name, share) in [("p50", 0.50), ("p99", 0.99)] {
            let case = format!("commit to stored, interval {interval}, {name} (lower is better)");
            let ms = |lags: &Histogram| lags.quantile_us(share) as f64 / 1000.0;
            report.versus(case, "ms", ms(ours), peer, ms(theirs));
        }
    }
    Ok(())
}

fn lags(who: Who, scale: Scale) -> anyhow::Result<Histogram> {
    let (options, stored) = telling();
    let site = Site::with(options)?;
    data::make(&site.database(), data::SMALL)?;
    let mut arrivals = Arrivals::new(stored, data::stamp_page(&site.database())?);
    let mut following = who.follow(&site)?;
    if let Some(following) = &mut following {
        following.wait_stored(&site, NAME, LIMIT)?;
    }
    let writer = Writer::start(&site.database(), Some(RATE))?;
    arrivals.gather(&site, Instant::now() + scale.lag)?;
    let wrote = writer.stop()?;
    let deadline = Instant::now() + LIMIT;
    while arrivals.newest() < wrote.commits {
        let (name, newest) = (who.name(), arrivals.newest());
        anyhow::ensure!(
            Instant::now() < deadline,
            "{name} has stored {newest} of {} commits",
            wrote.commits
        );
        arrivals.gather(&site, Instant::now() + Duration::from_millis(50))?;
    }
    drop(following);
    Ok(between(&wrote, &arrivals.restorable()))
}

/// From the end of each commit to the first state that has it.
fn between(wrote: &Wrote, restorable: &[(u64, u64)]) -> Histogram {
    let mut lags = Histogram::default();
    for (commit, end_ns) in (1..).zip(&wrote.ends).skip(WARM_UP as usize) {
        let at = restorable.partition_point(|(stamp, _)| *stamp < commit);
        if let Some((_, at_ns)) = restorable.get(at) {
            lags.record(Duration::from_nanos(at_ns.saturating_sub(*end_ns)));
        }
    }
    lags
}
