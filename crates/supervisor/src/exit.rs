//! How a process ended.

use std::fmt;

use rustix::process::WaitStatus;

/// An exit code, or the signal that killed the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited by itself.
    Code(u8),
    /// It was killed.
    Signal(u8),
}

impl Exit {
    pub(crate) fn from_wait(status: WaitStatus) -> Option<Self> {
        let byte = |n: i32| u8::try_from(n).unwrap_or(u8::MAX);
        if let Some(code) = status.exit_status() {
            return Some(Self::Code(byte(code)));
        }
        status.terminating_signal().map(|n| Self::Signal(byte(n)))
    }

    /// As a shell reports it: 128 and the number of the signal.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128_u8.saturating_add(signal),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(9) => write!(f, "was killed by signal 9 (out of memory, perhaps)"),
            Self::Signal(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}
