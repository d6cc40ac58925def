//! Who replicates: nobody, we, or Litestream.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::litestream;
use super::site::{PREFIX, Site};
use crate::process::{Running, own};

/// Between two looks whether something is there.
const LOOK: Duration = Duration::from_millis(10);

/// What of ours is not at its default.
#[derive(Clone, Copy, Default)]
pub(super) struct Ours {
    pub(super) interval: Option<Duration>,
    pub(super) snapshots: Option<Duration>,
}

#[derive(Clone, Copy)]
pub(super) enum Who {
    Nobody,
    Ours(Ours),
    Litestream(litestream::Settings),
}

/// A process that replicates a site's volume.
pub(super) struct Following(Running);

impl Who {
    pub(super) const OURS: Self = Self::Ours(Ours {
        interval: None,
        snapshots: None,
    });
    pub(super) const LITESTREAM: Self = Self::Litestream(litestream::Settings {
        interval: None,
        snapshots: None,
    });

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nobody => "no replication",
            Self::Ours(_) => "ours",
            Self::Litestream(_) => "Litestream",
        }
    }

    pub(super) fn follow(self, site: &Site) -> anyhow::Result<Option<Following>> {
        let mut command = match self {
            Self::Nobody => return Ok(None),
            Self::Ours(settings) => ours(site, settings)?,
            Self::Litestream(settings) => litestream::replicate(site, settings)?,
        };
        let log = std::fs::File::create(log_file(site.dir()))?;
        command.stdout(log.try_clone()?).stderr(log);
        Ok(Some(Following(Running::start(&mut command)?)))
    }
}

fn ours(site: &Site, settings: Ours) -> anyhow::Result<Command> {
    let mut command = own()?;
    command.args(["replica-child", "follow"]);
    command.args([site.volume(), site.state()]).arg(site.url());
    for (flag, time) in [
        ("--sync-ms", settings.interval),
        ("--snapshot-ms", settings.snapshots),
    ] {
        if let Some(time) = time {
            command.args([flag, &time.as_millis().to_string()]);
        }
    }
    site.server().lead(&mut command);
    Ok(command)
}

fn log_file(dir: &Path) -> std::path::PathBuf {
    dir.join("follow.log")
}

impl Following {
    pub(super) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Waits until `there`, or says what the process has said.
    pub(super) fn wait(
        &mut self,
        site: &Site,
        limit: Duration,
        what: &str,
        mut there: impl FnMut() -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        while !there() {
            if !self.0.lives() || Instant::now() > deadline {
                let said = std::fs::read_to_string(log_file(site.dir())).unwrap_or_default();
                let lines: Vec<&str> = said.lines().rev().take(20).collect();
                let last: Vec<&str> = lines.into_iter().rev().collect();
                anyhow::bail!("never: {what}; it said:\n{}", last.join("\n"));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until the first state of a database is stored.
    pub(super) fn wait_stored(
        &mut self,
        site: &Site,
        database: &str,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let prefix = format!("{PREFIX}/{database}/");
        let is_there = || {
            let keys = site.server().keys(&prefix);
            keys.iter().any(|key| key.ends_with(".ltx"))
        };
        self.wait(site, limit, "a first state is stored", is_there)
    }
}
