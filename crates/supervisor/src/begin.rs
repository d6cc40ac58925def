//! What a run has before it does anything: its port, and its volume.

use std::net::SocketAddr;

use monolite_volume::{Finding, Level, Lock, Purpose};
use tokio::net::{TcpListener, TcpSocket};

use crate::{Config, Error};

/// Connections the kernel holds for us before they are accepted.
const BACKLOG: u32 = 4096;

/// Binds the public port: from now on connections are accepted.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let bind = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => Error::PortInUse(address),
        _ => Error::Listen { address, source },
    })
}

/// Checks the volume and takes it for this run alone.
pub(crate) async fn take_volume(
    config: &Config,
    tell: impl FnOnce(&[Finding]),
) -> Result<Lock, Error> {
    let place = config.place.clone();
    let info = Purpose::new("monolite run").port(Some(config.listen.port()));
    // Disk work: not on the runtime's threads.
    let blocking = tokio::task::spawn_blocking(move || {
        let findings = monolite_volume::inspect(&place);
        (place, findings)
    });
    let failed = |error: tokio::task::JoinError| Error::Io {
        what: "check the volume",
        source: std::io::Error::other(error),
    };
    let (place, found) = blocking.await.map_err(failed)?;
    tell(&found);
    let refused: Vec<Finding> = found
        .into_iter()
        .filter(|finding| finding.level == Level::Fail)
        .filter(|finding| !config.allow.iter().any(|name| name == finding.name))
        .collect();
    if !refused.is_empty() {
        return Err(Error::NotFit(refused));
    }
    let blocking = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&place.dir).map_err(|source| Error::CreateData {
            path: place.dir.clone(),
            source,
        })?;
        Ok(Lock::acquire(&place.dir, &info)?)
    });
    blocking.await.map_err(failed)?
}
