//! `monolite demo`: the bundled app, under the same `run` as any other.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::run::{config, replicated, serve, this_program};
use crate::settings::{Following, LogFormat, Settings};
use crate::{Failure, surroundings};

/// Tells the app where its replica is.
const REPLICA: &str = "MONOLITE_DEMO_REPLICA";
/// There is nothing between the two but a disk.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Args)]
#[command(after_help = "Example:\n  monolite demo --port 8080")]
pub(crate) struct Arguments {
    /// The port to serve on
    #[arg(long, default_value_t = 8080)]
    port: u16,

    /// The address to serve on
    #[arg(long, value_name = "IP", default_value_t = Ipv4Addr::LOCALHOST.into())]
    bind: std::net::IpAddr,

    /// Keep the data in this directory, and its replica beside, in DIR-replica [default: temporary
    /// ones, removed at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Monolite's own log lines, on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log: LogFormat,
}

pub(crate) fn demo(arguments: Arguments) -> Result<(), Failure> {
    let temporary = match arguments.data {
        Some(_) => None,
        None => Some(
            tempfile::Builder::new()
                .prefix("monolite-demo-")
                .tempdir()
                .context("cannot make a temporary directory")?,
        ),
    };
    let mut settings = Settings {
        port: Some(arguments.port),
        bind: Some(arguments.bind),
        health_path: Some("/up".into()),
        log: Some(arguments.log),
        data: arguments.data,
        following: Following {
            sync_interval: Some(SYNC_INTERVAL),
            ..Following::default()
        },
        ..Settings::default()
    };
    if let Some(dir) = &temporary {
        settings.data = Some(dir.path().join("data"));
        // It is meant to be lost.
        settings.allow = vec!["persistent".into()];
    }
    let command = vec![this_program()?.into(), "demo-app".into()];
    let mut config = config(&settings, command, Ipv4Addr::LOCALHOST)?;
    let replica = replica(&config.place.dir);
    settings.replicas.replica = vec![replica.display().to_string()];
    config.replication = replicated::replication(&settings, &config.place.dir)?;
    // The app shows where it is, and has a button to need it.
    let told = (REPLICA.into(), replica.clone().into());
    config.environment.push(told);
    let shown = match config.listen {
        address if address.ip().is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
        }
        address => address,
    };
    println!("A live blog on one SQLite file: http://{shown}");
    println!("Its data: {}", config.place.dir.display());
    println!("Its replica: {}", replica.display());
    println!("Ctrl-C ends it.");
    let result = serve(config, &settings);
    if let Some(dir) = temporary {
        dir.close()
            .context("cannot remove the temporary directory")?;
    }
    result
}

/// Beside the data: what is lost with it is no replica.
fn replica(data: &Path) -> PathBuf {
    // Without a slash at the end.
    let mut name = data.components().collect::<PathBuf>().into_os_string();
    name.push("-replica");
    name.into()
}

/// The app itself, told its port and directory as any app is.
pub(crate) fn app() -> Result<(), Failure> {
    let settings = Settings {
        data: std::env::var_os("MONOLITE_DATA").map(PathBuf::from),
        ..Settings::default()
    };
    let address = surroundings::listen(&settings, Ipv4Addr::LOCALHOST)?;
    let data = surroundings::place(&settings).dir;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut config = monolite_demo::Config::new(data);
        config.replica = std::env::var_os(REPLICA).map(PathBuf::from);
        let app = monolite_demo::app(config).await?;
        let listener = tokio::net::TcpListener::bind(address).await?;
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        app.serve(listener, async move {
            terminate.recv().await;
        })
        .await?;
        Ok(())
    })
}
