//! Rails and sqlite-utils: programs in other languages, each with the SQLite of
//! its system. They measure themselves, so that their start does not count.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::place;
use crate::tools;

const CHANGE_COLUMN: &str = include_str!("change_column.rb");
const TRANSFORM: &str = include_str!("transform.py");
const SQLITE_UTILS: &str = "sqlite-utils==3.38";

/// Finds Rails, or installs Debian's.
pub(super) fn rails() -> anyhow::Result<()> {
    let works = || {
        let mut ruby = Command::new("ruby");
        ruby.args(["-ractive_record", "-rsqlite3", "-e", "0"]);
        ruby.stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if !works() {
        tools::need("rails", "ruby-rails")?;
        let by_hand = "Rails is missing; install it with: apt-get install ruby-rails ruby-sqlite3";
        let installed = Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends", "ruby-sqlite3"])
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .status();
        anyhow::ensure!(
            installed.is_ok_and(|status| status.success()) && works(),
            by_hand
        );
    }
    Ok(())
}

pub(super) fn change_column(database: &Path) -> anyhow::Result<f64> {
    seconds(
        Command::new("ruby")
            .arg("-e")
            .arg(CHANGE_COLUMN)
            .arg(database),
    )
}

/// A Python environment with sqlite-utils, kept in `target/`.
pub(super) fn python() -> anyhow::Result<PathBuf> {
    let environment = place::results().join("sqlite-utils");
    let python = environment.join("bin/python");
    let works = |python: &Path| {
        let mut import = Command::new(python);
        import
            .args(["-c", "import sqlite_utils"])
            .stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    };
    if !works(&python) {
        let run = |command: &mut Command| {
            let status = command
                .status()
                .with_context(|| format!("start {command:?}"))?;
            anyhow::ensure!(status.success(), "{command:?} failed: install python3-venv");
            Ok(())
        };
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&environment))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", SQLITE_UTILS]))?;
    }
    Ok(python)
}

pub(super) fn transform(python: &Path, database: &Path) -> anyhow::Result<f64> {
    seconds(Command::new(python).arg("-c").arg(TRANSFORM).arg(database))
}

fn seconds(command: &mut Command) -> anyhow::Result<f64> {
    let output = command.stderr(Stdio::inherit()).output()?;
    anyhow::ensure!(
        output.status.success(),
        "{:?} failed",
        command.get_program()
    );
    let said = String::from_utf8(output.stdout)?;
    said.trim()
        .parse()
        .with_context(|| format!("it said {said:?}"))
}
