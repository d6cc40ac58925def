//! `monolite migrate up`: applies the files that are not applied yet, guarded like the migration of
//! any framework.
//!
//! Under the migration lock: what was interrupted is rolled back; the lint reads the files that
//! wait, and none is begun if it finds a loss that nobody allowed; the guard takes its snapshot; the
//! files are applied, each in a transaction of its own; the guard compares, and rolls all of them
//! back if one failed or something is lost that nobody allowed. Under a guard that is there already
//! (`monolite run --migrate 'monolite migrate up'`) only the files are applied: that guard gets what
//! they allow.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use monolite_guard::migration::{self, Finished, Migrated};
use monolite_guard::{Allowance, Interrupted, Options as GuardOptions, Verdict, messages};
use monolite_migrate::files::{self, Done, Event, File, Migrations, Options};
use monolite_migrate::lint::{self, Finding};
use monolite_replica::Find;
use rusqlite::Connection;
use serde::Serialize;

use super::findings::{self, Counts};
use super::host::{Terminal, cancelled, is_guarded};
use super::redo::{self, GoBack};
use super::stop::{Stop, stoppable};
use super::target::{Found, now_ms};
use super::{Common, baseline, trial};
use crate::bar::Bar;
use crate::{Failure, human, print, task};

/// How long a file waits for SQLite's write lock: the guard has seen that nobody has the database
/// open, so that who has it came a moment ago.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(60);

/// What others see who wait for this migration.
const NAME: &str = "monolite migrate up";

#[derive(Args)]
#[command(after_help = "Examples:\n  monolite migrate up\n  \
        monolite migrate up --dry-run             # on a copy: what would be lost, how long, who waits\n  \
        monolite migrate up --redo                # in development: also what was edited since\n  \
        monolite migrate up --baseline --to 1     # the database has what file 1 makes\n\n\
        Each file is one transaction with its record. If one fails, or if something is lost that\n\
        nobody allowed, the database is put back as it was before the first. Files in which\n\
        `monolite migrate check` finds a loss that is not allowed are not begun. What is meant to go\n\
        is named in the file: -- monolite: allow posts.body: replaced by text in 0007\n\n\
        Exit code: 0 done, 1 failed or put back, 2 wrong usage, 3 not begun because of a finding.")]
pub(crate) struct Arguments {
    /// Up to the file of this number; a database that is further stays as it is [default: the newest]
    #[arg(long, value_name = "N")]
    to: Option<u32>,

    /// Apply them to a copy of the live database, which is removed then, and judge that
    #[arg(long, conflicts_with_all = ["redo", "baseline"])]
    dry_run: bool,

    /// In development: keep a copy from before; where a file that was applied was edited since, go
    /// back to such a copy and apply again
    #[arg(long, conflicts_with = "baseline")]
    redo: bool,

    /// Call the files applied without running them: they must make what the database has
    #[arg(long)]
    baseline: bool,
}

pub(crate) fn up(
    arguments: &Arguments,
    common: &Common,
    interrupted: Interrupted,
) -> Result<(), Failure> {
    let found = Found::of(common)?;
    if arguments.baseline {
        return baseline::baseline(&found, arguments.to, common.json);
    }
    let migrations = found.migrations()?;
    // Before there is a file that was made for nothing.
    migrations.check()?;
    if arguments.dry_run {
        return trial::trial(found, migrations, arguments.to, common.json);
    }
    found.may_be_made()?;
    let up = Arc::new(Up {
        allow: found.settings.allow_loss.clone(),
        found,
        migrations,
        to: arguments.to,
        redo: arguments.redo,
    });
    let ended = match is_guarded(up.found.root().0) {
        true => up.under_a_guard()?,
        false => task::runtime()?.block_on(up.guarded(interrupted))?,
    };
    ended.show(&up, common.json)
}

/// What is to be applied, and to which database.
pub(super) struct Up {
    pub(super) found: Found,
    pub(super) migrations: Migrations,
    to: Option<u32>,
    redo: bool,
    /// Names of losses that are meant, whichever file takes them.
    allow: Vec<String>,
}

