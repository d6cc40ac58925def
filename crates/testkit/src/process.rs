//! Programs under test.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;

/// A running program, its output collected; killed when dropped.
pub struct Process {
    child: Child,
    output: Arc<Collected>,
}

#[derive(Default)]
struct Collected {
    lines: Mutex<(Vec<String>, usize)>,
    more: Condvar,
}

impl Process {
    /// Starts `program` with `arguments`; configure the rest in `with`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start<S: AsRef<OsStr>>(
        program: impl AsRef<Path>,
        arguments: impl IntoIterator<Item = S>,
        with: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(program.as_ref());
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        with(&mut command);
        let mut child = command.spawn().expect("start the program under test");
        let output = Arc::new(Collected::default());
        output.collect(child.stdout.take());
        output.collect(child.stderr.take());
        Self { child, output }
    }

    /// Starts `program run`, the real binary, for `app` on the volume `data`,
    /// which is also its current directory. Configure the rest in `with`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn serve(
        program: impl AsRef<Path>,
        data: &Path,
        port: u16,
        options: &[&str],
        app: &[&str],
        with: impl FnOnce(&mut Command),
    ) -> Self {
        Self::start(program, ["run", "--bind=127.0.0.1", "--port"], |command| {
            command.arg(port.to_string()).arg("--data").arg(data);
            command.args(options).arg("--").args(app);
            command.current_dir(data);
            // The checkout may be in a container's own layer.
            command.env("MONOLITE_ALLOW", "persistent");
            // What the tests' own environment says must not matter.
            command
                .env_remove("DATABASE_URL")
                .env_remove("DATABASE_PATH");
            with(command);
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("signal the program under test");
    }

    /// Waits for a line of output (of either kind) that contains `text`, and
    /// answers with it. Each call looks at the whole output from the start.
    ///
    /// # Panics
    /// If the line does not come, with all the output there was.
    pub fn line(&self, text: &str) -> String {
        self.nth_line(text, 1)
    }

    /// Waits for the `n`th line that contains `text`, counted from 1.
    ///
    /// # Panics
    /// As [`Process::line`].
    pub fn nth_line(&self, text: &str, n: usize) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.output.lines.lock().expect("no reader panicked");
        loop {
            let mut found = lines.0.iter().filter(|line| line.contains(text));
            if let Some(line) = found.nth(n - 1) {
                return line.clone();
            }
            let ended = lines.1 == 0;
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !ended && !left.is_zero(),
                "no line {n} with {text:?} in:\n{}",
                lines.0.join("\n")
            );
            lines = self
                .output
                .more
                .wait_timeout(lines, left)
                .expect("no reader panicked")
                .0;
        }
    }

    /// All output so far.
    ///
    /// # Panics
    /// Never in practice.
    pub fn output(&self) -> String {
        self.output
            .lines
            .lock()
            .expect("no reader panicked")
            .0
            .join("\n")
    }

    /// Waits for its end: its status and all its output.
    ///
    /// # Panics
    /// If it does not end.
    pub fn end(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        let mut status = None;
        while status.is_none() {
            status = self.child.try_wait().expect("wait for the program");
            let late = Instant::now() > deadline;
            assert!(!late, "the program never ends:\n{}", self.output());
            std::thread::sleep(Duration::from_millis(5));
        }
        // What it left behind may hold the pipes open: not waited for long.
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut lines = self.output.lines.lock().expect("no reader panicked");
        while lines.1 > 0 && Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            lines = self
                .output
                .more
                .wait_timeout(lines, left)
                .expect("no reader panicked")
                .0;
        }
        let output = lines.0.join("\n");
        drop(lines);
        (status.expect("it ended"), output)
    }
}

/// How a program ended, and what it printed.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub errors: String,
}

impl Outcome {
    /// Runs `command` to its end.
    ///
    /// # Panics
    /// If it cannot be started, or was killed by a signal.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().expect("start the program under test");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().expect("it exits"),
            out: text(&output.stdout),
            errors: text(&output.stderr),
        }
    }

    /// It must have ended with `code` and one line of error that contains all
    /// of `words`, and printed nothing else.
    ///
    /// # Panics
    /// If not, with all that it printed.
    pub fn is_refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.errors.lines().count(), 1, "{self:?}");
        for word in words {
            assert!(self.errors.contains(word), "{word:?} is not in {self:?}");
        }
        assert_eq!(self.out, "");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Collected {
    fn collect(self: &Arc<Self>, from: Option<impl Read + Send + 'static>) {
        let Some(from) = from else { return };
        self.lines.lock().expect("no reader panicked").1 += 1;
        let this = Arc::clone(self);
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                this.lines.lock().expect("no reader panicked").0.push(text);
                this.more.notify_all();
                line.clear();
            }
            this.lines.lock().expect("no reader panicked").1 -= 1;
            this.more.notify_all();
        });
    }
}
