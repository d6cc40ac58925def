//! A second process that kills the app if this one is killed with SIGKILL.
//!
//! The watchdog is this program once more, in a process group of its own. It reads from a pipe
//! which process group to watch. When the pipe ends while it watches one, this process is gone, and
//! nobody else can stop that group: the watchdog kills it.
//!
//! Invariant: a group is named right after its start, and given up only after its last member is
//! gone. Between start and naming there are microseconds in which a SIGKILL leaves the app running;
//! the first process of a container has no such gap, since its end ends the container.

use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::children::{Children, Process};

/// The watchdog, seen from the process that it watches.
pub(crate) struct Watchdog {
    pipe: ChildStdin,
    pub(crate) process: Process,
}

impl Watchdog {
    pub(crate) fn start(children: &Children, command: &[OsString]) -> io::Result<Option<Self>> {
        let Some((program, arguments)) = command.split_first() else {
            return Ok(None);
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
        Ok(pipe.map(|pipe| Self { pipe, process }))
    }

    /// Watches `group` from now on; with `None`, nothing.
    pub(crate) fn watch(&mut self, group: Option<Pid>) -> io::Result<()> {
        let group = group.map_or(0, |pid| pid.as_raw_nonzero().get());
        self.pipe.write_all(format!("{group}\n").as_bytes())
    }
}

/// All that the watchdog's process does; returns when the process at the other end of `input` has
/// ended.
///
/// # Errors
/// When `input` cannot be read.
pub fn watch_parent(input: impl BufRead) -> io::Result<()> {
    let mut group = None;
    for line in input.lines() {
        group = line?.trim().parse().ok().and_then(Pid::from_raw);
    }
    if let Some(group) = group {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
    Ok(())
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
    fn the_last_group_named_is_killed_when_the_pipe_ends() {
        let (mut first, mut second) = (group(), group());
        let named = format!("{}\n{}\n", first.id(), second.id());
        watch_parent(Cursor::new(named)).unwrap();
        assert_eq!(second.wait().unwrap().signal(), Some(9));
        assert!(first.try_wait().unwrap().is_none(), "it was given up");
        first.kill().unwrap();
        first.wait().unwrap();
    }

    #[test]
    fn a_group_that_was_given_up_lives_on() {
        let mut child = group();
        watch_parent(Cursor::new(format!("{}\n0\n", child.id()))).unwrap();
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        // Nothing was named; nobody is killed.
        watch_parent(Cursor::new("")).unwrap();
    }
}
