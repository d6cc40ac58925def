//! The command: its input and output are ours, its end is our business, and so
//! is that of all it has started: nobody may write to a database that is judged.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use monolite_supervisor::Descendants;
use rustix::process::{Pid, Signal, getpgid};
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

/// Runs it to its end, and that of everything it has started. SIGTERM, SIGINT
/// and SIGHUP are passed on to all of them; none ends us from now on.
pub(super) fn run(command: &[OsString], environment: &[(&str, OsString)]) -> io::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let descendants = Descendants::inherit()?;
        let mut child = start(command, environment)?;
        let mut ended = tokio::task::spawn_blocking(move || child.wait());
        let mut signalled = false;
        let status = loop {
            let pass_on = tokio::select! {
                status = &mut ended => break status.map_err(io::Error::other)??,
                _ = terminate.recv() => Signal::TERM,
                _ = interrupt.recv() => Signal::INT,
                _ = hangup.recv() => Signal::HUP,
            };
            signalled = true;
            // A terminal sends it to all of its group, so to most of them, too.
            let had_it = (pass_on == Signal::INT).then(terminal_group).flatten();
            descendants.signal(pass_on, |pid| had_it.is_some() && getpgid(Some(pid)).ok() == had_it);
        };
        // Whoever writes on after the judgement is not judged.
        let left = tokio::task::spawn_blocking(move || descendants.end());
        let left = left.await.map_err(io::Error::other)?;
        if !left.is_empty() {
            eprintln!(
                "monolite: what the command had left running was ended, since its work is judged now: {}",
                left.join(", ")
            );
        }
        Ok(Ended { status, signalled })
    })
}

/// Our process group, if a terminal has it in the foreground and sends it
/// what is typed.
fn terminal_group() -> Option<Pid> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name: the state, the parent, the group, the session, the
    // terminal, and the terminal's foreground group.
    let rest: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let group = rest.get(2)?;
    (rest.get(5)? == group).then(|| Pid::from_raw(group.parse().ok()?))?
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
