//! The least app: tells when it began and when it listened, and answers 200.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::clock::monotonic_ns;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    dir: PathBuf,
}

/// When the app was entered and when it listened, in `CLOCK_MONOTONIC`
/// nanoseconds.
pub(crate) struct Times {
    pub(crate) entered_ns: u64,
    pub(crate) listening_ns: u64,
}

impl Times {
    /// What the app running in `dir` has told.
    pub(crate) fn read(dir: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(dir.join("app.times"))?;
        let (entered, listening) = text.split_once(' ').context("half a file")?;
        Ok(Self {
            entered_ns: entered.parse()?,
            listening_ns: listening.parse()?,
        })
    }
}

/// Where the app tells its process id.
pub(crate) fn pid_file(dir: &Path) -> PathBuf {
    dir.join("app.pid")
}

pub(crate) fn run(arguments: &Arguments, entered_ns: u64) -> anyhow::Result<()> {
    let port: u16 = std::env::var("PORT").context("PORT is not set")?.parse()?;
    let dir = &arguments.dir;
    std::fs::write(pid_file(dir), std::process::id().to_string())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let listening_ns = monotonic_ns();
    std::fs::write(
        dir.join("app.times"),
        format!("{entered_ns} {listening_ns}"),
    )?;
    for stream in listener.incoming() {
        let stream = stream?;
        std::thread::spawn(move || answer(stream));
    }
    Ok(())
}

/// Answers every head on this connection; bodies are not expected.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        head.extend_from_slice(&buffer[..read]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
        }
    }
}
