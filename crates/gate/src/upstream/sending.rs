//! A request on its way into a connection to the app: its head, then its body
//! as it comes.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use hyper::body::Body;

use super::stream::AppStream;
use crate::request_body::{BodyFault, RequestBody};

/// Bytes of a body that are taken from the client before they are written.
const AHEAD_MAX: usize = 64 << 10;
/// Parts that go into one write.
const PARTS_MAX: usize = 16;
/// A proof that the app did not read a request is believed only if it was there
/// within this time after the look that found the connection open. A closed
/// socket answers data within the write itself; a program that closes its
/// sending side only, reads and then resets needs more time.
const PROOF_TIME_MAX: Duration = Duration::from_micros(200);

/// A request that is being sent.
pub(crate) struct Sending {
    /// What is left of the head.
    head: Bytes,
    /// Parts of the body, framed, that come after the head.
    parts: VecDeque<Bytes>,
    body: RequestBody,
    chunked: bool,
    /// Nothing comes after `parts`.
    ended: bool,
    /// The kernel has taken a part of it.
    written: bool,
    /// After the first write, ask whether the app cannot have read it: the time
    /// of the look before.
    looked: Option<Instant>,
}

/// Why sending stopped.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The app has read nothing of it.
    Unread(io::Error),
    /// The connection broke; it is not known what the app has read.
    Cut,
    /// The client's body is at fault.
    Body(BodyFault),
}

impl Sending {
    pub(crate) fn new(head: Bytes, body: RequestBody, chunked: bool) -> Self {
        Self {
            head,
            parts: VecDeque::new(),
            ended: false,
            body,
            chunked,
            written: false,
            looked: None,
        }
    }

    /// The connection was used before, and found open when it was `looked` at.
    /// If the app closes it now, ask whether it cannot have read the request.
    pub(crate) fn want_proof(&mut self, looked: Instant) {
        self.looked = Some(looked);
    }

    /// Nothing of it was given to a kernel, or the app has not read it: it can
    /// be sent on another connection.
    pub(crate) fn is_whole(&self) -> bool {
        !self.written
    }

    /// Sends as much as goes now; ready when all was sent.
    pub(crate) fn poll(
        &mut self,
        stream: &AppStream,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        loop {
            let body = self.fill(context);
            if let Poll::Ready(Err(fault)) = body {
                return Poll::Ready(Err(SendError::Body(fault)));
            }
            if self.head.is_empty() && self.parts.is_empty() {
                return body.map(|_| Ok(()));
            }
            ready!(self.write(stream, context))?;
        }
    }

    /// Takes parts of the body, as long as there are few; ready at its end.
    fn fill(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyFault>> {
        let mut bytes: usize = self.parts.iter().map(Bytes::len).sum();
        while !self.ended && bytes < AHEAD_MAX {
            if self.body.is_end_stream() {
                self.end();
                break;
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => self.end(),
                Some(Err(_)) => {
                    let fault = self.body.upload().fault();
                    return Poll::Ready(Err(fault.unwrap_or(BodyFault::Malformed)));
                }
                Some(Ok(frame)) => {
                    // Trailers are not passed on; an empty chunk would end the body.
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        bytes += data.len();
                        self.push(data);
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn push(&mut self, data: Bytes) {
        if self.chunked {
            self.parts.push_back(format!("{:x}\r\n", data.len()).into());
            self.parts.push_back(data);
            self.parts.push_back(Bytes::from_static(b"\r\n"));
        } else {
            self.parts.push_back(data);
        }
    }

    fn end(&mut self) {
        self.ended = true;
        if self.chunked {
            self.parts.push_back(Bytes::from_static(b"0\r\n\r\n"));
        }
    }

    fn write(
        &mut self,
        stream: &AppStream,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        let all = std::iter::once(&self.head).chain(&self.parts);
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(all.filter(|part| !part.is_empty())) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        let slices = slices.get(..count).unwrap_or_default();
        match ready!(stream.poll_write(context, slices)) {
            Ok(0) => Poll::Ready(Err(self.failed(io::ErrorKind::WriteZero.into()))),
            Ok(bytes) => {
                if let Some(looked) = self.looked.take()
                    && stream.cannot_have_been_read(bytes)
                    && looked.elapsed() <= PROOF_TIME_MAX
                {
                    // Still whole: nothing was taken out of it yet.
                    let error = io::ErrorKind::BrokenPipe.into();
                    return Poll::Ready(Err(SendError::Unread(error)));
                }
                self.written = true;
                self.advance(bytes);
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(self.failed(error))),
        }
    }

    fn failed(&self, error: io::Error) -> SendError {
        match self.written {
            // A failed write has taken nothing.
            false => SendError::Unread(error),
            true => SendError::Cut,
        }
    }

    fn advance(&mut self, mut bytes: usize) {
        let of_head = bytes.min(self.head.len());
        self.head.advance(of_head);
        bytes -= of_head;
        while let Some(part) = self.parts.front_mut() {
            let taken = bytes.min(part.len());
            part.advance(taken);
            bytes -= taken;
            if !part.is_empty() {
                break;
            }
            self.parts.pop_front();
        }
    }
}
