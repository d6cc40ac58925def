//! A second process that kills the app if this one is killed with SIGKILL.
//!
//! The watchdog is this program once more, in a process group of its own. It reads from a pipe
//! which process groups the run has ([`Groups`]), and the run's mark. When the pipe ends, this
//! process is gone, and nobody else can stop what is left: the watchdog kills those groups, and then
//! each process that has the mark in its environment, whatever group it moved to.
//!
//! Between the start of a process and the naming of its group there are microseconds; a process that
//! is missed there is known by the mark. The first process of a container has no such gap, since its
//! end ends the container.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, BufRead};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use monolite_platform::process as platform;
use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};

use crate::children::{Children, Process};
use crate::groups::{Groups, RUN_VARIABLE};

/// A watchdog that cannot be started, or that ends at once, is not started more often than this.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// How often the watchdog looks for processes with the run's mark: those that it has just killed may
/// have started other ones meanwhile.
const SWEEPS_MAX: usize = 100;
const SWEEP_PAUSE: Duration = Duration::from_millis(10);

/// Has the groups of this run watched by `command`, and another one started whenever it ends. An
/// empty command is none: the app outlives this process if that is killed.
///
/// # Errors
/// It cannot be started.
pub(crate) fn start(
    children: &Arc<Children>,
    groups: &Arc<Groups>,
    command: &[OsString],
) -> io::Result<()> {
    if command.is_empty() {
        return Ok(());
    }
    let first = spawn(children, groups, command)?;
    let (children, groups) = (Arc::clone(children), Arc::clone(groups));
    let command = command.to_vec();
    tokio::spawn(replace_for_ever(first, children, groups, command));
    Ok(())
}

async fn replace_for_ever(
    mut process: Process,
    children: Arc<Children>,
    groups: Arc<Groups>,
    command: Vec<OsString>,
) {
    let mut failed = false;
    loop {
        let started = Instant::now();
        process.exited().await;
        let mut pause = RESTART_PAUSE.saturating_sub(started.elapsed());
        process = loop {
            tokio::time::sleep(pause).await;
            pause = RESTART_PAUSE;
            match spawn(&children, &groups, &command) {
                Ok(process) => break process,
                Err(error) if !failed => {
                    failed = true;
                    tracing::error!(
                        %error,
                        "the watchdog ended, and no other can be started: if monolite is killed, the app goes on"
                    );
                }
                Err(_) => {}
            }
        };
        failed = false;
        tracing::warn!("the watchdog ended; another was started");
    }
}

fn spawn(children: &Children, groups: &Groups, command: &[OsString]) -> io::Result<Process> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut pipe = None;
    let process = children.spawn(
        Command::new(program)
            .arg0("monolite")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C on the terminal is for the parent alone.
            .process_group(0),
        |child| pipe = child.stdin.take(),
    )?;
    groups.connect(pipe.ok_or(io::ErrorKind::BrokenPipe)?)?;
    Ok(process)
}

/// All that the watchdog's process does; returns when the process at the other end of `input` has
/// ended.
///
/// # Errors
/// When `input` cannot be read.
pub fn watch_parent(input: impl BufRead) -> io::Result<()> {
    let mut groups = BTreeSet::new();
    let mut run = None;
    for line in input.lines() {
        let line = line?;
        let group = |id: &str| id.parse().ok().filter(|id: &i32| *id > 1);
        if let Some(id) = line.strip_prefix('+') {
            groups.extend(group(id));
        } else if let Some(id) = line.strip_prefix('-') {
            groups.retain(|known| Some(*known) != group(id));
        } else if let Some(mark) = line.strip_prefix("run ") {
            run = Some(mark.to_owned());
        }
    }
    for group in groups.into_iter().filter_map(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
    if let Some(run) = run {
        kill_marked(&run);
    }
    Ok(())
}

/// Kills the processes that have the mark `run` in their environment.
fn kill_marked(run: &str) {
    let is_marked = |pid: Pid| {
        let environment = platform::Environment::of(pid);
        environment.is_ok_and(|of| of.get(RUN_VARIABLE).is_some_and(|mark| mark == run))
    };
    for _ in 0..SWEEPS_MAX {
        let all = platform::all().unwrap_or_default();
        let living = all.iter().filter(|of| !of.is_zombie && of.pid != getpid());
        let marked: Vec<Pid> = living
            .map(|of| of.pid)
            .filter(|pid| is_marked(*pid))
            .collect();
        if marked.is_empty() {
            return;
        }
        for pid in marked {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(SWEEP_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn group() -> std::process::Child {
        let mut command = Command::new("sleep");
        command.arg("1000").process_group(0).spawn().unwrap()
    }

    #[test]
    fn the_groups_that_are_left_are_killed_when_the_pipe_ends() {
        let (mut first, mut second, mut third) = (group(), group(), group());
        let [a, b, c] = [&first, &second, &third].map(std::process::Child::id);
        watch_parent(Cursor::new(format!("+{a}\n+{b}\n-{a}\n+{c}\n"))).unwrap();
        assert_eq!(second.wait().unwrap().signal(), Some(9));
        assert_eq!(third.wait().unwrap().signal(), Some(9));
        assert!(first.try_wait().unwrap().is_none(), "it was given up");
        first.kill().unwrap();
        first.wait().unwrap();
    }

    #[test]
    fn a_marked_process_is_killed_in_whatever_group_it_is() {
        let mark = format!("test-{}", std::process::id());
        let marked = |mark: &str| {
            let mut command = Command::new("sleep");
            command.arg("1000").env(RUN_VARIABLE, mark).spawn().unwrap()
        };
        let (mut own, mut other) = (marked(&mark), marked("another"));
        watch_parent(Cursor::new(format!("run {mark}\n"))).unwrap();
        assert_eq!(own.wait().unwrap().signal(), Some(9));
        assert!(other.try_wait().unwrap().is_none(), "of another run");
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[test]
    fn nothing_named_is_nobody_killed() {
        // Neither the group of process 1 nor this one's own.
        for input in ["", "+0\n", "+1\n+-1\n", "+x\nrubbish\n"] {
            watch_parent(Cursor::new(input)).unwrap();
        }
    }
}
