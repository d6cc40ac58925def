//! The gate under test: `monolite run`, or a gate in a process of its own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use monolite_gate::{Config, Gate};
use tokio::net::TcpListener;

use crate::gate::nginx;
use crate::http::{free_port, wait_for_200};
use crate::place;
use crate::process::{Running, own};

const START_LIMIT: Duration = Duration::from_secs(20);

pub(crate) enum Front {
    /// The real binary.
    Monolite(PathBuf),
    /// The library alone: what is lost beside it is lost in `monolite run`.
    Alone,
}

/// A gate that passes requests, and where.
pub(crate) struct Served {
    pub(crate) _gate: Running,
    _upstream: Option<Running>,
    pub(crate) port: u16,
    pub(crate) upstream: u16,
}

impl Front {
    /// Builds the binary.
    pub(crate) fn monolite() -> anyhow::Result<Self> {
        let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "--release", "--bin", "monolite"])
            .current_dir(place::root())
            .status()?;
        anyhow::ensure!(
            status.success(),
            "the monolite binary does not build; `gate --alone` loads the gate without it"
        );
        Ok(Self::Monolite(place::target().join("release/monolite")))
    }

    /// Starts it before an nginx, and waits until requests pass.
    pub(crate) fn serve_nginx(&self, dir: &Path) -> anyhow::Result<Served> {
        let upstream_dir = dir.join("upstream");
        let mut upstream = own()?;
        upstream.arg("upstream").arg(&upstream_dir);
        match self {
            Self::Monolite(_) => {
                let port = free_port()?;
                let mut gate = self
                    .run(dir, port, &upstream)?
                    .also_ends(nginx::pid_file(&upstream_dir));
                self.wait(dir, port, &mut gate)?;
                let told = std::fs::read_to_string(nginx::port_file(&upstream_dir))?;
                Ok(Served {
                    _gate: gate,
                    _upstream: None,
                    port,
                    upstream: told.parse()?,
                })
            }
            Self::Alone => {
                let (port, app) = (free_port()?, free_port()?);
                upstream.env("PORT", app.to_string());
                let mut upstream =
                    Running::start(&mut upstream)?.also_ends(nginx::pid_file(&upstream_dir));
                wait_for_200(app, START_LIMIT, || upstream.lives())?;
                let mut command = own()?;
                command.args(["gate-server", "--port", &port.to_string()]);
                command.args(["--upstream", &app.to_string()]);
                let mut gate = Running::start(&mut command)?;
                self.wait(dir, port, &mut gate)?;
                Ok(Served {
                    _gate: gate,
                    _upstream: Some(upstream),
                    port,
                    upstream: app,
                })
            }
        }
    }

    /// `monolite run` with `app`; returns at once.
    pub(crate) fn run(&self, dir: &Path, port: u16, app: &Command) -> anyhow::Result<Running> {
        let Self::Monolite(binary) = self else {
            anyhow::bail!("only the monolite binary can run an app");
        };
        let dir = &std::path::absolute(dir)?;
        let data = dir.join("data");
        std::fs::create_dir_all(&data)?;
        let log = std::fs::File::create(log_file(dir))?;
        let mut command = Command::new(binary);
        // As it comes: neither a monolite.toml here nor the variables of whoever
        // runs the bench.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MONOLITE_") {
                command.env_remove(name);
            }
        }
        command
            .current_dir(dir)
            .arg("run")
            .arg("--data")
            .arg(data)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--"])
            .arg(app.get_program())
            .args(app.get_args())
            .stdout(log.try_clone()?)
            .stderr(log);
        Running::start(&mut command)
    }

    /// Waits until requests pass; an error shows what the gate has printed.
    pub(crate) fn wait(&self, dir: &Path, port: u16, gate: &mut Running) -> anyhow::Result<()> {
        wait_for_200(port, START_LIMIT, || gate.lives())
            .with_context(|| std::fs::read_to_string(log_file(dir)).unwrap_or_default())
    }
}

fn log_file(dir: &Path) -> PathBuf {
    dir.join("monolite.log")
}

#[derive(clap::Args)]
pub(crate) struct ServerArguments {
    #[arg(long)]
    port: u16,
    #[arg(long)]
    upstream: u16,
}

/// Nothing but a gate.
pub(crate) fn serve(arguments: &ServerArguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).await?;
        let gate = Gate::new(Config::default());
        gate.open((Ipv4Addr::LOCALHOST, arguments.upstream).into());
        gate.serve(listener).await;
        Ok(())
    })
}
