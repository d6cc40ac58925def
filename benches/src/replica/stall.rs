//! The longest that a writer waits, beside snapshots and while the log is begun
//! anew.

use std::time::{Duration, Instant};

use super::log::Log;
use super::site::{NAME, SNAPSHOTS, Site};
use super::who::{Ours, Who};
use super::writer::{Writer, Wrote};
use super::{Scale, data, litestream};
use crate::clock::monotonic_ns;
use crate::report::Report;

const RATE: u32 = 500;
/// Between two snapshots.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(20);
/// For each of two snapshots.
const LIMIT: Duration = Duration::from_secs(150);
/// The writer alone, before anything else begins, and after.
const ALONE: Duration = Duration::from_secs(1);

/// How it went beside one of them.
struct Outcome {
    wrote: Wrote,
    /// Of the log, in bytes.
    largest: u64,
    resets: usize,
    /// Stored at the end.
    snapshots: usize,
    /// From the start to a first state that is stored.
    first: Option<Duration>,
}

pub(super) fn run(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    let mut site = Site::new()?;
    data::make(&site.database(), scale.stall_bytes)?;
    let without = beside(Who::Nobody, &site, scale)?;
    let snapshots = Some(SNAPSHOT_EVERY);
    let ours = Who::Ours(Ours {
        interval: None,
        snapshots,
    });
    let ours = beside(ours, &site, scale)?;
    site.empty_bucket()?;
    let theirs = Who::Litestream(litestream::Settings {
        interval: None,
        snapshots,
    });
    let theirs = beside(theirs, &site, scale)?;

    let size = scale.stall_bytes as f64 / f64::from(1 << 30);
    let of = format!("500 commits/s beside snapshots of {size:.1} GiB");
    let lower = "(lower is better)";
    let peers = [("no replication", &without), ("Litestream", &theirs)];
    let mut rows = |what: &str, unit, wanted, value: &dyn Fn(&Outcome) -> f64| {
        for (name, peer) in peers {
            let case = format!("{of}, {what} {lower}");
            let row = report.versus(case, unit, value(&ours), name, value(peer));
            row.wanted(wanted);
        }
    };
    rows("longest commit", "ms", "ours <= 20", &|outcome| {
        outcome.wrote.waits.max_us() as f64 / 1000.0
    });
    rows("commit p99.9", "ms", "", &|outcome| {
        outcome.wrote.waits.quantile_us(0.999) as f64 / 1000.0
    });
    rows("WAL at its largest", "MB", "", &|outcome| {
        outcome.largest as f64 / 1e6
    });
    if let (Some(ours), Some(theirs)) = (ours.first, theirs.first) {
        let case = format!("first state of {size:.1} GiB stored, beside a writer {lower}");
        let (ours, theirs) = (ours.as_secs_f64(), theirs.as_secs_f64());
        report.versus(case, "s", ours, "Litestream", theirs);
    }
    Ok(())
}

fn beside(who: Who, site: &Site, scale: Scale) -> anyhow::Result<Outcome> {
    let mut log = Log::new(&site.database());
    let started_ns = monotonic_ns();
    let writer = Writer::start(&site.database(), Some(RATE))?;
    log.watch(ALONE);
    let started = Instant::now();
    let mut first = None;
    let mut following = who.follow(site)?;
    if let Some(following) = &mut following {
        following.wait(site, LIMIT, "a first state is stored", || {
            log.look();
            let levels = [0, SNAPSHOTS].map(|level| site.files(NAME, level).len());
            levels.into_iter().any(|files| files > 0)
        })?;
        first = Some(started.elapsed());
        let had = site.files(NAME, SNAPSHOTS).len();
        following.wait(site, LIMIT, "another snapshot is stored", || {
            log.look();
            site.files(NAME, SNAPSHOTS).len() > had
        })?;
    }
    // All as long: the longest wait of more time would be longer.
    log.watch(scale.stall.saturating_sub(started.elapsed()).max(ALONE));
    let wrote = writer.stop()?;
    let outcome = Outcome {
        wrote,
        snapshots: site.files(NAME, SNAPSHOTS).len(),
        largest: log.largest,
        resets: log.resets,
        first,
    };
    outcome.tell(who, started_ns);
    Ok(outcome)
}

impl Outcome {
    /// What the table has no room for.
    fn tell(&self, who: Who, started_ns: u64) {
        let mut slow = self.wrote.slow.clone();
        slow.sort_by_key(|(_, us)| std::cmp::Reverse(*us));
        let slow: Vec<String> = slow
            .iter()
            .take(5)
            .map(|(end_ns, us)| {
                let at = end_ns.saturating_sub(started_ns) as f64 / 1e9;
                format!("{:.1} ms after {at:.1} s", *us as f64 / 1000.0)
            })
            .collect();
        eprintln!(
            "  {}: {} commits in {:.0} s, {} resets of the log, {} snapshots, first state after {:.1} s; slowest: {}",
            who.name(),
            self.wrote.commits,
            self.wrote.seconds,
            self.resets,
            self.snapshots,
            self.first.map_or(0.0, |first| first.as_secs_f64()),
            slow.join(", ")
        );
    }
}
