//! `monolite demo`: the bundled app, under the same `run` as any other.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use monolite_app::Settings;
use monolite_app::settings::LogFormat;

use crate::flags::environment;
use crate::run::{serve, stack, this_program};
use crate::{Failure, replication};

/// The variable in which the app gets the path of its replica.
const REPLICA: &str = "MONOLITE_DEMO_REPLICA";
/// Between a commit and its copy on the same disk.
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

    /// Keep the data in this directory, and its replica in DIR-replica [default: temporary
    /// ones, removed at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Monolite's own log lines, on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json"])]
    log: String,
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
    let mut settings = Settings::default();
    settings.port = Some(arguments.port);
    settings.bind = Some(arguments.bind);
    settings.health_path = Some("/up".into());
    settings.data = arguments.data;
    settings.sync_interval = SYNC_INTERVAL;
    if let Some(dir) = &temporary {
        settings.data = Some(dir.path().join("data"));
        // It is meant to be lost.
        settings.allow = vec!["persistent".into()];
    }
    let replica = replica(&replication::place(&settings).dir);
    settings.replica = vec![replica.display().to_string()];
    let command = vec![this_program()?.into(), "demo-app".into()];
    let mut stack = stack(&settings, command, Ipv4Addr::LOCALHOST)?;
    // The app shows where its replica is, and has a button that needs it.
    stack.add_variable(REPLICA, &replica);
    let shown = match stack.listen() {
        address if address.ip().is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
        }
        address => address,
    };
    println!("A live blog on one SQLite file: http://{shown}");
    println!("Its data: {}", stack.data().display());
    println!("Its replica: {}", replica.display());
    println!("Ctrl-C ends it.");
    let result = serve(
        stack,
        match arguments.log.as_str() {
            "json" => LogFormat::Json,
            _ => LogFormat::Text,
        },
    );
    if let Some(dir) = temporary {
        dir.close()
            .context("cannot remove the temporary directory")?;
    }
    result
}

/// In the same directory as the data, which may be removed alone.
fn replica(data: &Path) -> PathBuf {
    // Without a slash at the end.
    let mut name = data.components().collect::<PathBuf>().into_os_string();
    name.push("-replica");
    name.into()
}

/// The app itself; it gets its port and directory as any app does.
pub(crate) fn app() -> Result<(), Failure> {
    let environment = environment();
    let mut settings = Settings::default();
    settings.data = environment.get("MONOLITE_DATA").map(PathBuf::from);
    let address = monolite_app::listen(&settings, &environment, Ipv4Addr::LOCALHOST)?;
    let data = replication::place(&settings).dir;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut config = monolite_demo::Config::new(data);
        config.replica = environment.get(REPLICA).map(PathBuf::from);
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
