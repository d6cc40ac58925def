//! Reads a request's body before the app is asked, so that a slow client keeps
//! no worker of the app waiting: into memory, then into a file.
//!
//! A body whose length is not known is passed on as it comes, because its client
//! may wait for what the app answers meanwhile; [`Config::buffer_unknown`]
//! changes that. What fits neither in memory nor in the file is passed on as it
//! comes, too.
//!
//! [`Config::buffer_unknown`]: crate::Config::buffer_unknown

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming};

use crate::admission::{Admission, HeldRequest};
use crate::error_pages::Refusal;
use crate::request_body::{BodyDeadline, RequestBody};
use crate::spool::Spool;

/// Bytes of one body in memory; more go into a file.
const MEMORY_MAX: usize = 256 << 10;
/// The same where there are no files.
const MEMORY_ALONE_MAX: usize = 1 << 20;
/// Bytes of one body in its file. A longer one is passed on as it comes.
const FILE_MAX: u64 = 2 << 30;

/// Reads `body`, if all of it will fit, or `always` as much as fits.
pub(crate) async fn read(
    admission: &Arc<Admission>,
    held: &mut HeldRequest,
    body: Incoming,
    always: bool,
) -> Result<RequestBody, Refusal> {
    if body.is_end_stream() {
        return Ok(RequestBody::empty());
    }
    let deadline = BodyDeadline::new();
    let length = body.size_hint().exact();
    let length_max = match admission.spool {
        Some(_) => FILE_MAX,
        None => MEMORY_ALONE_MAX as u64,
    };
    let fits = match length {
        Some(length) => length <= length_max,
        None => admission.config.buffer_unknown,
    };
    if !fits && !always {
        return Ok(RequestBody::new(Bytes::new(), None, Some((body, deadline))));
    }
    let reader = Reader {
        body,
        deadline,
        memory: BytesMut::new(),
    };
    reader.read(admission, held).await
}

struct Reader {
    body: Incoming,
    deadline: BodyDeadline,
    memory: BytesMut,
}

impl Reader {
    async fn read(
        mut self,
        admission: &Arc<Admission>,
        held: &mut HeldRequest,
    ) -> Result<RequestBody, Refusal> {
        let memory_max = match admission.spool {
            Some(_) => MEMORY_MAX,
            None => MEMORY_ALONE_MAX,
        };
        while self.memory.len() < memory_max {
            let Some(data) = self.next().await? else {
                return Ok(RequestBody::new(self.memory.freeze(), None, None));
            };
            if !held.keep_bytes(admission, data.len()) {
                // No more memory for bodies: the file takes it, or the app.
                self.memory.extend_from_slice(&data);
                break;
            }
            self.memory.extend_from_slice(&data);
        }
        let Some(directory) = &admission.spool else {
            return Ok(self.streamed(None));
        };
        let spool = match Spool::create(directory).await {
            Ok(spool) => spool,
            Err(error) => {
                admission.warn_of_spool(&error);
                return Ok(self.streamed(None));
            }
        };
        let mut parts = Vec::new();
        loop {
            let mut gathered = 0;
            let ended = loop {
                match self.next().await? {
                    None => break true,
                    Some(data) => {
                        gathered += data.len();
                        parts.push(data);
                    }
                }
                if gathered >= MEMORY_MAX / 2 {
                    break false;
                }
            };
            let unwritten = parts.clone();
            match spool.append(std::mem::take(&mut parts)).await {
                Ok(true) if ended => {
                    let reader = spool.into_reader();
                    return Ok(RequestBody::new(self.memory.freeze(), Some(reader), None));
                }
                Ok(true) if spool.len() < FILE_MAX => {}
                Ok(true) => return Ok(self.streamed(Some(spool))),
                // What was not written follows what was.
                not_written => {
                    if let Err(error) = not_written {
                        admission.warn_of_spool(&error);
                    }
                    return Ok(self.streamed(Some(spool)).then(unwritten, ended));
                }
            }
        }
    }

    fn streamed(self, spool: Option<Spool>) -> RequestBody {
        let Self {
            body,
            deadline,
            memory,
        } = self;
        let spooled = spool.map(Spool::into_reader);
        RequestBody::new(memory.freeze(), spooled, Some((body, deadline)))
    }

    /// The next data of the body; `None` at its end.
    async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        loop {
            let frame = poll_fn(|context| {
                if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
                    return Poll::Ready(Ok(frame));
                }
                self.deadline
                    .poll(context)
                    .map(|()| Err(Refusal::BodyTooSlow))
            });
            match frame.await? {
                None => return Ok(None),
                Some(Err(_)) => return Err(Refusal::Bad("malformed body")),
                // Trailers are not passed on.
                Some(Ok(frame)) => {
                    if let Ok(data) = Frame::into_data(frame) {
                        self.deadline.add(data.len());
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}
