//! A command in the foreground: it has this process's input and output, and all that it starts ends
//! with it, since nobody may write to a database that is judged.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use monolite_platform::process::Process;
use rustix::process::{Pid, Signal, getpgid, getpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::migration::Finished;
use crate::processes::Descendants;

/// How long a command, and what it has started, may take to end once it was asked to. What it did
/// is put back then, so nothing is lost by its end.
const END_TIME_MAX: Duration = Duration::from_secs(10);

/// How a command ended.
#[derive(Debug, Clone, Copy)]
pub struct CommandStatus {
    /// `None` if the system does not say: while SIGCHLD is ignored it keeps the status of no child.
    status: Option<ExitStatus>,
}

impl CommandStatus {
    /// The exit code, or 128 and the number of the signal that killed it, as a shell has it; 1 if it
    /// is not known.
    #[must_use]
    pub fn code(self) -> u8 {
        let code = match (self.exit_code(), self.signal()) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            (None, None) => 1,
        };
        u8::try_from(code).unwrap_or(1)
    }

    /// In words, as `exited with code 7`.
    #[must_use]
    pub fn shown(self) -> String {
        if self.status.is_none() {
            return "ended, and the system does not say how: is SIGCHLD ignored?".into();
        }
        match (self.exit_code(), self.signal()) {
            (Some(0), _) => "was asked to end".into(),
            (Some(code), _) => format!("exited with code {code}"),
            (None, signal) => format!("was killed by signal {}", signal.unwrap_or_default()),
        }
    }

    fn exit_code(self) -> Option<i32> {
        self.status?.code()
    }

    fn signal(self) -> Option<i32> {
        self.status?.signal()
    }
}

/// Runs a command to its end, and to that of all that it has started. `environment` is added to
/// this process's own. SIGTERM, SIGINT and SIGHUP are passed on to all of them, and end this
/// process no more from now on; what has not ended ten seconds after the first is killed. This process must have no other children that anybody waits for.
///
/// # Errors
/// The command cannot be started. Once it was, whatever fails counts as a command that failed.
pub async fn run_command(
    command: &[OsString],
    environment: &[(&str, OsString)],
) -> io::Result<Finished<CommandStatus>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let descendants = Descendants::inherit()?;
    let mut child = start(command, environment)?;
    let mut ended = tokio::task::spawn_blocking(move || child.wait());
    let mut signalled = false;
    let mut kill_at = None;
    let status = loop {
        let is_late = async {
            match kill_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let pass_on = tokio::select! {
            status = &mut ended => break status.ok().and_then(Result::ok),
            _ = terminate.recv() => Signal::TERM,
            _ = interrupt.recv() => Signal::INT,
            _ = hangup.recv() => Signal::HUP,
            () = is_late => {
                // Those that come meanwhile have as long again.
                kill_at = Some(Instant::now() + END_TIME_MAX);
                descendants.signal(Signal::KILL, |_| false);
                continue;
            }
        };
        signalled = true;
        kill_at.get_or_insert_with(|| Instant::now() + END_TIME_MAX);
        // What is typed at a terminal goes to all of its group, so to most of them already.
        let had_it = (pass_on == Signal::INT).then(terminal_group).flatten();
        descendants.signal(pass_on, |pid| {
            had_it.is_some() && getpgid(Some(pid)).ok() == had_it
        });
    };
    // What is written after the judgement is not judged.
    let left = tokio::task::spawn_blocking(move || descendants.end()).await;
    // One that was asked to end may say so with a zero.
    let succeeded = status.is_some_and(|status| status.success()) && !signalled && left.is_ok();
    Ok(Finished {
        status: CommandStatus { status },
        succeeded,
        left_running: left.unwrap_or_default(),
    })
}

/// The process group of this process, if a terminal has it in the foreground and sends it what is
/// typed.
fn terminal_group() -> Option<Pid> {
    let own = Process::of(getpid())?;
    own.group
        .filter(|group| Some(*group) == own.foreground_group)
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
    die_with_parent(&mut command);
    command.spawn()
}

/// If this process is killed, nobody is left to roll back what the command does after that.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "between fork and exec there is no other way")]
fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    // SAFETY: the closure makes two system calls and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before that was asked for.
            match rustix::process::getppid() == Some(parent) {
                true => Ok(()),
                false => Err(io::ErrorKind::Interrupted.into()),
            }
        });
    }
}
