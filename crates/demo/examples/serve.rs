//! Serves the demo on a port of this machine, in a directory that is gone
//! afterwards or, as a second argument, one that stays:
//! `cargo run -p monolite-demo --example serve -- 3000 [directory]`.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().unwrap_or_else(|| "3000".into()).parse()?;
    let dir = tempfile::tempdir()?;
    let data = args
        .next()
        .map_or_else(|| dir.path().to_owned(), Into::into);
    let app = monolite_demo::app(monolite_demo::Config::new(data)).await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    app.serve(listener, shutdown).await?;
    Ok(())
}
