//! Bodies that are counted, cut short and falsified on their way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use s3s::StdError;

use super::traffic::Traffic;
use super::wire::Reset;

/// A request's body, counted.
pub(super) struct Received {
    pub(super) body: Incoming,
    pub(super) traffic: Arc<Traffic>,
    pub(super) request: u64,
}

impl Body for Received {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.traffic.body_in(self.request, bytes as u64);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(StdError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body, counted, and changed if a fault says so.
pub(super) struct Sent {
    pub(super) body: s3s::Body,
    pub(super) traffic: Arc<Traffic>,
    pub(super) request: u64,
    /// Bytes sent so far.
    pub(super) sent: u64,
    /// The byte to falsify.
    pub(super) flip: Option<u64>,
    /// After how many bytes the connection is reset.
    pub(super) cut: Option<(u64, Reset)>,
    /// What was sent before the cut had its chance to leave.
    pub(super) flushed: bool,
}

impl Sent {
    fn changed(&mut self, data: Bytes) -> Bytes {
        let (from, end) = (self.sent, self.sent + data.len() as u64);
        let mut data = data;
        if let Some(flip) = self.flip.filter(|flip| (from..end).contains(flip)) {
            let mut bytes = data.to_vec();
            let at = usize::try_from(flip - from).expect("within the piece");
            bytes[at] ^= 0xff;
            data = bytes.into();
        }
        if let Some((cut, _)) = &self.cut
            && end > *cut
        {
            data.truncate(usize::try_from(cut.saturating_sub(from)).expect("within the piece"));
        }
        self.sent += data.len() as u64;
        self.traffic.body_out(self.request, data.len() as u64);
        data
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        if let Some((cut, reset)) = &self.cut
            && self.sent >= *cut
        {
            if self.flushed {
                reset.set();
                return Poll::Ready(Some(Err("the connection is cut here".into())));
            }
            // Pending once: what was sent so far is flushed before the reset.
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let frame = match frame {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        Poll::Ready(Some(Ok(match frame.into_data() {
            Ok(data) => Frame::data(self.changed(data)),
            Err(frame) => frame,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
