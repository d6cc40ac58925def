//! The PROXY protocol, versions 1 and 2: a header before the first byte of a
//! connection with which a TCP load balancer names its client.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest wait for all of the header.
pub(crate) const HEADER_TIME_MAX: Duration = Duration::from_secs(5);

/// Longest line of version 1, its end included.
const LINE_MAX: usize = 107;
/// Longest part of version 2 after its first 16 bytes; what is more than the
/// addresses is skipped.
const EXTENSIONS_MAX: usize = 4 << 10;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Takes the header off `stream`, not a byte more. `None` if it names nobody: the load
/// balancer's own checks, or a protocol without addresses.
///
/// # Errors
/// It is no such header, or the connection ended.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    // Both versions are longer than the signature of the second.
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    match &start == SIGNATURE {
        true => read_binary(stream).await,
        false => read_line(stream, &start).await,
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

async fn read_line(
    stream: &mut (impl AsyncRead + Unpin),
    start: &[u8],
) -> io::Result<Option<SocketAddr>> {
    let mut line = start.to_vec();
    if !line.starts_with(b"PROXY ") {
        return Err(malformed("it does not begin with a PROXY protocol header"));
    }
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE_MAX {
            return Err(malformed("its PROXY line is too long"));
        }
        // Byte by byte: the next one may be the request's.
        line.push(stream.read_u8().await?);
    }
    parse_line(&line).ok_or_else(|| malformed("its PROXY line is malformed"))
}

/// `None` if it is malformed.
#[allow(clippy::option_option)]
fn parse_line(line: &[u8]) -> Option<Option<SocketAddr>> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let (source, destination) = (words.next()?, words.next()?);
    let (port, destination_port) = (words.next()?, words.next()?);
    let is_rest_right = words.next().is_none()
        && destination.parse::<IpAddr>().is_ok()
        && destination_port.parse::<u16>().is_ok();
    let source: IpAddr = source.parse().ok()?;
    let is_family_right = matches!(
        (family, source),
        ("TCP4", IpAddr::V4(_)) | ("TCP6", IpAddr::V6(_))
    );
    let port = port.parse().ok()?;
    (is_rest_right && is_family_right).then(|| Some(SocketAddr::new(source, port)))
}

async fn read_binary(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let (version_and_command, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let length = usize::from(stream.read_u16().await?);
    if version_and_command >> 4 != 2 {
        return Err(malformed("its PROXY header is of an unknown version"));
    }
    if length > EXTENSIONS_MAX {
        return Err(malformed("its PROXY header is too long"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    let is_local = match version_and_command & 0xf {
        0 => true,
        1 => false,
        _ => return Err(malformed("its PROXY header has an unknown command")),
    };
    // TCP over IPv4, TCP over IPv6.
    let source = match family {
        _ if is_local => return Ok(None),
        0x11 => address::<4>(&rest).map(|(ip, port)| (Ipv4Addr::from(ip).into(), port)),
        0x21 => address::<16>(&rest).map(|(ip, port)| (Ipv6Addr::from(ip).into(), port)),
        _ => return Ok(None),
    };
    let (ip, port): (IpAddr, u16) =
        source.ok_or_else(|| malformed("its PROXY header is too short"))?;
    Ok(Some(SocketAddr::new(ip, port)))
}

/// The source: source and destination addresses, then their ports.
fn address<const BYTES: usize>(rest: &[u8]) -> Option<([u8; BYTES], u16)> {
    let source = rest.first_chunk()?;
    let ports = rest.get(2 * BYTES..)?;
    // Both ports are there.
    let (port, _) = ports.first_chunk::<4>()?.split_first_chunk()?;
    Some((*source, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The address, and what is left for HTTP.
    fn read_of(bytes: &[u8]) -> io::Result<(Option<SocketAddr>, usize)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut stream = bytes;
            let address = read(&mut stream).await?;
            Ok((address, stream.len()))
        })
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes.extend(b"GET ");
        bytes
    }

    #[test]
    fn both_versions_name_the_client() {
        for (line, address) in [
            (
                "PROXY TCP4 203.0.113.9 10.0.0.1 4711 80\r\n",
                Some("203.0.113.9:4711"),
            ),
            (
                "PROXY TCP6 2001:db8::7 ::1 4711 443\r\n",
                Some("[2001:db8::7]:4711"),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            let (read, left) = read_of(format!("{line}GET ").as_bytes()).unwrap();
            assert_eq!(read, address.map(|a| a.parse().unwrap()), "{line}");
            assert_eq!(left, 4);
        }
        let four = [203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x67, 0, 80];
        let client: SocketAddr = "203.0.113.9:4711".parse().unwrap();
        assert_eq!(read_of(&binary(1, 0x11, &four)).unwrap(), (Some(client), 4));
        let mut extended = four.to_vec();
        extended.extend([0x03, 0, 4, 1, 2, 3, 4]);
        assert_eq!(
            read_of(&binary(1, 0x11, &extended)).unwrap(),
            (Some(client), 4)
        );
        let mut six = [0u8; 36];
        six[..2].copy_from_slice(&[0x20, 1]);
        six[33] = 9;
        let client: SocketAddr = "[2001::]:9".parse().unwrap();
        assert_eq!(read_of(&binary(1, 0x21, &six)).unwrap(), (Some(client), 4));
        // A check of the load balancer's own, and a Unix socket.
        assert_eq!(read_of(&binary(0, 0, &[])).unwrap(), (None, 4));
        assert_eq!(read_of(&binary(1, 0x31, &[0; 216])).unwrap(), (None, 4));
    }

    #[test]
    fn what_is_no_header_is_an_error() {
        for wrong in [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY TCP4 203.0.113.9 10.0.0.1 4711\r\n",
            "PROXY TCP4 203.0.113.9 10.0.0.1 4711 80 x\r\n",
            "PROXY TCP4 2001:db8::7 ::1 4711 80\r\n",
            "PROXY TCP6 203.0.113.9 10.0.0.1 4711 80\r\n",
            "PROXY TCP4 203.0.113.9 10.0.0.1 99999 80\r\n",
            "PROXY TCP5 203.0.113.9 10.0.0.1 4711 80\r\n",
            "PROXY  TCP4 203.0.113.9\r\n",
            "proxy TCP4 203.0.113.9 10.0.0.1 4711 80\r\n",
        ] {
            assert!(read_of(wrong.as_bytes()).is_err(), "{wrong}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_MAX));
        assert!(read_of(long.as_bytes()).is_err());
        assert!(read_of(&binary(1, 0x11, &[0; 11])).is_err());
        assert!(read_of(&binary(2, 0x11, &[0; 12])).is_err());
        assert!(read_of(&binary(1, 0x11, &[0; EXTENSIONS_MAX + 1])).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, command: u8, family: u8) {
            let _ = read_of(&bytes);
            let _ = read_of(&binary(command & 0xf, family, &bytes));
            let _ = read_of(&[b"PROXY ", &bytes[..]].concat());
        }
    }
}
