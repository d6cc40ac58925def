//! One client: sends a command, waits for its reply.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;

use crate::peers::redis::resp::{Reply, encode, parse};

/// Room for the largest value of the benches and more.
pub(crate) const ROOM: usize = 256 * 1024;
/// A server that says nothing for so long has been asked in vain.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Connection {
    stream: TcpStream,
    output: Vec<u8>,
    input: Vec<u8>,
    /// Where in `input` the bytes lie that nobody has seen.
    unseen: std::ops::Range<usize>,
}

impl Connection {
    pub(crate) fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            output: Vec::with_capacity(ROOM),
            input: vec![0; ROOM],
            unseen: 0..0,
        })
    }

    /// Sends a command; the reply to it.
    pub(crate) fn call(&mut self, words: &[&[u8]]) -> anyhow::Result<Reply<'_>> {
        self.output.clear();
        encode(words, &mut self.output);
        self.stream.write_all(&self.output)?;
        self.receive()
    }

    /// Sends a command of which only an error would be news.
    pub(crate) fn done(&mut self, words: &[&[u8]]) -> anyhow::Result<()> {
        self.call(words)?.check()
    }

    /// The next reply, or message to a subscriber.
    pub(crate) fn receive(&mut self) -> anyhow::Result<Reply<'_>> {
        loop {
            let here = &self.input[self.unseen.clone()];
            if let Some(length) = parse(here)?.map(|(_, length)| length) {
                let start = self.unseen.start;
                self.unseen.start += length;
                // Twice, as the borrow checker would have it; it is cheap.
                let (reply, _) = parse(&self.input[start..])?.context("a reply that was there")?;
                return Ok(reply);
            }
            self.input.copy_within(self.unseen.clone(), 0);
            self.unseen = 0..self.unseen.len();
            anyhow::ensure!(self.unseen.end < self.input.len(), "a reply too long");
            let read = self.stream.read(&mut self.input[self.unseen.end..])?;
            anyhow::ensure!(read > 0, "redis has gone");
            self.unseen.end += read;
        }
    }
}
