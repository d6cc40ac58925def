//! Many clients on one thread, as `redis-benchmark` has them: on two cores a
//! thread for each would measure the scheduler, not the server.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::peers::redis::connection::ROOM;
use crate::peers::redis::resp::{Reply, parse};

/// What a client says next: its number, the last reply to it, and where to put
/// the command.
pub(crate) trait Say:
    FnMut(usize, Option<&Reply<'_>>, &mut Vec<u8>) -> anyhow::Result<()>
{
}
impl<F: FnMut(usize, Option<&Reply<'_>>, &mut Vec<u8>) -> anyhow::Result<()>> Say for F {}

struct Client {
    output: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
    filled: usize,
}

pub(crate) struct Crowd {
    streams: Vec<TcpStream>,
    clients: Vec<Client>,
}

impl Crowd {
    pub(crate) fn open(port: u16, count: usize) -> anyhow::Result<Self> {
        let mut streams = Vec::new();
        for _ in 0..count {
            let stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            streams.push(stream);
        }
        let clients = (0..count).map(|_| Client {
            output: Vec::with_capacity(ROOM),
            sent: 0,
            input: vec![0; ROOM],
            filled: 0,
        });
        Ok(Self {
            streams,
            clients: clients.collect(),
        })
    }

    /// Replies per second, all clients together, after a short warm-up.
    pub(crate) fn rate(&mut self, time: Duration, mut say: impl Say) -> anyhow::Result<f64> {
        for (number, (client, stream)) in self.clients.iter_mut().zip(&self.streams).enumerate() {
            client.output.clear();
            (client.sent, client.filled) = (0, 0);
            say(number, None, &mut client.output)?;
            client.send(stream)?;
        }
        self.serve(time / 10, &mut say)?;
        self.serve(time, &mut say)
    }

    fn serve(&mut self, time: Duration, say: &mut impl Say) -> anyhow::Result<f64> {
        let Self { streams, clients } = self;
        let started = Instant::now();
        let mut replies = 0_u64;
        let mut waiting: Vec<PollFd<'_>> = streams
            .iter()
            .map(|stream| PollFd::new(stream, PollFlags::IN))
            .collect();
        loop {
            for ((fd, stream), client) in waiting.iter_mut().zip(streams.iter()).zip(&*clients) {
                let unsent = client.sent < client.output.len();
                let flags = if unsent {
                    PollFlags::OUT
                } else {
                    PollFlags::IN
                };
                *fd = PollFd::new(stream, flags);
            }
            poll(&mut waiting, None)?;
            for (number, client) in clients.iter_mut().enumerate() {
                let ready = waiting[number].revents();
                if ready.contains(PollFlags::OUT) {
                    client.send(&streams[number])?;
                } else if !ready.is_empty() && client.hear(&streams[number], number, say)? {
                    replies += 1;
                }
            }
            let passed = started.elapsed();
            if passed >= time {
                return Ok(replies as f64 / passed.as_secs_f64());
            }
        }
    }
}

impl Client {
    /// As much as goes now.
    fn send(&mut self, mut stream: &TcpStream) -> anyhow::Result<()> {
        while self.sent < self.output.len() {
            match stream.write(&self.output[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads; once the reply is whole, sends the next command.
    fn hear(
        &mut self,
        mut stream: &TcpStream,
        number: usize,
        say: &mut impl Say,
    ) -> anyhow::Result<bool> {
        match stream.read(&mut self.input[self.filled..]) {
            Ok(0) => anyhow::bail!("redis has gone"),
            Ok(count) => self.filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let Some((reply, length)) = parse(&self.input[..self.filled])? else {
            return Ok(false);
        };
        anyhow::ensure!(length == self.filled, "redis said more than it was asked");
        reply.check()?;
        self.output.clear();
        say(number, Some(&reply), &mut self.output)?;
        (self.sent, self.filled) = (0, 0);
        self.send(stream)?;
        Ok(true)
    }
}
