//! `monolite migrate up --dry-run`: what `up` would do, tried on a copy and judged.

use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use monolite_guard::{Allowance, DatabaseProgress, Depth, compare, messages};
use monolite_migrate::files::{self, Done, Event, File, Migrations, Options};
use monolite_migrate::lint::{self, Finding};
use serde::Serialize;

use super::findings::{self, Counts};
use super::scratch::Scratch;
use super::stop::{Stop, stoppable};
use super::target::{Found, now_ms};
use super::up::up_to;
use crate::bar::Bar;
use crate::{Failure, human, print, task};

#[derive(Serialize)]
struct Report<'r> {
    database: &'r Path,
    /// Bytes of the copy.
    size: u64,
    journal_mode: &'r str,
    files: &'r [Planned],
    /// What `check` finds in the files that wait.
    check: Counts,
    findings: &'r [Finding],
    /// What they did to the copy, as the guard sees it.
    report: Option<&'r monolite_guard::Report>,
    error: Option<String>,
}

#[derive(Serialize)]
struct Planned {
    #[serde(flatten)]
    done: Done,
    locks: Locks,
    /// Bytes the log has grown to, that must be free on the disk.
    log: u64,
}

/// Who waits meanwhile.
#[derive(Serialize, Clone, Copy)]
struct Locks {
    /// Writers, in microseconds.
    writers_us: u64,
    /// Readers: never, or while it is committed.
    readers: Readers,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Readers {
    Never,
    Commit,
}

pub(super) fn trial(
    found: Found,
    migrations: Migrations,
    to: Option<u32>,
    json: bool,
) -> Result<(), Failure> {
    found.is_there_if_named()?;
    let found = Arc::new(found);
    let of = Arc::clone(&found);
    task::runtime()?.block_on(async {
        let (tried, signal) = stoppable(move |stop| {
            let scratch = Scratch::of(&of, &stop)?;
            Trial::of(&scratch, &migrations, to, &of, &stop)
        })
        .await?;
        match signal {
            Some(signal) => Err(Failure::Error(anyhow!(
                "ended by {signal}; the copy was removed"
            ))),
            None => tried?.show(&found, json),
        }
    })
}

/// What was tried.
struct Trial {
    mode: String,
    /// Bytes of the copy.
    bytes: u64,
    waiting: usize,
    findings: Vec<Finding>,
    files: Vec<Planned>,
    result: Result<(), files::Error>,
    /// What it did to the copy; none if there was no database, or if a file failed.
    report: Option<monolite_guard::Report>,
}

impl Trial {
    fn of(
        scratch: &Scratch,
        migrations: &Migrations,
        to: Option<u32>,
        found: &Found,
        stop: &Stop,
    ) -> Result<Self, Failure> {
        let allow = &found.settings.allow_loss;
        let conn = scratch.open()?;
        stop.watch(&conn);
        let mode: String = conn.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        let waiting = up_to(files::pending(&conn, migrations, to.is_some())?, to);
        let findings = findings::of_waiting(&conn, waiting, allow)?;
        let bar = Bar::new(found.shown());
        let mut planned = Vec::new();
        let options = Options::new(now_ms()).up_to(to).accept_newer(to.is_some());
        let result = files::up(&conn, migrations, &options, &mut |event| match event {
            Event::Statement { file, line, words } => {
                bar.say(&format!("{}, line {line}: {words} …", file.file_name()));
            }
            Event::Applied(done) => planned.push(Planned {
                done: done.clone(),
                locks: Locks {
                    writers_us: done.locked_us,
                    readers: match mode.as_str() {
                        "wal" | "memory" => Readers::Never,
                        _ => Readers::Commit,
                    },
                },
                log: scratch.log(),
            }),
            _ => {}
        })
        .map(drop);
        drop(conn);
        let report = match (scratch.pristine(), &result) {
            (Some(pristine), Ok(())) => {
                let silent = |_| {};
                let progress = DatabaseProgress::new("", &silent);
                let mut report = compare(scratch.path(), pristine, Depth::None, &progress)?;
                report.database = found.shown();
                allow_losses(&mut report, waiting, &findings, allow);
                Some(report)
            }
            _ => None,
        };
        Ok(Self {
            mode,
            bytes: scratch.bytes,
            waiting: waiting.len(),
            findings,
            files: planned,
            result,
            report,
        })
    }