/// What there is to do, by the database as it is.
#[derive(Default)]
struct ToDo {
    waiting: Vec<File>,
    findings: Vec<Finding>,
    go_back: Option<GoBack>,
}

/// What was applied before all was done, or something failed.
pub(super) struct Applied {
    pub(super) done: Vec<Done>,
    result: Result<(), anyhow::Error>,
}

/// How it ended.
struct Ended {
    findings: Vec<Finding>,
    applied: Option<Applied>,
    /// What was undone, and where the database as it was is kept.
    undone: Option<(GoBack, PathBuf)>,
    /// `None` under another guard.
    verdict: Option<Verdict>,
}

impl Up {
    /// By the database, which is only read; closed again, for the guard.
    fn to_do(&self) -> Result<ToDo, Failure> {
        if let Some(to) = self.to.filter(|to| self.migrations.get(*to).is_none()) {
            let newest = self.migrations.newest();
            let version = to;
            return Err(files::Error::NoSuch { version, newest }.into());
        }
        let conn = match self.found.open()? {
            Some(conn) => conn,
            None => Connection::open_in_memory()?,
        };
        if self.redo
            && let Some(go_back) = redo::needed(&conn, self)?
        {
            let copy = Connection::open(&go_back.copy)?;
            return self.wait_in(&copy, Some(go_back));
        }
        self.wait_in(&conn, None)
    }

    fn wait_in(&self, conn: &Connection, go_back: Option<GoBack>) -> Result<ToDo, Failure> {
        let waiting = files::pending(conn, &self.migrations, self.to.is_some())?;
        let waiting = up_to(waiting, self.to);
        Ok(ToDo {
            findings: findings::of_waiting(conn, waiting, &self.allow)?,
            waiting: waiting.to_vec(),
            go_back,
        })
    }

    /// All that may be lost: what the flags name, what the files name, and the views, triggers and
    /// constraints that a statement of the files drops by name.
    fn allowances(&self, to_do: &ToDo) -> Vec<String> {
        let mut all = self.allow.clone();
        for file in &to_do.waiting {
            all.extend(lint::allowances(file.text()));
        }
        all.extend(to_do.findings.iter().flat_map(Finding::implied_allowances));
        all
    }

    fn under_a_guard(self: &Arc<Self>) -> Result<Ended, Failure> {
        let to_do = self.to_do()?;
        if to_do.is_stopped() || to_do.waiting.is_empty() {
            return Ok(Ended::before(to_do));
        }
        if to_do.go_back.is_some() {
            return Err(Failure::Error(anyhow!(
                "--redo is for development, and not for a guarded command"
            )));
        }
        let (volume, name) = self.found.root();
        monolite_guard::hand_over(volume, name, &self.allowances(&to_do))?;
        let applied = self.apply(None, &Stop::default());
        Ok(Ended {
            findings: to_do.findings,
            applied: Some(applied),
            undone: None,
            verdict: None,
        })
    }

