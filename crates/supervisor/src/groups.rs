//! The process groups of a run that are alive, and the run's mark in their environment: by these the
//! watchdog knows what to kill, and each process what it has left behind.
//!
//! Invariant: a group is in here from right after its start until its last member is gone.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ChildStdin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use monolite_platform::process::{self, Pid};

/// The variable that holds [`Groups::run`], in the environment of each process of a run.
pub(crate) const RUN_VARIABLE: &str = "MONOLITE_RUN";
/// The variable that holds the name of the process.
pub(crate) const NAME_VARIABLE: &str = "MONOLITE_PROCESS";

/// The groups of one run.
pub(crate) struct Groups {
    /// Of this run and no other on this machine.
    run: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The names of the processes that lead them.
    names: BTreeMap<i32, String>,
    /// To the watchdog, if one works.
    pipe: Option<ChildStdin>,
}

impl Default for Groups {
    fn default() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let (pid, now) = (
            std::process::id(),
            since_1970.unwrap_or_default().as_nanos(),
        );
        Self {
            run: format!("{pid}-{now}"),
            state: Mutex::default(),
        }
    }
}

impl Groups {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run's mark.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// `group` is led by the process `name` from now on.
    pub(crate) fn add(&self, group: Pid, name: &str) {
        let (mut state, group) = (self.state(), group.as_raw_nonzero().get());
        state.names.insert(group, name.to_owned());
        state.send(&format!("+{group}\n"));
    }

    /// No member of `group` is left.
    pub(crate) fn remove(&self, group: Pid) {
        let (mut state, group) = (self.state(), group.as_raw_nonzero().get());
        state.names.remove(&group);
        state.send(&format!("-{group}\n"));
    }

    /// A watchdog reads from `pipe` from now on: it gets all that is known.
    ///
    /// # Errors
    /// It does not read.
    pub(crate) fn connect(&self, mut pipe: ChildStdin) -> io::Result<()> {
        let mut state = self.state();
        let groups = state.names.keys().map(|group| format!("+{group}\n"));
        let known = format!("run {}\n{}", self.run, groups.collect::<String>());
        pipe.write_all(known.as_bytes())?;
        state.pipe = Some(pipe);
        Ok(())
    }

    /// The name of the process that `pid` belongs to, as far as it shows: by its group, else by its
    /// environment. A program may write over what is shown of that.
    pub(crate) fn owner(&self, pid: Pid) -> Option<String> {
        let group = process::Process::of(pid).and_then(|of| of.group);
        let by_group = group.and_then(|group| {
            let state = self.state();
            state.names.get(&group.as_raw_nonzero().get()).cloned()
        });
        by_group.or_else(|| {
            let environment = process::Environment::of(pid).ok()?;
            let is_of_this_run = environment.get(RUN_VARIABLE)? == self.run.as_str();
            let name = environment.get(NAME_VARIABLE)?.to_str()?;
            is_of_this_run.then(|| name.to_owned())
        })
    }
}

impl State {
    fn send(&mut self, line: &str) {
        // One that is gone is replaced, and the next one gets all.
        let sent = self
            .pipe
            .as_mut()
            .map(|pipe| pipe.write_all(line.as_bytes()));
        if let Some(Err(_)) = sent {
            self.pipe = None;
        }
    }
}
