//! What waits for one subscriber.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::{Filter, Message};

/// The side of a subscriber that messages are handed to.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) filter: Filter,
    most_messages: usize,
    most_bytes: usize,
    inbox: Mutex<Inbox>,
}

#[derive(Debug)]
struct Inbox {
    queue: VecDeque<Arc<Message>>,
    bytes: usize,
    mode: Mode,
    waker: Option<Waker>,
    closed: bool,
}

/// How the subscriber comes to its messages.
#[derive(Debug, Clone, Copy)]
enum Mode {
    /// Through the queue, each after this `seq`.
    Live { last: u64 },
    /// By reading the file after this `seq`, once the queue is empty.
    Behind(Behind),
}

/// Where a subscriber reads on, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind {
    /// All up to this `seq` was handed to it.
    pub(crate) after: u64,
    /// True if its queue was full.
    pub(crate) overflowed: bool,
}

/// What the subscriber finds.
pub(crate) enum Taken {
    Message(Arc<Message>),
    Behind(Behind),
    Closed,
}

impl Entry {
    pub(crate) fn new(id: u64, filter: Filter, bounds: (usize, usize), after: u64) -> Self {
        Self {
            id,
            filter,
            most_messages: bounds.0.max(1),
            most_bytes: bounds.1,
            inbox: Mutex::new(Inbox {
                queue: VecDeque::new(),
                bytes: 0,
                mode: Mode::Behind(Behind {
                    after,
                    overflowed: false,
                }),
                waker: None,
                closed: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands it a message. Where there is no room it is not kept: the
    /// subscriber will find it in the file.
    pub(crate) fn push(&self, message: &Arc<Message>) {
        let mut inbox = self.lock();
        let Mode::Live { last } = inbox.mode else {
            return;
        };
        let seq = message.id.seq;
        if seq <= last {
            return; // Two of its patterns match, or it has read it itself.
        }
        let bytes = message.bytes();
        let full = inbox.queue.len() >= self.most_messages
            || (inbox.bytes + bytes > self.most_bytes && !inbox.queue.is_empty());
        if full {
            inbox.mode = Mode::Behind(Behind {
                after: seq - 1,
                overflowed: true,
            });
        } else {
            inbox.mode = Mode::Live { last: seq };
            inbox.bytes += bytes;
            inbox.queue.push_back(Arc::clone(message));
        }
        wake(inbox);
    }

    /// Sends it to the file for what comes after `after`, where it is live.
    pub(crate) fn fall_behind(&self, after: u64) {
        let mut inbox = self.lock();
        if let Mode::Live { last } = inbox.mode {
            inbox.mode = Mode::Behind(Behind {
                after: after.max(last),
                overflowed: false,
            });
        }
        wake(inbox);
    }

    /// Through the queue again, from after `last` on.
    pub(crate) fn go_live(&self, last: u64) {
        self.lock().mode = Mode::Live { last };
    }

    pub(crate) fn close(&self) {
        let mut inbox = self.lock();
        inbox.closed = true;
        wake(inbox);
    }

    /// To be woken by whatever happens next.
    pub(crate) fn register(&self, context: &Context<'_>) {
        self.lock().waker = Some(context.waker().clone());
    }

    pub(crate) fn take(&self, context: &Context<'_>) -> Poll<Taken> {
        let mut inbox = self.lock();
        if let Some(message) = inbox.queue.pop_front() {
            inbox.bytes -= message.bytes();
            return Poll::Ready(Taken::Message(message));
        }
        if inbox.closed {
            return Poll::Ready(Taken::Closed);
        }
        match inbox.mode {
            Mode::Behind(behind) => Poll::Ready(Taken::Behind(behind)),
            Mode::Live { .. } => {
                match &mut inbox.waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    none => *none = Some(context.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    /// True if it has taken all that was handed to it.
    pub(crate) fn is_up_to_date(&self) -> bool {
        let inbox = self.lock();
        inbox.queue.is_empty() && matches!(inbox.mode, Mode::Live { .. })
    }
}

fn wake(mut inbox: MutexGuard<'_, Inbox>) {
    let waker = inbox.waker.take();
    drop(inbox);
    if let Some(waker) = waker {
        waker.wake();
    }
}
