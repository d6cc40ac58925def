//! A migration whose command may run, or has run.

use std::sync::Arc;

use super::compare;
use super::error::{Error, Result};
use super::intent::{Beating, Database, Intent};
use super::news::{News, Tell};
use super::others;
use super::pages::Known;
use super::report::{Kind, Loss, Report};
use super::session::Guard;
use super::settle::NoCopy;
use super::site::{Options, Others};
use super::verdict::Verdict;
use crate::steps;

/// A migration that may run now: snapshots are there, and the note of it.
#[derive(Debug)]
pub struct Begun {
    pub(super) guard: Guard,
    pub(super) intent: Intent,
    pub(super) options: Options,
    pub(super) _beating: Beating,
}

impl Begun {
    /// How many databases there are that could be lost.
    #[must_use]
    pub fn databases(&self) -> usize {
        self.intent.databases.len()
    }

    /// The command could not be started, so nothing has happened.
    ///
    /// # Errors
    /// The snapshots cannot be removed.
    pub fn abandon(self) -> Result<()> {
        self.guard.accept(&self.intent, false)
    }

    /// After the command's end: looks at what it did, and puts everything back
    /// if it failed or if it took away what nobody allowed.
    ///
    /// # Errors
    /// The databases cannot be compared or put back. The next one that enters
    /// puts them back then.
    pub fn finish(self, ended_well: bool) -> Result<Verdict> {
        let tell = Arc::clone(&self.guard.site.tell);
        let verdict = self.judged(ended_well);
        tell(News::Idle);
        verdict
    }

    fn judged(self, ended_well: bool) -> Result<Verdict> {
        // It beats until the note is gone: to judge and to put back takes long,
        // and what is written meanwhile is our own work.
        let guard = &self.guard;
        steps::reached("guard.command-ended");
        let mut reports = Vec::new();
        let mut changed = false;
        for Database { name, snapshot } in &self.intent.databases {
            let shown = name.display().to_string();
            let live = guard.live(name);
            let Some(snapshot) = snapshot else {
                changed |= live.metadata().is_ok_and(|file| file.len() > 0);
                continue;
            };
            let snapshot = guard.dir().join(&self.intent.stamp).join(snapshot);
            let tell = Tell::new(&shown, &*guard.site.tell);
            let depth = self.options.depth;
            let prints = (guard.site.prints)(&snapshot);
            let known = Known {
                same_blocks: Some(&*guard.site.same_blocks),
                prints: prints.as_deref(),
            };
            let compared = compare::compare_or_same(&live, &snapshot, depth, &known, &tell);
            let (mut report, same) = match compared {
                Ok(compared) => compared,
                // It cannot be read, so it cannot be judged to be well.
                Err(error) => (unreadable(&error), false),
            };
            changed |= !same;
            report.database = shown;
            for loss in &mut report.losses {
                let mut allow = self.options.allow.iter();
                let by = allow.find(|by| by.covers(&report.database, loss));
                loss.allowed_by = by.map(|by| by.text().into());
            }
            reports.push(report);
        }
        for name in guard.names() {
            if !self.intent.knows(&name) {
                changed = true;
                if ended_well && !self.intent.is_new(&name) {
                    guard.tell_unguarded(&name);
                }
            }
        }
        let refused = reports
            .iter()
            .any(|report| report.refused().next().is_some());
        steps::reached("guard.compared");
        if ended_well && !refused {
            guard.accept(&self.intent, false)?;
            return Ok(Verdict::Accepted { reports });
        }
        if !changed {
            guard.accept(&self.intent, false)?;
            return Ok(Verdict::Unchanged);
        }
        if self.options.others == Others::Leave {
            guard.accept(&self.intent, true)?;
            let snapshots = guard.dir().join(&self.intent.stamp).join("before");
            return Ok(Verdict::Left { reports, snapshots });
        }
        let live = guard.all_live(&self.intent);
        let open = others::stays_open(&live, guard.site.is_alone).is_some();
        steps::reached("guard.putting-back");
        // Of what others write, a copy there must be; that of a migration alone
        // is of use if there is room: others may have come and gone.
        let no_copy = match open {
            true => NoCopy::Stops,
            false => NoCopy::Goes,
        };
        let put_back = guard.put_back(&self.intent, no_copy, !open)?;
        guard.accept(&self.intent, true)?;
        Ok(Verdict::PutBack { reports, put_back })
    }
}

fn unreadable(error: &Error) -> Report {
    let loss = Loss::new(Kind::Unreadable, None, None).saying(error.to_string());
    Report {
        losses: vec![loss],
        ..Report::default()
    }
}