    async fn guarded(self: &Arc<Self>, interrupted: Interrupted) -> Result<Ended, Failure> {
        let (volume, name) = self.found.root();
        let volume = volume.canonicalize()?;
        let database = volume.join(name);
        let only = database.clone();
        let find: Find = Arc::new(move || match only.exists() {
            true => vec![only.clone()],
            false => Vec::new(),
        });
        // In a volume, what was interrupted may have been a framework's migration, of all databases.
        let all = match self.found.name {
            Some(_) => monolite_app::find_guarded(&volume, vec![database]),
            None => Arc::clone(&find),
        };
        let recovering = Terminal::new(volume.clone(), all);
        let host = Terminal::new(volume, find);
        let signals = task::asked_to_stop()?;
        let mut stop = std::pin::pin!(async {
            signals.await;
        });
        let (guard, _) = recovering.enter(NAME, interrupted, &mut stop).await?;
        let guard = guard.ok_or_else(cancelled)?.hand_over(host, NAME);
        let to_do = self.to_do()?;
        if to_do.is_stopped() || to_do.waiting.is_empty() {
            return Ok(Ended::before(to_do));
        }
        let allow = self.allowances(&to_do);
        let options = GuardOptions::new()
            .allow(allow.iter().map(|name| Allowance::new(name)).collect())
            .keep_copy(self.redo);
        let active = migration::begin(guard, options, &mut stop).await?;
        let mut active = active.ok_or_else(cancelled)?;
        let ToDo {
            findings, go_back, ..
        } = to_do;
        let mut undone = None;
        if let Some(go_back) = &go_back {
            match active.start_from(name, &go_back.copy) {
                Ok(kept) => undone = Some((go_back.clone(), kept)),
                Err(error) => {
                    active.abandon()?;
                    return Err(error.into());
                }
            }
        }
        let migrated = migration::run(active, async || {
            let up = Arc::clone(self);
            let (mut applied, signal) =
                stoppable(move |stop| up.apply(go_back.as_ref(), &stop)).await?;
            if let (Err(_), Some(signal)) = (&applied.result, signal) {
                applied.result = Err(anyhow!("ended by {signal}; nothing was applied"));
            }
            Ok::<_, Failure>(Finished {
                succeeded: applied.result.is_ok(),
                status: applied,
                left_running: Vec::new(),
            })
        });
        let Migrated {
            status, verdict, ..
        } = migrated.await?;
        Ok(Ended {
            findings,
            applied: Some(status),
            undone,
            verdict: Some(verdict),
        })
    }

    /// Nobody else of this process has the database open meanwhile.
    fn apply(&self, go_back: Option<&GoBack>, stop: &Stop) -> Applied {
        let mut done = Vec::new();
        let is_new = std::fs::metadata(&self.found.path).map_or(true, |file| file.len() == 0);
        let result = self.apply_each(go_back, stop, &mut done);
        if is_new && result.is_err() && done.is_empty() {
            redo::remove_if_empty(&self.found.path);
        }
        Applied { done, result }
    }

    fn apply_each(
        &self,
        go_back: Option<&GoBack>,
        stop: &Stop,
        done: &mut Vec<Done>,
    ) -> Result<(), anyhow::Error> {
        let mut conn = self.found.open_or_create().map_err(Failure::into_error)?;
        stop.watch(&conn);
        if let Some(go_back) = go_back {
            files::undo(&mut conn, &go_back.copy, LOCK_WAIT_MAX)?;
        }
        let options = Options::new(now_ms())
            .up_to(self.to)
            .accept_newer(self.to.is_some())
            .lock_wait(LOCK_WAIT_MAX);
        let bar = Bar::new(self.found.shown());
        let mut progress = |event: Event<'_>| match event {
            Event::Waiting { file } => bar.say(&format!(
                "another process writes; {} waits",
                file.file_name()
            )),
            Event::Statement { file, line, words } => {
                bar.say(&format!("{}, line {line}: {words} …", file.file_name()));
            }
            Event::Applied(one) => done.push(one.clone()),
            _ => {}
        };
        files::up(&conn, &self.migrations, &options, &mut progress)?;
        Ok(())
    }
}

/// Those that are to be applied now.
pub(super) fn up_to(waiting: &[File], to: Option<u32>) -> &[File] {
    let is_wanted = |file: &File| to.is_none_or(|to| file.version() <= to);
    let count = waiting.iter().take_while(|file| is_wanted(file)).count();
    waiting.get(..count).unwrap_or_default()
}

impl ToDo {
    /// Whether something would be lost that nobody allowed.
    fn is_stopped(&self) -> bool {
        self.findings.iter().any(Finding::stops_up)
    }
}

#[derive(Serialize)]
struct Report<'r> {
    database: &'r Path,
    applied: &'r [Done],
    /// The files that were undone before, with `--redo`.
    undone: Vec<String>,
    check: Counts,
    findings: &'r [Finding],
    /// The guard's verdict; none if another guard judges, or if nothing was begun.
    #[serde(flatten)]
    verdict: Option<&'r Verdict>,
    error: Option<String>,
}

