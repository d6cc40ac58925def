//! A database, a lane, and programs that use both.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use monolite_driver::{Counted, Lane};
use tempfile::TempDir;

pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) lane: Lane,
}

/// Whether a program gets the lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    Nothing,
    Lane,
}

impl Site {
    /// With a database in WAL mode.
    #[allow(dead_code, reason = "each test program uses some of these")]
    pub(crate) fn new() -> Self {
        let site = Self::empty();
        site.make("wal");
        site
    }

    pub(crate) fn empty() -> Self {
        let dir = tempfile::Builder::new()
            .permissions(PermissionsExt::from_mode(0o755))
            .tempdir()
            .unwrap();
        let lane = Lane::install(&dir.path().join("driver")).unwrap();
        Self { dir, lane }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.dir.path().join("app.sqlite3")
    }

    /// A table with one row, which holds 0.
    #[allow(dead_code, reason = "each test program uses some of these")]
    fn make(&self, mode: &str) {
        let sql = format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE t(n INTEGER); INSERT INTO t VALUES(0)"
        );
        self.sql(&sql);
    }

    /// What the sqlite3 shell answers, without the lane.
    #[allow(dead_code, reason = "each test program uses some of these")]
    pub(crate) fn sql(&self, sql: &str) -> String {
        let mut command = Command::new("sqlite3");
        command.arg(self.database()).arg(sql);
        output(&mut command)
    }

    #[allow(dead_code, reason = "each test program uses some of these")]
    pub(crate) fn command(&self, with: With, program: &str) -> Command {
        let mut command = Command::new(program);
        if with == With::Lane {
            command.envs(self.lane.variables(|name| std::env::var_os(name)));
        }
        command
    }

    /// A Python program with the database's path as its argument.
    #[allow(dead_code, reason = "each test program uses some of these")]
    pub(crate) fn python(&self, with: With, program: &str) -> Command {
        let mut command = self.command(with, "python3");
        command.arg("-c").arg(program).arg(self.database());
        command
    }

    pub(crate) fn counted(&self) -> Counted {
        self.lane.counters().unwrap().read()
    }
}

/// A file of `tests/drivers`.
#[allow(dead_code, reason = "each test program uses some of these")]
pub(crate) fn script(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers")).join(name)
}

/// What a program prints; it has to end well and complain of nothing.
#[allow(dead_code, reason = "each test program uses some of these")]
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; `cargo xtask test` installs what is missing")
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stderr.is_empty(),
        "{command:?}: {stderr}"
    );
    String::from_utf8(output.stdout).unwrap()
}

#[allow(dead_code, reason = "each test program uses some of these")]
pub(crate) fn start(command: &mut Command) -> Child {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    child.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
