//! A redis-server that is thrown away: its own port, directory and settings,
//! whatever else runs on the machine.

pub(crate) mod connection;
pub(crate) mod crowd;
pub(crate) mod resp;
pub(crate) mod tool;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::http::free_port;
use crate::peers::redis::connection::Connection;
use crate::place;
use crate::process::Running;
use crate::tools;

/// Time to answer its first command.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients at once in the cases with many: what `redis-benchmark` has.
pub(crate) const CLIENTS: usize = 50;

/// What is left when the machine, or the server, dies.
#[derive(Clone, Copy)]
pub(crate) enum Durability {
    /// Nothing.
    Memory,
    /// All but the last second, on a loss of power; all, if only the server
    /// dies: what `synchronous` NORMAL gives.
    EverySecond,
    /// All that was answered, as with `synchronous` FULL.
    Always,
}

pub(crate) struct Redis {
    // Ends before its directory goes.
    _running: Running,
    _dir: TempDir,
    port: u16,
}

impl Redis {
    pub(crate) fn start(durability: Durability) -> anyhow::Result<Self> {
        tools::need("redis-server", "redis-server")?;
        let dir = place::scratch()?;
        let port = free_port()?;
        let (appendonly, fsync) = match durability {
            Durability::Memory => ("no", "no"),
            Durability::EverySecond => ("yes", "everysec"),
            Durability::Always => ("yes", "always"),
        };
        let mut running = Running::start(
            Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
                .args(["--daemonize", "no", "--save", ""])
                .args(["--appendonly", appendonly, "--appendfsync", fsync])
                .args(["--logfile", "redis.log", "--dir"])
                .arg(dir.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null()),
        )?;
        let deadline = Instant::now() + PATIENCE;
        while Connection::open(port)
            .and_then(|mut it| it.done(&[b"PING"]))
            .is_err()
        {
            anyhow::ensure!(
                running.lives() && Instant::now() < deadline,
                "redis-server does not answer: {}",
                std::fs::read_to_string(dir.path().join("redis.log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self {
            _running: running,
            _dir: dir,
            port,
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.port)
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) -> anyhow::Result<()> {
        self.connect()?.done(&[b"FLUSHALL", b"SYNC"])
    }
}