impl Ended {
    /// Nothing was begun.
    fn before(to_do: ToDo) -> Self {
        Self {
            findings: to_do.findings,
            applied: None,
            undone: None,
            verdict: None,
        }
    }

    fn is_accepted(&self) -> bool {
        matches!(self.verdict, None | Some(Verdict::Accepted { .. }))
    }

    /// Why it is not done.
    fn error(&mut self) -> Option<anyhow::Error> {
        match &mut self.applied {
            None if self.findings.iter().any(Finding::stops_up) => Some(anyhow!(
                "nothing was begun: correct what is found, or allow it in the file by the line that is given"
            )),
            Some(applied) => match std::mem::replace(&mut applied.result, Ok(())) {
                Err(error) => Some(error),
                Ok(()) if !self.is_accepted() => Some(anyhow!(
                    "the migration files took away what nobody allowed; none of them is applied"
                )),
                Ok(()) => None,
            },
            None => None,
        }
    }

    fn show(mut self, up: &Up, json: bool) -> Result<(), Failure> {
        let failed = self.applied.as_ref().is_some_and(|of| of.result.is_err());
        let error = self.error();
        let done = match (&self.applied, self.is_accepted()) {
            (Some(applied), true) => applied.done.as_slice(),
            _ => &[],
        };
        if json {
            let undone = self.undone.as_ref();
            print::json(&Report {
                database: &up.found.path,
                applied: done,
                undone: undone.map_or(Vec::new(), |(go_back, _)| go_back.files.clone()),
                check: Counts::of(&self.findings),
                findings: &self.findings,
                verdict: self.verdict.as_ref(),
                error: error.as_ref().map(print::with_causes),
            })?;
        } else {
            self.lines(up, done, error.is_some(), failed)?;
        }
        match error {
            None => Ok(()),
            Some(error) if self.applied.is_none() => {
                print::warning(&error);
                Err(Failure::Code(3))
            }
            Some(error) => Err(Failure::Error(error)),
        }
    }

    fn lines(&self, up: &Up, done: &[Done], is_error: bool, failed: bool) -> Result<(), Failure> {
        let shown = up.found.shown();
        if is_error && self.applied.is_none() {
            let colour = print::in_colour(&std::io::stdout());
            let stops = self.findings.iter().filter(|finding| finding.stops_up());
            return print::lines(stops.map(|finding| findings::shown(finding, colour)));
        }
        if is_error {
            self.refused(failed);
            return Ok(());
        }
        if let Some((go_back, kept)) = &self.undone {
            print::lines([format!(
                "undid {}; the database as it was is kept in {}",
                go_back.files.join(", "),
                kept.display()
            )])?;
        }
        print::lines(done.iter().map(|one| {
            let took = human::time_us(one.locked_us);
            format!("applied {}.sql to {shown} in {took}", one.applied.name)
        }))?;
        let notes = self.verdict.iter().flat_map(messages::accepted);
        print::lines(notes.map(|message| message.text))?;
        let counts = Counts::of(&self.findings);
        if counts != Counts::default() {
            let counts = counts.shown();
            print::lines([format!("`monolite migrate check` found in them: {counts}")])?;
        }
        if done.is_empty() {
            let all = human::count(up.migrations.files().len(), "migration", "migrations");
            print::lines([format!("{shown}: nothing to apply of {all}")])?;
        }
        Ok(())
    }

    /// What the guard says of what was rolled back.
    fn refused(&self, failed: bool) {
        let Some(verdict) = &self.verdict else {
            return;
        };
        if failed && matches!(verdict, Verdict::Unchanged) {
            return;
        }
        for line in messages::refused(verdict) {
            // Said below, for files of ours.
            if !line.starts_with("If that is meant") {
                eprintln!("{line}");
            }
        }
        let refused = verdict.reports().iter().flat_map(|report| {
            let of = report.refused();
            of.map(|loss| loss.allowance(None))
        });
        let mut names: Vec<String> = refused.collect();
        names.sort();
        names.dedup();
        if !failed && !names.is_empty() {
            let names = names.join(", ");
            eprintln!("If that is meant, in the file: -- monolite: allow {names}: the reason");
        }
    }
}
