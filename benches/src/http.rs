//! The least HTTP client: one request, one connection.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// A loopback port that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// The status of `GET /`.
pub(crate) fn get(port: u16, timeout: Duration) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let status = std::str::from_utf8(&answer)
        .ok()
        .and_then(|text| text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    status.ok_or(std::io::ErrorKind::InvalidData.into())
}

/// Asks again and again, from now on, until the answer is 200.
pub(crate) fn wait_for_200(
    port: u16,
    timeout: Duration,
    mut lives: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let answer = get(port, timeout);
        if matches!(answer, Ok(200)) {
            return Ok(());
        }
        anyhow::ensure!(lives(), "the server on port {port} has ended");
        anyhow::ensure!(
            Instant::now() < deadline,
            "no answer 200 on port {port} within {timeout:?}, last was {answer:?}"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
}
