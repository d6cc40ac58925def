//! `monolite check`: is this volume fit for production?

use std::io::Write;

use clap::Args;
use monolite_volume::{Finding, Level};
use serde::Serialize;

use crate::flags::{self, Flags};
use crate::{Failure, replication, report};

#[derive(Args)]
#[command(after_help = "Example:\n  monolite check --data /data\n\nExit code: 0 fit, 3 not fit.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    flags: Flags<flags::Check>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'f> {
    data: &'f std::path::Path,
    fit: bool,
    findings: &'f [Finding],
}

pub(crate) fn check(arguments: &Arguments) -> Result<(), Failure> {
    let settings = arguments.flags.settings()?;
    let place = replication::place(&settings);
    let mut findings = monolite_volume::inspect(&place);
    let app_dir = std::env::current_dir().unwrap_or_else(|_| ".".into());
    findings.extend(monolite_app::inspect_databases(&place.dir, &app_dir));
    let fit = findings.iter().all(|finding| {
        finding.level != Level::Fail || settings.allow.iter().any(|name| name == finding.name)
    });
    let report = Report {
        data: &place.dir,
        fit,
        findings: &findings,
    };
    match print(&report, arguments.json) {
        // Whoever reads the first line only, as `head` does, has what it wants.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    if fit { Ok(()) } else { Err(Failure::Code(3)) }
}

fn print(report: &Report<'_>, json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    if json {
        serde_json::to_writer_pretty(&mut out, report)?;
        return writeln!(out);
    }
    writeln!(out, "{}", report.data.display())?;
    report::findings(report.findings, crate::print::in_colour(&out), &mut out)?;
    let verdict = if report.fit {
        "fit for production"
    } else {
        "not fit for production: repair what failed, or accept it with --allow NAME"
    };
    writeln!(out, "{verdict}")
}
