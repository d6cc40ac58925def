//! Processes that end with the value that stands for them.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// The child's side of [`Running::wait_ready`] and [`Running::go`].
pub(crate) use crate::peers::asked::ready_and_wait;

/// Time to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// This program, to be started as one of its hidden subcommands.
pub(crate) fn own() -> anyhow::Result<Command> {
    Ok(Command::new(std::env::current_exe()?))
}

/// A child that is asked to end, then killed, on drop; and asked to end by the
/// system should the bench itself be killed.
pub(crate) struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    grandchild: Option<PathBuf>,
}

impl Running {
    /// To be called on the main thread: the system takes the end of the
    /// calling thread for that of the bench.
    #[allow(unsafe_code)]
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let end_with_us = || {
            rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
            Ok(())
        };
        // SAFETY: between fork and exec it makes one system call and neither
        // allocates nor takes a lock.
        unsafe { command.pre_exec(end_with_us) };
        let child = command
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        Ok(Self {
            child,
            stdout: None,
            grandchild: None,
        })
    }

    /// As [`Running::start`], with its standard input and output in our hands.
    pub(crate) fn start_talking(command: &mut Command) -> anyhow::Result<Self> {
        let mut running = Self::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()))?;
        running.stdout = running.child.stdout.take().map(BufReader::new);
        Ok(running)
    }

    /// The process named in this file is ended as well: it would be left
    /// behind if the one that started it had to be killed.
    pub(crate) fn also_ends(mut self, pid_file: PathBuf) -> Self {
        self.grandchild = Some(pid_file);
        self
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// False once it has ended.
    pub(crate) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its line `ready`.
    pub(crate) fn wait_ready(&mut self) -> anyhow::Result<()> {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line)?;
        anyhow::ensure!(line.trim_end() == "ready", "a child said {line:?}");
        Ok(())
    }

    /// Lets it begin.
    pub(crate) fn go(&mut self) -> anyhow::Result<()> {
        writeln!(self.child.stdin.as_mut().unwrap(), "go")?;
        Ok(())
    }

    /// All it still says, once it has ended well.
    pub(crate) fn output(mut self) -> anyhow::Result<String> {
        let mut text = String::new();
        self.stdout.as_mut().unwrap().read_to_string(&mut text)?;
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "a child failed: {status}");
        Ok(text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.lives() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let deadline = Instant::now() + GRACE;
            while self.lives() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let pid = self.grandchild.as_ref().and_then(|file| {
            let text = std::fs::read_to_string(file).ok()?;
            Pid::from_raw(text.trim().parse().ok()?)
        });
        if let Some(pid) = pid.filter(|pid| test_kill_process(*pid).is_ok()) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}
