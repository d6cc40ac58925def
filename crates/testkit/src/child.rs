//! The running test program, started once more: as a second process that does
//! what the test says, or inside a mount namespace where it may mount things.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use crate::PATIENCE;

/// A second process of this test program. It runs one ignored test, which reads
/// lines from its standard input and prints lines. Killed when dropped.
pub struct Child {
    process: std::process::Child,
    lines: mpsc::Receiver<String>,
}

impl Child {
    /// Starts the ignored test `test` with the environment `variables`, and
    /// waits for nothing.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start<'v>(test: &str, variables: impl IntoIterator<Item = (&'v str, &'v Path)>) -> Self {
        let program = std::env::current_exe().expect("the path of this program");
        let mut process = Command::new(program)
            .args([test, "--exact", "--ignored", "--nocapture"])
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start this program once more");
        let (sender, lines) = mpsc::channel();
        let output = BufReader::new(process.stdout.take().expect("its output"));
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { process, lines }
    }

    /// Sends it a line.
    ///
    /// # Panics
    /// If it has ended.
    pub fn send(&mut self, line: &str) {
        let input = self.process.stdin.as_mut().expect("its input");
        writeln!(input, "{line}").expect("it reads its input");
    }

    /// Waits for a line that begins with `wanted`; returns it.
    ///
    /// # Panics
    /// If it does not come within [`PATIENCE`].
    pub fn line(&self, wanted: &str) -> String {
        self.wait(|line| line.starts_with(wanted), wanted).1
    }

    /// Waits for the line `wanted`; returns those before it.
    ///
    /// # Panics
    /// As [`Child::line`].
    pub fn lines_until(&self, wanted: &str) -> Vec<String> {
        self.wait(|line| line == wanted, wanted).0
    }

    fn wait(&self, is_wanted: impl Fn(&str) -> bool, wanted: &str) -> (Vec<String>, String) {
        let deadline = Instant::now() + PATIENCE;
        let mut before = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect(wanted);
            if is_wanted(&line) {
                return (before, line);
            }
            before.push(line);
        }
    }

    /// The lines that have come and were not returned yet.
    pub fn received(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// Ends it with SIGKILL; returns the lines it had printed and that were not
    /// returned yet.
    pub fn kill(&mut self) -> Vec<String> {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.lines.iter().collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs the ignored test `test` of this program in a mount namespace of its own,
/// as root there, after the shell command `mount`, which finds a fresh directory
/// in `$DIR` (and this program in `$SELF`). The test reads `DIR` too.
///
/// # Panics
/// If the test fails, or the system allows no user namespaces.
pub fn in_mount_namespace(test: &str, mount: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let script = format!("{mount} && exec \"$SELF\" {test} --exact --ignored --nocapture");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .env(
            "SELF",
            std::env::current_exe().expect("the path of this program"),
        )
        .env("DIR", dir.path())
        .output()
        .expect("unshare, of util-linux, is needed");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && stdout.contains("1 passed"),
        "{test} failed (user and mount namespaces are needed here):\n{stdout}{}",
        String::from_utf8_lossy(&output.stderr),
    );
}