    /// Why `up` would apply none of the files, or put them back.
    fn error(&mut self) -> Option<anyhow::Error> {
        if let Err(error) = std::mem::replace(&mut self.result, Ok(())) {
            return Some(error.into());
        }
        if self.findings.iter().any(Finding::stops_up) {
            return Some(anyhow!("`up` begins none of them because of what is found"));
        }
        let lost = self.report.iter().flat_map(|report| report.refused());
        (lost.count() > 0).then(|| anyhow!("`up` would put them back: nobody allowed these losses"))
    }

    fn show(mut self, found: &Found, json: bool) -> Result<(), Failure> {
        let error = self.error();
        if json {
            print::json(&Report {
                database: &found.path,
                size: self.bytes,
                journal_mode: &self.mode,
                files: &self.files,
                check: Counts::of(&self.findings),
                findings: &self.findings,
                report: self.report.as_ref(),
                error: error.as_ref().map(print::with_causes),
            })?;
        } else {
            self.lines(found)?;
        }
        match error {
            Some(error) => Err(Failure::Error(error)),
            None => Ok(()),
        }
    }

    fn lines(&self, found: &Found) -> Result<(), Failure> {
        let waiting = match self.waiting {
            0 => "nothing to apply".into(),
            n => format!(
                "{} to apply, tried on {}",
                human::count(n, "migration", "migrations"),
                match self.bytes {
                    0 => "an empty database".into(),
                    bytes => format!("a copy of {}", human::size(bytes)),
                }
            ),
        };
        print::lines([format!("{}: {waiting}", found.shown())])?;
        print::lines(self.files.iter().map(Planned::shown))?;
        let colour = print::in_colour(&std::io::stdout());
        let stops = self.findings.iter().filter(|finding| finding.stops_up());
        print::lines(stops.map(|finding| findings::shown(finding, colour)))?;
        print::lines(self.report.iter().flat_map(messages::would_lose))?;
        let counts = Counts::of(&self.findings);
        if counts != Counts::default() {
            let counts = counts.shown();
            print::lines([format!("`monolite migrate check` finds in them: {counts}")])?;
        }
        Ok(())
    }
}

/// Marks what the flags and the files allow, as the guard of `up` would.
fn allow_losses(
    report: &mut monolite_guard::Report,
    waiting: &[File],
    findings: &[Finding],
    flags: &[String],
) {
    let mut names = flags.to_vec();
    for file in waiting {
        names.extend(lint::allowances(file.text()));
    }
    names.extend(findings.iter().flat_map(Finding::implied_allowances));
    let allowances: Vec<Allowance> = names.iter().map(|name| Allowance::new(name)).collect();
    report.allow(&allowances);
}

impl Planned {
    fn shown(&self) -> String {
        let took = human::time_us(self.done.locked_us);
        let readers = match self.locks.readers {
            Readers::Never => "readers go on",
            Readers::Commit => "readers wait while it is committed",
        };
        let log = match self.log {
            0 => String::new(),
            bytes => format!("; {} of log", human::size(bytes)),
        };
        let mut text = format!(
            "{}.sql: writers wait {took}, {readers}{log}\n",
            self.done.applied.name
        );
        let rows: Vec<Vec<String>> = (self.done.statements.iter())
            .map(|step| {
                vec![
                    format!("  line {}", step.line),
                    step.words.clone(),
                    human::time_us(step.took_us),
                ]
            })
            .collect();
        text += &human::table(&rows);
        text.trim_end().to_owned()
    }
}
