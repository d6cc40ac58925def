//! Litestream: its program and its configuration.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::site::{NAME, PREFIX, Site};

/// What is not at its default.
#[derive(Clone, Copy, Default)]
pub(super) struct Settings {
    /// `monitor-interval` and `sync-interval`.
    pub(super) interval: Option<Duration>,
    pub(super) snapshots: Option<Duration>,
}

/// The program that `cargo xtask bench replica` has installed.
pub(super) fn program() -> anyhow::Result<PathBuf> {
    std::env::var_os("MONOLITE_TEST_LITESTREAM")
        .map(PathBuf::from)
        .context("MONOLITE_TEST_LITESTREAM does not say where litestream is: run `cargo xtask bench replica`, which installs it")
}

/// Follows all databases of a site's volume.
pub(super) fn replicate(site: &Site, settings: Settings) -> anyhow::Result<Command> {
    let mut text = String::new();
    if let Some(every) = settings.snapshots {
        writeln!(text, "snapshot:\n  interval: {}ms", every.as_millis())?;
    }
    writeln!(text, "dbs:\n  - dir: {}", site.volume().display())?;
    writeln!(text, "    pattern: '*.sqlite3'")?;
    if let Some(interval) = settings.interval {
        writeln!(text, "    monitor-interval: {}ms", interval.as_millis())?;
    }
    writeln!(text, "    replica:\n{}", bucket(site, PREFIX))?;
    if let Some(interval) = settings.interval {
        writeln!(text, "      sync-interval: {}ms", interval.as_millis())?;
    }
    let mut command = with_config("replicate", site, &text)?;
    site.server().lead(&mut command);
    Ok(command)
}

/// Restores the app's database from the bucket, or from a folder that has a
/// copy of it.
pub(super) fn restore(site: &Site, folder: Option<&Path>, out: &Path) -> anyhow::Result<Command> {
    let replica = match folder {
        Some(folder) => format!(
            "      type: file\n      path: {}",
            folder.join(NAME).display()
        ),
        None => bucket(site, &format!("{PREFIX}/{NAME}")),
    };
    let database = site.database();
    let text = format!(
        "dbs:\n  - path: {}\n    replica:\n{replica}\n",
        database.display()
    );
    let mut command = with_config("restore", site, &text)?;
    command.arg("-o").arg(out).arg(database);
    site.server().lead(&mut command);
    Ok(command)
}

fn bucket(site: &Site, path: &str) -> String {
    let server = site.server();
    format!(
        "      type: s3\n      bucket: {}\n      path: {path}\n      endpoint: {}\n      \
         region: {}\n      force-path-style: true",
        server.bucket(),
        server.url(),
        server.region()
    )
}

fn with_config(verb: &str, site: &Site, text: &str) -> anyhow::Result<Command> {
    let config = site.dir().join(format!("litestream-{verb}.yml"));
    std::fs::write(&config, text)?;
    let mut command = Command::new(program()?);
    command.arg(verb).arg("-config").arg(config);
    Ok(command)
}
