//! What the tests share: the real binary as a process that ends with its test,
//! its log to wait on, directories on a real disk, an HTTP client, and with the
//! feature `s3` a server of object storage that fails on command.
//!
//! Tests wait for signals, a log line or an answer, never for time to pass.
//! Every wait is bounded by [`PATIENCE`] and panics with what it waited for.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod browser;
pub mod child;
mod process;
#[cfg(feature = "s3")]
pub mod s3;
pub mod shop;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use browser::{Answer, Browser};
pub use process::{Outcome, Process};
/// The signals a test may send.
pub use rustix::process::Signal;

/// Longest a test waits for anything: far above what any of it takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The ports that [`free_port`] gives: below those that Linux gives out by itself, which
/// a connection of any test may get meanwhile.
const PORTS: std::ops::Range<u32> = 10_240..32_768;

/// A port that was free a moment ago. No other caller in this process gets it, so that it
/// can be used again.
///
/// # Panics
/// If the machine has none.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in PORTS {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id() * 97;
        let port = PORTS.start + number % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).expect("within the range");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// The workspace's root.
///
/// # Panics
/// Never in a checkout.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("the root").to_path_buf()
}

/// A directory on the disk the checkout is on: `/tmp` may be memory, which
/// the volume check refuses.
///
/// # Panics
/// If it cannot be made.
pub fn disk_dir() -> tempfile::TempDir {
    let base = root().join("target/test-data");
    std::fs::create_dir_all(&base).expect("a place for test data");
    tempfile::tempdir_in(base).expect("a directory for test data")
}

/// Waits until `condition` holds.
///
/// # Panics
/// After [`PATIENCE`], naming `what`.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a test needs and `cargo xtask test` installs: the path in `variable`.
///
/// # Panics
/// If it is not set, naming the command that sets it.
pub fn provided(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => path.into(),
        None => panic!(
            "{variable} is not set: run this test through `cargo xtask test`, which installs what it needs"
        ),
    }
}
