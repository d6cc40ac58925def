//! The public port: accepted from the start on, so that requests wait while the rest starts.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use monolite_supervisor::{Error, Run, Service, Started};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;

/// Connections that the kernel holds before they are accepted.
const BACKLOG: u32 = 4096;
/// How long a port that is in use is tried: the socket of a process that was killed goes a moment
/// after it.
const IN_USE_WAIT_MAX: Duration = Duration::from_secs(1);
const IN_USE_PAUSE: Duration = Duration::from_millis(20);

pub(crate) struct GateService {
    pub(crate) address: SocketAddr,
}

/// Why the port cannot be listened on.
#[derive(Debug, thiserror::Error)]
enum ListenError {
    #[error("port {} is in use on {}: stop what listens there, or choose another with --port", .0.port(), .0.ip())]
    InUse(SocketAddr),
    #[error("cannot listen on {0}: {1}")]
    Io(SocketAddr, io::Error),
}

#[async_trait(?Send)]
impl Service for GateService {
    fn name(&self) -> &'static str {
        "gate"
    }

    async fn start(&mut self, run: &mut Run) -> Result<Started, Error> {
        let until = Instant::now() + IN_USE_WAIT_MAX;
        let listener = loop {
            match listen(self.address) {
                Err(ListenError::InUse(_)) if Instant::now() < until => {
                    tokio::time::sleep(IN_USE_PAUSE).await;
                }
                listened => break listened.map_err(|error| Error::service("gate", error))?,
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let serving = run.gate().clone().serve_on_threads(listener, cores);
        tokio::spawn(serving.map_err(|source| Error::Io {
            what: "start the threads of the gate",
            source,
        })?);
        tracing::info!(address = %self.address, "listening; requests wait until the app is healthy");
        Ok(Started::Yes)
    }

    // The supervisor closes the gate before it stops the app: nothing is left to stop.
}

fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let bind = || {
        let socket = match address.is_ipv4() {
            true => TcpSocket::new_v4()?,
            false => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        _ => ListenError::Io(address, error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named_with_what_to_do() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let error = listen(address).unwrap_err().to_string();
        let expected = format!("port {} is in use on 127.0.0.1: stop", address.port());
        assert!(error.starts_with(&expected), "{error}");
        let elsewhere = listen("192.0.2.1:80".parse().unwrap()).unwrap_err();
        assert!(
            elsewhere
                .to_string()
                .starts_with("cannot listen on 192.0.2.1:80: ")
        );
    }
}
