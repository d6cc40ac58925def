//! The programs a bench needs beside cargo.

use std::process::{Command, Stdio};

use anyhow::Context;

/// Finds `program`, or installs the Debian `package` that has it.
pub(crate) fn need(program: &str, package: &str) -> anyhow::Result<()> {
    if exists(program) {
        return Ok(());
    }
    let by_hand = format!("{program} is missing; install it with: apt-get install {package}");
    anyhow::ensure!(
        rustix::process::geteuid().is_root() && exists("apt-get"),
        by_hand
    );
    for arguments in [
        &["update"][..],
        &["install", "-y", "--no-install-recommends", package],
    ] {
        eprintln!("apt-get {}", arguments.join(" "));
        let status = Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .status()
            .with_context(|| by_hand.clone())?;
        anyhow::ensure!(status.success(), by_hand);
    }
    anyhow::ensure!(exists(program), by_hand);
    Ok(())
}

fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian puts daemons where an ordinary user's PATH does not lead.
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}
