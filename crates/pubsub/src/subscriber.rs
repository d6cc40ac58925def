//! One subscription.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::dispatch::Joined;
use crate::inbox::{Behind, Entry, Taken};
use crate::park::block_on;
use crate::{Ask, Error, Message, MessageId, Page, PubSub, Result};

/// What a subscriber gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message, in the order of commits.
    Message(Arc<Message>),
    /// The subscriber was too slow for its queue. **Nothing is lost yet**: it
    /// now reads on from the file, at its own pace, and gets this notice once
    /// until it has caught up. Whoever cannot use what is late skips it by
    /// subscribing anew.
    Lagged {
        /// The last message it got, or could have got.
        after: MessageId,
        /// Messages of all channels between that and the newest.
        behind: u64,
    },
    /// **Messages are lost to this subscriber**: those after `after` and before
    /// `next` were pruned, or `after` is an id of a file that is no more. What
    /// the window still holds follows. What the messages were about is to be
    /// loaded anew.
    Gap {
        /// The last message it had.
        after: MessageId,
        /// The oldest that is still held, or the next one to come.
        next: MessageId,
        /// Messages of all channels in between; none if that cannot be known.
        missed: Option<u64>,
    },
}

/// Gets messages, until dropped.
///
/// While its queue has room it is handed messages by the one tailer of its
/// process; when it had none it reads the file by itself until it has caught
/// up. It holds no more than its queue and one page of about 1 MiB.
#[derive(Debug)]
pub struct Subscriber {
    pubsub: PubSub,
    entry: Arc<Entry>,
    /// The channels, if there are no patterns.
    only: Option<Arc<[Arc<str>]>>,
    /// Read from the file, not yet taken.
    ready: VecDeque<Event>,
    position: MessageId,
    /// While it reads the file by itself.
    reading: Option<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    upto: u64,
    /// There was more behind the last page.
    more: bool,
}

enum Step {
    Message(Arc<Message>),
    Read(Behind),
    Closed(Error),
}

impl Subscriber {
    /// One that goes on after `position`, with `ready` before that.
    pub(crate) fn new(
        pubsub: PubSub,
        entry: Arc<Entry>,
        position: MessageId,
        ready: VecDeque<Event>,
    ) -> Self {
        let filter = &entry.filter;
        let only: Vec<_> = filter.channels().cloned().collect();
        Self {
            only: filter.patterns().is_empty().then(|| only.into()),
            pubsub,
            entry,
            ready,
            position,
            reading: None,
        }
    }

    /// Once somebody tails: live from the start, nearly always. There is
    /// nothing to be read then.
    pub(crate) async fn try_live(&self) {
        let dispatcher = &self.pubsub.inner().dispatcher;
        dispatcher.until_tailing().await;
        let _ = dispatcher.join(&self.entry, self.position.seq, None);
    }

    /// Waits for the next event. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Closed`] once the handle is closed. Any other error, of a disk
    /// for example, may pass: call again, and it goes on without a gap.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if let Event::Message(message) = &event {
                    self.position = message.id;
                }
                return Ok(event);
            }
            match poll_fn(|context| self.step(context)).await {
                Step::Message(message) => {
                    self.position = message.id;
                    return Ok(Event::Message(message));
                }
                Step::Read(behind) => self.read(behind).await?,
                Step::Closed(error) => return Err(error),
            }
        }
    }

    /// As [`Subscriber::next`], leaving out all but messages. Only for
    /// those who do not mind a gap.
    ///
    /// # Errors
    /// As [`Subscriber::next`].
    pub async fn next_message(&mut self) -> Result<Arc<Message>> {
        loop {
            if let Event::Message(message) = self.next().await? {
                return Ok(message);
            }
        }
    }

    /// As [`Subscriber::next`], blocking this thread for at most `timeout`;
    /// none if nothing came. Not for async code.
    ///
    /// # Errors
    /// As [`Subscriber::next`].
    pub fn next_blocking(&mut self, timeout: Duration) -> Result<Option<Event>> {
        let deadline = Instant::now().checked_add(timeout);
        block_on(self.next(), deadline).transpose()
    }

    /// Resume from here to go on after the last event: the last message, or
    /// one of another channel behind it if there was nothing since. Send it
    /// along with a keep-alive, and a quiet channel does not look like a gap.
    pub fn position(&self) -> MessageId {
        let inner = self.pubsub.inner();
        let seen = match (&self.reading, self.ready.is_empty()) {
            (None, true) => inner.dispatcher.seen_by(&self.entry),
            _ => None,
        };
        let seq = seen.map_or(self.position.seq, |seen| seen.max(self.position.seq));
        MessageId {
            seq,
            ..self.position
        }
    }

    fn step(&mut self, context: &Context<'_>) -> Poll<Step> {
        let inner = self.pubsub.inner();
        if let Some(Reading { upto, more }) = self.reading {
            let read = Poll::Ready(Step::Read(Behind {
                after: upto,
                overflowed: false,
            }));
            if more {
                return read;
            }
            match inner.dispatcher.join(&self.entry, upto, Some(context)) {
                Joined::Live => self.reading = None,
                Joined::ReadOn => return read,
                Joined::Wait => {
                    // Woken, it looks for what was committed meanwhile.
                    if let Some(reading) = &mut self.reading {
                        reading.more = true;
                    }
                    return Poll::Pending;
                }
                Joined::Closed => return Poll::Ready(Step::Closed(Error::Closed)),
            }
        }
        match self.entry.take(context) {
            Poll::Ready(Taken::Message(message)) => Poll::Ready(Step::Message(message)),
            Poll::Ready(Taken::Behind(behind)) => Poll::Ready(Step::Read(behind)),
            Poll::Ready(Taken::Closed) => Poll::Ready(Step::Closed(Error::Closed)),
            Poll::Pending => match inner.check() {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Step::Closed(error)),
            },
        }
    }

    /// Reads a page. Nothing of `self` is changed before it is there.
    async fn read(&mut self, behind: Behind) -> Result<()> {
        let entry = Arc::clone(&self.entry);
        let ask = Ask {
            after: behind.after,
            only: self.only.clone(),
            wanted: Arc::new(move |channel| entry.filter.wants(channel)),
        };
        let page = self.pubsub.inner().engine.page(ask).await?;
        self.announce(behind, &page);
        // Live as soon as may be: from then on its queue fills while it is slow.
        let dispatcher = &self.pubsub.inner().dispatcher;
        let live =
            page.is_last() && matches!(dispatcher.join(&self.entry, page.upto, None), Joined::Live);
        self.reading = (!live).then_some(Reading {
            upto: page.upto,
            more: !page.is_last(),
        });
        let messages = page.messages.into_iter().map(Event::Message);
        self.ready.extend(messages);
        Ok(())
    }

    /// Says what the subscriber has to know before the messages of `page`.
    fn announce(&mut self, behind: Behind, page: &Page) {
        let id = |seq| MessageId {
            epoch: page.bounds.epoch,
            seq,
        };
        if behind.overflowed {
            self.ready.push_back(Event::Lagged {
                after: id(behind.after),
                behind: page.bounds.newest.saturating_sub(behind.after),
            });
        }
        if page.bounds.oldest > behind.after + 1 {
            self.ready.push_back(Event::Gap {
                after: id(behind.after),
                next: id(page.bounds.oldest),
                missed: Some(page.bounds.oldest - behind.after - 1),
            });
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.pubsub.inner().dispatcher.remove(&self.entry);
    }
}
