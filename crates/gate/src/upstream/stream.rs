//! The socket of one connection to the app, TCP or Unix, and what the kernel
//! can prove of the bytes that were written to it.
//!
//! # When a request that changes something may be sent again
//! A kept connection may be closed by the app just as the next request is
//! written to it. The request may be sent again only if the app cannot have
//! read it. Two facts prove that:
//!
//! - The kernel took no byte of it: the first write failed.
//! - The app had closed its socket before the request arrived there
//!   ([`AppStream::cannot_have_been_read`]).
//!
//! Neither "nothing was acknowledged" nor "the connection was reset" is a proof:
//! an app that reads a request and then dies leaves the same traces, because its
//! reset overtakes the acknowledgement of what it had read.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::{TcpStream, UnixStream};

/// The app is on this machine: a connect that takes longer is a stuck app.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Where an app listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppAddress {
    /// An address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl From<SocketAddr> for AppAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<PathBuf> for AppAddress {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl fmt::Display for AppAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "port {}", address.port()),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

pub(crate) enum AppStream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The same expression for both kinds.
macro_rules! either {
    ($self:expr, $stream:ident => $expression:expr) => {
        match $self {
            AppStream::Tcp($stream) => $expression,
            AppStream::Unix($stream) => $expression,
        }
    };
}

impl AppStream {
    pub(crate) async fn connect(address: &AppAddress) -> io::Result<Self> {
        let connect = async {
            Ok(match address {
                AppAddress::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Self::Tcp(stream)
                }
                AppAddress::Unix(path) => Self::Unix(UnixStream::connect(path).await?),
            })
        };
        tokio::time::timeout(CONNECT_TIME_MAX, connect).await?
    }

    /// Appends what can be read to `buffer`, which has capacity for it; 0 is the
    /// end.
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        // It keeps nothing from one poll to the next.
        either!(self, stream => std::pin::pin!(stream.read_buf(buffer)).poll(context))
    }

    pub(crate) fn poll_write(
        &self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match either!(self, stream => stream.try_write_vectored(parts)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(either!(self, stream => stream.poll_write_ready(context)))?;
                }
                written => return Poll::Ready(written),
            }
        }
    }

    /// True if the app has sent nothing and not closed its side, as far as the
    /// reactor knows.
    pub(crate) fn seems_quiet(&self) -> bool {
        self.look(false)
    }

    /// True if the app has sent nothing and not closed its side. Asks the
    /// kernel, since the reactor may not know yet.
    pub(crate) fn is_quiet(&self) -> bool {
        self.look(true)
    }

    fn look(&self, asks_kernel: bool) -> bool {
        let peek = || {
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            rustix::net::recv(self.as_fd(), &mut [0; 1][..], flags)
                .map(drop)
                .map_err(io::Error::from)
        };
        // Through the reactor, so that it forgets a readiness that is over. If
        // it knows of none, it does not call the closure.
        let mut asked = false;
        let peek_once = || {
            asked = true;
            peek()
        };
        let mut answer = either!(self, stream => stream.try_io(Interest::READABLE, peek_once));
        if asks_kernel && !asked {
            answer = peek();
        }
        matches!(answer, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// The same socket, woken by the reactor of this thread from now on.
    pub(crate) fn move_here(self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(TcpStream::from_std(stream.into_std()?)?),
            Self::Unix(stream) => Self::Unix(UnixStream::from_std(stream.into_std()?)?),
        })
    }

    /// True if the app read none of the last `bytes` that were written, because
    /// it had closed its socket before they came:
    ///
    /// - `SO_ERROR` is `EPIPE`: the app's end of stream came first, then the
    ///   reset with which the kernel of a closed socket answers data;
    /// - and none of the bytes is acknowledged, which the end of stream would do
    ///   for all that its socket had taken by then.
    ///
    /// To be asked once, right after the write: `SO_ERROR` is cleared by the
    /// question. An app that only shuts down its sending side, reads on and then
    /// resets leaves the same traces a moment later: the proof counts only for
    /// apps that are known to close their sockets whole, see
    /// `Upstream::proves`.
    #[cfg(target_os = "linux")]
    pub(crate) fn cannot_have_been_read(&self, bytes: usize) -> bool {
        let Self::Tcp(stream) = self else {
            return false;
        };
        let error = rustix::net::sockopt::socket_error(stream);
        error == Ok(Err(rustix::io::Errno::PIPE))
            && unacknowledged(stream).is_ok_and(|unacknowledged| unacknowledged >= bytes)
    }

    /// Elsewhere nothing is known.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn cannot_have_been_read(&self, _bytes: usize) -> bool {
        false
    }

    /// How the app closed the connection, whose end of stream is here: asks by
    /// sending it a line end, which servers skip before a request (RFC 9112
    /// §2.2). Ends the connection. `None` if that does not show.
    pub(crate) fn closing(self) -> Option<Closing> {
        let Self::Tcp(stream) = self else {
            return None;
        };
        match rustix::net::send(&stream, b"\r\n", SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            // It was reset before.
            Err(rustix::io::Errno::PIPE) => Some(Closing::Whole),
            Err(_) => None,
            Ok(_) => match rustix::net::sockopt::socket_error(&stream) {
                Ok(Err(rustix::io::Errno::PIPE)) => Some(Closing::Whole),
                Ok(Ok(())) => Some(Closing::Half),
                _ => None,
            },
        }
    }
}

/// How an app closes an idle connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Its socket takes no more bytes.
    Whole,
    /// It has only shut down its sending side, and may read on.
    Half,
}

/// The bytes on `stream` that its peer has not acknowledged (`SIOCOUTQ`). A
/// reset leaves the number as it was.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn unacknowledged(stream: &TcpStream) -> io::Result<usize> {
    use rustix::ioctl;
    /// `SIOCOUTQ` of linux/sockios.h, which has the number of `TIOCOUTQ`.
    const SIOCOUTQ: ioctl::Opcode = 0x5411;
    // SAFETY: SIOCOUTQ writes one int, to where the getter points.
    let bytes: std::ffi::c_int = unsafe {
        let getter = ioctl::Getter::<SIOCOUTQ, std::ffi::c_int>::new();
        ioctl::ioctl(stream, getter)?
    };
    usize::try_from(bytes).map_err(io::Error::other)
}

impl AsFd for AppStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, stream => stream.as_fd())
    }
}
