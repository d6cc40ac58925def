//! Makes sure that the app dies with us, even if we are killed with −9.
//!
//! The keeper is this program once more, in a process group of its own, that
//! reads from a pipe which process group to mind. When the pipe ends and it
//! still minds one, nobody else can stop that group any more: it kills it.
//!
//! Invariant: a group is named before it could outlive us, that is right after
//! its start, and given up only after its last member is gone. Dying in the
//! instant between start and naming leaves the app to itself; that is the one
//! gap, microseconds wide, and PID 1 of a container has none.

use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::children::{Children, Process};

/// The keeper as its master sees it.
pub(crate) struct Keeper {
    pipe: ChildStdin,
    pub(crate) process: Process,
}

impl Keeper {
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
                // Ctrl-C on the terminal is for us alone.
                .process_group(0),
            |child| pipe = child.stdin.take(),
        )?;
        Ok(pipe.map(|pipe| Self { pipe, process }))
    }

    /// Minds `group` from now on; `None` minds nothing.
    pub(crate) fn mind(&mut self, group: Option<Pid>) -> io::Result<()> {
        let group = group.map_or(0, |pid| pid.as_raw_nonzero().get());
        self.pipe.write_all(format!("{group}\n").as_bytes())
    }
}

/// The whole of the keeper's process: returns when its master has ended.
///
/// # Errors
/// When `input` cannot be read.
pub fn keep(input: impl BufRead) -> io::Result<()> {
    let mut group = None;
    for line in input.lines() {
        group = line?.trim().parse().ok().and_then(Pid::from_raw);
    }
    if let Some(group) = group {
        // Gone already is as good.
        let _ = kill_process_group(group, Signal::KILL);
    }
    Ok(())
}
