//! What is asked of the provider: with one commit a second, and with none.

use std::time::{Duration, Instant};

use monolite_testkit::s3::{Counts, Operation};

use super::site::{NAME, Site};
use super::who::{Following, Who};
use super::writer::Writer;
use super::{Scale, data};
use crate::report::Report;

const RATE: u32 = 1;
const LIMIT: Duration = Duration::from_secs(30);
/// For the last commit to be stored, before idling begins.
const LAST: Duration = Duration::from_secs(5);
const HOUR: f64 = 3600.0;
/// What providers ask most for, about ten times as much as for a read.
const DEAR: [Operation; 6] = [
    Operation::PutObject,
    Operation::CopyObject,
    Operation::CreateMultipartUpload,
    Operation::UploadPart,
    Operation::CompleteMultipartUpload,
    Operation::ListObjects,
];

/// One that replicates, in a world of its own.
struct Run {
    following: Following,
    site: Site,
}

pub(super) fn run(scale: Scale, report: &mut Report) -> anyhow::Result<()> {
    // Next to idle, both: at the same time.
    let mut runs = Vec::new();
    for who in [Who::OURS, Who::LITESTREAM] {
        let site = Site::new()?;
        data::make(&site.database(), data::SMALL)?;
        if let Some(mut following) = who.follow(&site)? {
            following.wait_stored(&site, NAME, LIMIT)?;
            runs.push(Run { following, site });
        }
    }
    std::thread::sleep(scale.settle);
    runs.iter().for_each(|run| run.site.server().reset_counts());
    let started = Instant::now();
    let mut writers = Vec::new();
    for run in &runs {
        writers.push(Writer::start(&run.site.database(), Some(RATE))?);
    }
    std::thread::sleep(scale.cost);
    for writer in writers {
        writer.stop()?;
    }
    let wrote = started.elapsed();
    std::thread::sleep(LAST);
    let busy: Vec<Counts> = runs.iter().map(|run| run.site.server().counts()).collect();
    runs.iter().for_each(|run| run.site.server().reset_counts());
    std::thread::sleep(scale.idle);
    let idle: Vec<Counts> = runs.iter().map(|run| run.site.server().counts()).collect();
    for run in &mut runs {
        let what = "it lives to the end";
        run.following
            .wait(&run.site, Duration::ZERO, what, || true)?;
    }
    let ([ours, theirs], [ours_idle, theirs_idle]) = (busy.as_slice(), idle.as_slice()) else {
        anyhow::bail!("two were to be counted");
    };

    let lower = "(lower is better)";
    let seconds = wrote.as_secs();
    let times = HOUR / wrote.as_secs_f64();
    let mut row = |what: &str, unit, value: &dyn Fn(&Counts) -> f64| {
        let case = format!("an hour of 1 commit/s, reckoned from {seconds} s, {what} {lower}");
        let (ours, theirs) = (value(ours) * times, value(theirs) * times);
        report.versus(case, unit, ours, "Litestream", theirs);
    };
    row("requests", "requests", &|counts| counts.requests as f64);
    row("of these writes and lists", "requests", &|counts| {
        DEAR.iter().map(|of| counts.of(*of)).sum::<u64>() as f64
    });
    row("sent", "MB", &|counts| counts.wire_in as f64 / 1e6);
    row("received", "MB", &|counts| counts.wire_out as f64 / 1e6);
    let case = format!("idle for {} s {lower}", scale.idle.as_secs());
    let (ours, theirs) = (ours_idle.requests as f64, theirs_idle.requests as f64);
    report
        .versus(case, "requests", ours, "Litestream", theirs)
        .wanted("0");
    Ok(())
}
