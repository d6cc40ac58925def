//! Runs programs, bounded in time.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// An install that takes longer hangs on the network.
const INSTALL_TIME: Duration = Duration::from_secs(600);

/// Runs a program to its end, however long it takes.
pub(crate) fn run(program: &str, with: impl FnOnce(&mut Command) -> &mut Command) -> Result<()> {
    run_in(program, Path::new("."), with)
}

/// The same, in a directory.
pub(crate) fn run_in(
    program: &str,
    directory: &Path,
    with: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<()> {
    let mut command = Command::new(program);
    let status = with(command.current_dir(directory))
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} failed ({status})");
    }
    Ok(())
}

/// Runs an install step, stopping it after ten minutes.
pub(crate) fn install(
    program: &str,
    with: impl FnOnce(&mut Command) -> &mut Command,
) -> Result<()> {
    let mut command = Command::new(program);
    let mut child = with(&mut command)
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let deadline = Instant::now() + INSTALL_TIME;
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("{command:?} failed ({status})");
            }
            return Ok(());
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!(
                "{command:?} took over {} minutes",
                INSTALL_TIME.as_secs() / 60
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// True if the command runs and succeeds.
pub(crate) fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}
