//! One connection to the app. It has no task of its own: the task that waits on
//! it moves its bytes, which saves two wake-ups across threads for every
//! request.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use super::body_decoder::{BodyDecoder, Piece};
use super::not_http::NotHttp;
use super::response_head::{self, Asked, ResponseHead};
use super::sending::{SendError, Sending};
use super::stream::{AppStream, Closing};
use crate::request_body::BodyFault;

/// Bytes that a connection has space for when it is made.
const BUFFER_START: usize = 8 << 10;
/// Bytes that one read of a body takes, at most.
const BUFFER_MAX: usize = 64 << 10;
/// Pieces of a body up to this size are copied, so that the buffer stays.
const COPIED_MAX: usize = 4 << 10;

pub(crate) struct Connection {
    stream: AppStream,
    buffer: BytesMut,
    /// What is still to be sent of the request, while its response may come.
    sending: Option<Sending>,
    /// A part of the request was never sent: no other may follow it.
    cut: bool,
    /// It has carried a request before, so the app may be closing it now.
    pub(crate) reused: bool,
    /// When it was last looked whether the app had closed it.
    pub(crate) looked: Option<Instant>,
}

/// Why a request has no answer.
pub(crate) enum ExchangeError {
    /// The app has read nothing of the request, which comes back.
    Unread(Box<Sending>, io::Error),
    /// The connection ended without an answer.
    Broken(io::Error),
    NotHttp(NotHttp),
    /// The client's body is at fault.
    Body(BodyFault),
}

impl Connection {
    pub(crate) fn new(stream: AppStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            sending: None,
            cut: false,
            reused: false,
            looked: None,
        }
    }

    /// True if it can carry a request that may be sent again: the app has
    /// neither closed it nor sent what nobody asked for, as far as is known.
    pub(crate) fn seems_usable(&self) -> bool {
        self.is_clean() && self.stream.seems_quiet()
    }

    /// The same, for a request that must not be sent twice: asks the kernel.
    pub(crate) fn is_usable(&mut self) -> bool {
        self.looked = Some(Instant::now());
        self.is_clean() && self.stream.is_quiet()
    }

    #[cfg(test)]
    pub(crate) fn is_quiet(&self) -> bool {
        self.stream.is_quiet()
    }

    /// See [`AppStream::move_here`].
    pub(crate) fn move_here(self) -> io::Result<Self> {
        let stream = self.stream.move_here()?;
        Ok(Self { stream, ..self })
    }

    /// See [`AppStream::closing`].
    pub(crate) fn closing(self) -> Option<Closing> {
        self.stream.closing()
    }

    /// Sends a request and waits for the head of its response.
    pub(crate) async fn exchange(
        &mut self,
        request: Sending,
        asked: Asked,
    ) -> Result<ResponseHead, ExchangeError> {
        self.sending = Some(request);
        poll_fn(|context| {
            if let Poll::Ready(Err(error)) = self.send(context) {
                match error {
                    SendError::Body(fault) => {
                        return Poll::Ready(Err(ExchangeError::Body(fault)));
                    }
                    SendError::Unread(error) => {
                        if let Some(sending) = self.sending.take() {
                            return Poll::Ready(Err(ExchangeError::Unread(
                                Box::new(sending),
                                error,
                            )));
                        }
                    }
                    // The app may have answered before it closed.
                    SendError::Cut => {}
                }
            }
            loop {
                match response_head::parse(&mut self.buffer, asked) {
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(ExchangeError::NotHttp(error))),
                }
                match ready!(self.poll_read(context)) {
                    Ok(0) if self.buffer.is_empty() => {
                        let error = io::ErrorKind::UnexpectedEof.into();
                        return Poll::Ready(Err(ExchangeError::Broken(error)));
                    }
                    Ok(0) => {
                        let error = NotHttp("it ends within its head");
                        return Poll::Ready(Err(ExchangeError::NotHttp(error)));
                    }
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Err(ExchangeError::Broken(error))),
                }
            }
        })
        .await
    }

    /// Sends what is left of the request. An error is returned once.
    fn send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let Some(sending) = &mut self.sending else {
            return Poll::Ready(Ok(()));
        };
        let sent = ready!(sending.poll(&self.stream, context));
        match &sent {
            Err(SendError::Unread(_)) if sending.is_whole() => {}
            sent => {
                self.cut |= sent.is_err();
                self.sending = None;
            }
        }
        Poll::Ready(sent)
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() == self.buffer.len() {
            let more = self.buffer.capacity().clamp(BUFFER_START, BUFFER_MAX);
            self.buffer.reserve(more);
        }
        self.stream.poll_read(context, &mut self.buffer)
    }

    /// The next piece of the response's body; `None` at its end. Sends the rest
    /// of the request meanwhile.
    pub(crate) fn poll_body(
        &mut self,
        body: &mut BodyDecoder,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        // What the app does not want to read is no error of its response.
        let _ = self.send(context);
        loop {
            if let Some(piece) = self.next_piece(body) {
                return Poll::Ready(piece.transpose());
            }
            match ready!(self.poll_read(context)) {
                Ok(0) => {
                    return Poll::Ready(match body.closed() {
                        Ok(()) => None,
                        Err(error) => Some(Err(io::Error::other(error))),
                    });
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// What was read already of the body: `None` if nothing, `Some(Ok(None))`
    /// at its end.
    pub(crate) fn next_piece(
        &mut self,
        body: &mut BodyDecoder,
    ) -> Option<Result<Option<Bytes>, io::Error>> {
        if let BodyDecoder::Length(left) = body
            && self.buffer.len() as u64 >= *left
            && *left > 0
            && *left <= COPIED_MAX as u64
        {
            // The usual small answer: the buffer stays as it is.
            let length = usize::try_from(*left).unwrap_or_default();
            let copy = Bytes::copy_from_slice(self.buffer.get(..length).unwrap_or_default());
            self.buffer.advance(length);
            *body = BodyDecoder::Done;
            return Some(Ok(Some(copy)));
        }
        match body.next(&mut self.buffer) {
            Ok(Piece::Data(data)) => Some(Ok(Some(data))),
            Ok(Piece::End) => Some(Ok(None)),
            Ok(Piece::Missing) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        }
    }

    /// True if the body has ended, as far as what was read already shows.
    pub(crate) fn is_at_end(&mut self, body: &mut BodyDecoder) -> bool {
        // An error shows again when the next piece is asked for.
        let _ = body.settle(&mut self.buffer);
        body.is_done()
    }

    /// True if nothing of the last request and its response is left on it.
    pub(crate) fn is_clean(&self) -> bool {
        self.buffer.is_empty() && !self.cut && self.sending.is_none()
    }

    /// Gives the buffer back, for the time nothing is on the connection.
    pub(crate) fn rest(&mut self) {
        if self.buffer.capacity() > BUFFER_START {
            self.buffer = BytesMut::new();
        }
    }

    /// For a tunnel: the socket, and what was read from it already.
    pub(crate) fn into_parts(self) -> (AppStream, Bytes) {
        (self.stream, self.buffer.freeze())
    }
}
