//! The command: its input and output are ours, its end is our business.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

/// How it ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    status: ExitStatus,
    /// A signal that came meanwhile and was passed on.
    pub(super) signalled: bool,
}

impl Ended {
    pub(super) fn is_well(self) -> bool {
        // One that was asked to end may say so with a zero.
        self.status.success() && !self.signalled
    }

    /// As a shell tells it.
    pub(super) fn code(self) -> u8 {
        let code = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 1,
        };
        u8::try_from(code).unwrap_or(1)
    }

    pub(super) fn shown(self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(0), _) => "was asked to end".into(),
            (Some(code), _) => format!("exited with code {code}"),
            (None, signal) => format!("was killed by signal {}", signal.unwrap_or_default()),
        }
    }
}

/// Runs it to its end. SIGTERM, SIGINT and SIGHUP are passed on to it; none of
/// them ends us from now on.
pub(super) fn run(command: &[OsString], environment: &[(&str, OsString)]) -> io::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        // A terminal sends it to all of its group, so to the command, too.
        let from_terminal = io::stdin().is_terminal();
        let mut child = start(command, environment)?;
        let pid = Pid::from_child(&child);
        let mut ended = tokio::task::spawn_blocking(move || child.wait());
        let mut signalled = false;
        loop {
            let pass_on = tokio::select! {
                status = &mut ended => {
                    let status = status.map_err(io::Error::other)??;
                    return Ok(Ended { status, signalled });
                }
                _ = terminate.recv() => Some(Signal::TERM),
                _ = interrupt.recv() => (!from_terminal).then_some(Signal::INT),
                _ = hangup.recv() => Some(Signal::HUP),
            };
            signalled = true;
            if let Some(signal) = pass_on {
                // Ended by itself meanwhile.
                let _ = kill_process(pid, signal);
            }
        }
    })
}

fn start(
    command: &[OsString],
    environment: &[(&str, OsString)],
) -> io::Result<std::process::Child> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut command = Command::new(program);
    command.args(arguments);
    for (name, value) in environment {
        command.env(name, value);
    }
    #[cfg(target_os = "linux")]
    die_with_us(&mut command);
    command.spawn()
}

/// Nobody is left to put back what a command does that outlives us.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "between fork and exec there is no other way")]
fn die_with_us(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: the closure makes two system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // We may have died before that was asked for.
            match rustix::process::getppid() == Some(parent) {
                true => Ok(()),
                false => Err(io::ErrorKind::Interrupted.into()),
            }
        });
    }
}
