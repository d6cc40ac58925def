//! What processes listen on, as `/proc` shows it.
//!
//! Nothing is connected to and nothing but files of `/proc` is opened. The sockets are those of this
//! process's own network: one that has another is not seen.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::process::{self, Pid};

/// Where a process accepts connections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listener {
    /// On a TCP port.
    Tcp(SocketAddr),
    /// On a Unix socket that has this path, as the process wrote it.
    Unix(PathBuf),
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            // The path is the program's own.
            Self::Unix(path) => write!(f, "the Unix socket {:?}", path.display().to_string()),
        }
    }
}

/// What any of `pids` listens on, sorted, each once. Processes that have ended, or that this one
/// may not look at, listen on nothing.
///
/// # Errors
/// There is no `/proc`.
pub fn of(pids: &[Pid]) -> io::Result<Vec<Listener>> {
    let sockets = sockets()?;
    let mut found: Vec<Listener> = pids
        .iter()
        .filter_map(|pid| process::open_files(*pid).ok())
        .flatten()
        .filter_map(|file| {
            let target = file.path().to_str()?;
            let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
            sockets.get(&inode.parse::<u64>().ok()?).cloned()
        })
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// All that is listened on, by the number of the socket.
fn sockets() -> io::Result<BTreeMap<u64, Listener>> {
    let mut all = BTreeMap::new();
    all.extend(read("/proc/self/net/tcp")?.lines().filter_map(tcp));
    // Where the kernel has no IPv6, there is no such file.
    all.extend(
        read("/proc/self/net/tcp6")
            .unwrap_or_default()
            .lines()
            .filter_map(tcp),
    );
    all.extend(
        read("/proc/self/net/unix")
            .unwrap_or_default()
            .lines()
            .filter_map(unix),
    );
    Ok(all)
}

fn read(path: &str) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
}

/// `SLOT: ADDRESS:PORT PEER:PORT STATE QUEUES TIMER RETRANSMITS UID TIMEOUT INODE …`, in
/// hexadecimal but for the last ones.
fn tcp(line: &str) -> Option<(u64, Listener)> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let address = SocketAddr::new(ip(address)?, u16::from_str_radix(port, 16).ok()?);
    Some((fields.get(9)?.parse().ok()?, Listener::Tcp(address)))
}

/// Each 32 bits of the address as a number in this machine's byte order.
fn ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            let bytes: [u8; 16] = words.try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// `NUMBER: REFERENCES PROTOCOL FLAGS TYPE STATE INODE PATH`.
fn unix(line: &str) -> Option<(u64, Listener)> {
    const ACCEPTS: u32 = 1 << 16;
    let fields: Vec<&str> = line.split_whitespace().collect();
    let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
    let (inode, path) = (fields.get(6)?.parse().ok()?, *fields.get(7)?);
    // A path with a space in it is shown to its first one; a name that begins with `@` is no path.
    let is_path = flags & ACCEPTS != 0 && !path.starts_with('@');
    is_path.then(|| (inode, Listener::Unix(path.into())))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn this_process_listens_on_what_it_has_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let v4 = TcpListener::bind("127.0.0.1:0").unwrap();
        let v6 = TcpListener::bind("[::1]:0").ok();
        let _unix = UnixListener::bind(&path).unwrap();
        // A connection is not listened on.
        let client = std::net::TcpStream::connect(v4.local_addr().unwrap()).unwrap();
        let own = rustix::process::getpid();
        let found = of(&[own]).unwrap();
        assert!(
            found.contains(&Listener::Tcp(v4.local_addr().unwrap())),
            "{found:?}"
        );
        assert!(found.contains(&Listener::Unix(path)), "{found:?}");
        assert!(!found.contains(&Listener::Tcp(client.local_addr().unwrap())));
        if let Some(v6) = v6 {
            assert!(
                found.contains(&Listener::Tcp(v6.local_addr().unwrap())),
                "{found:?}"
            );
        }
        assert!(found.is_sorted());
        assert_eq!(of(&[]).unwrap(), []);
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        for line in [
            "  sl  local_address rem_address   st tx_queue",
            "",
            "0: 0100007F:1F90 00000000:0000 01 0:0 0:0 0 0 0 77",
            "0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0",
            "0: 01007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 77",
            "0: 0100007F:1F90F 00000000:0000 0A 0:0 0:0 0 0 0 77",
        ] {
            assert_eq!(tcp(line), None, "{line}");
        }
        for line in [
            "Num RefCount Protocol Flags Type St Inode Path",
            "00: 00000002 00000000 00000000 0001 01 77 /not/listening",
            "00: 00000002 00000000 00010000 0001 01 77",
            "00: 00000002 00000000 00010000 0001 01 77 @abstract",
        ] {
            assert_eq!(unix(line), None, "{line}");
        }
        let line = "00: 00000002 00000000 00010000 0001 01    77 /a.sock";
        assert_eq!(unix(line), Some((77, Listener::Unix("/a.sock".into()))));
    }

    #[test]
    fn addresses_are_read_in_the_machines_order() {
        let line = |address: &str| format!("0: {address}:1F90 0:0 0A 0:0 0:0 0 0 0 77");
        let text = |address: &str| tcp(&line(address)).map(|(_, listener)| listener.to_string());
        if cfg!(target_endian = "little") {
            assert_eq!(text("0100007F").as_deref(), Some("127.0.0.1:8080"));
            let loopback = "00000000000000000000000001000000";
            assert_eq!(text(loopback).as_deref(), Some("[::1]:8080"));
        }
        assert_eq!(text("00000000").as_deref(), Some("0.0.0.0:8080"));
    }
}
