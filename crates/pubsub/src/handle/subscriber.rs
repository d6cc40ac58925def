//! One subscription: how it is made, and how its messages are taken.

use std::collections::VecDeque;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use monolite_store::park::{block_on, block_on_until};

use super::dispatch::{Behind, Entry, Joined, Taken};
use super::shared::Shared;
use crate::{Ask, Error, Filter, Message, MessageId, Page, Result};

/// What a subscriber gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A message, in the order of commits.
    Message(Arc<Message>),
    /// The subscriber was too slow for its queue. **Nothing is lost**: it now
    /// reads on from the file, at its own pace, and gets this event once until
    /// it has caught up. To skip late messages, subscribe again.
    Lagged {
        /// The last message it got, or could have got.
        after: MessageId,
        /// Messages of all channels between that and the newest.
        behind: u64,
    },
    /// **Messages are lost to this subscriber**: those after `after` and before
    /// `next` were pruned, or `after` is an id of a file that was replaced. The
    /// messages that are still held follow. Load again what the messages were
    /// about.
    Gap {
        /// The last message it had.
        after: MessageId,
        /// The oldest message still held, or the next one to come.
        next: MessageId,
        /// Messages of all channels in between; `None` if that is unknown.
        missed: Option<u64>,
    },
}

/// Gets messages, until dropped.
///
/// While its queue has space, the task that reads the file for the whole process
/// fills it. When the queue was full the subscriber reads the file by itself
/// until it has caught up. It holds no more than its queue and one page of about
/// 1 MiB.
#[derive(Debug)]
pub struct Subscriber {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    /// The names of the channels, if there are no patterns.
    only: Option<Arc<[Arc<str>]>>,
    /// Read from the file and not yet taken.
    ready: VecDeque<Event>,
    position: MessageId,
    /// While it reads the file by itself.
    reading: Option<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    upto: u64,
    /// There is more after the last page.
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
        shared: Arc<Shared>,
        entry: Arc<Entry>,
        position: MessageId,
        ready: VecDeque<Event>,
    ) -> Self {
        let filter = &entry.filter;
        let only: Vec<_> = filter.channels().cloned().collect();
        Self {
            only: filter.patterns().is_empty().then(|| only.into()),
            shared,
            entry,
            ready,
            position,
            reading: None,
        }
    }

    /// Waits until messages are handed out, and then goes live: nearly always
    /// without reading the file at all.
    pub(crate) async fn try_live(&self) {
        let dispatcher = &self.shared.dispatcher;
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

    /// As [`Subscriber::next`], skipping every event that is no message. Use it
    /// only where a gap does no harm.
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
    /// `None` if nothing came. Not for async code.
    ///
    /// # Errors
    /// As [`Subscriber::next`].
    pub fn next_blocking(&mut self, timeout: Duration) -> Result<Option<Event>> {
        match Instant::now().checked_add(timeout) {
            Some(deadline) => block_on_until(self.next(), deadline).transpose(),
            None => block_on(self.next()).map(Some),
        }
    }

    /// Resume from this id to go on after the last event. It is the id of the
    /// last message taken, or a later one if this subscriber wanted none of
    /// those in between: send it with a keep-alive, so that a quiet channel does
    /// not look like a gap later.
    pub fn position(&self) -> MessageId {
        let shared = Arc::clone(&self.shared);
        let seen = match (&self.reading, self.ready.is_empty()) {
            (None, true) => shared.dispatcher.seen_by(&self.entry),
            _ => None,
        };
        let seq = seen.map_or(self.position.seq, |seen| seen.max(self.position.seq));
        MessageId {
            seq,
            ..self.position
        }
    }

    fn step(&mut self, context: &Context<'_>) -> Poll<Step> {
        let shared = Arc::clone(&self.shared);
        if let Some(Reading { upto, more }) = self.reading {
            let read = Poll::Ready(Step::Read(Behind {
                after: upto,
                overflowed: false,
            }));
            if more {
                return read;
            }
            match shared.dispatcher.join(&self.entry, upto, Some(context)) {
                Joined::Live => self.reading = None,
                Joined::ReadOn => return read,
                Joined::Wait => {
                    // When woken, it reads what was committed meanwhile.
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
            Poll::Pending => match shared.check() {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Step::Closed(error)),
            },
        }
    }

    /// Reads a page. `self` is not changed before the page is there.
    async fn read(&mut self, behind: Behind) -> Result<()> {
        let entry = Arc::clone(&self.entry);
        let ask = Ask {
            after: behind.after,
            only: self.only.clone(),
            wanted: Arc::new(move |channel| entry.filter.wants(channel)),
        };
        let page = self.shared.engine.page(ask).await?;
        self.announce(behind, &page);
        // Live as early as possible: its queue fills while it handles the page.
        let dispatcher = &self.shared.dispatcher;
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

    /// Adds the events that come before the messages of `page`.
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
        self.shared.dispatcher.remove(&self.entry);
    }
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy)]
enum Start {
    Now,
    Oldest,
    After(MessageId),
    AfterSeq(u64),
}

/// A subscription that is being made; see
/// [`PubSub::subscribe`](crate::PubSub::subscribe).
///
/// Await it, or call [`Subscribe::blocking`].
#[derive(Debug)]
#[must_use = "nothing is subscribed before it is awaited"]
pub struct Subscribe {
    shared: Arc<Shared>,
    filter: Result<Filter>,
    start: Start,
    queue: (usize, usize),
}

impl Subscribe {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let options = &shared.options;
        Self {
            queue: (options.queue_messages, options.queue_bytes),
            shared: Arc::clone(shared),
            filter: Ok(Filter::default()),
            start: Start::Now,
        }
    }

    fn with(mut self, add: impl FnOnce(&mut Filter) -> Result<()>) -> Self {
        self.filter = self.filter.and_then(|mut filter| {
            add(&mut filter)?;
            Ok(filter)
        });
        self
    }

    /// Adds a channel.
    pub fn channel(self, channel: &str) -> Self {
        self.with(|filter| filter.channel(channel))
    }

    /// Adds all channels that match this [`Pattern`](crate::Pattern). A message
    /// that several of them want comes once.
    pub fn pattern(self, pattern: &str) -> Self {
        self.with(|filter| filter.pattern(pattern))
    }

    /// Adds one of this crate's own channels.
    pub(crate) fn own_channel(self, channel: &str) -> Self {
        self.with(|filter| filter.own_channel(channel))
    }

    /// Begins after the message `last`: all later ones follow, or
    /// [`Event::Gap`] comes first. Default: what is published from now on.
    pub fn from(mut self, last: MessageId) -> Self {
        self.start = Start::After(last);
        self
    }

    /// Begins with the oldest message held.
    pub fn from_oldest(mut self) -> Self {
        self.start = Start::Oldest;
        self
    }

    pub(crate) fn after_seq(mut self, seq: u64) -> Self {
        self.start = Start::AfterSeq(seq);
        self
    }

    /// Messages and bytes that may wait; instead of
    /// [`PubSubOptions::queue`](crate::PubSubOptions::queue).
    pub fn queue(mut self, messages: usize, bytes: usize) -> Self {
        self.queue = (messages, bytes);
        self
    }

    /// Subscribes, blocking this thread. All that is committed after this returns
    /// is delivered. Not for async code.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::TooMany`]; those of reading the file.
    pub fn blocking(self) -> Result<Subscriber> {
        block_on(self.into_future())
    }

    async fn start(self) -> Result<Subscriber> {
        let filter = self.filter?;
        let shared = Arc::clone(&self.shared);
        shared.check()?;
        shared.start_tailing()?;
        let bounds = shared.engine.bounds().await?;
        let id = |seq| MessageId {
            epoch: bounds.epoch,
            seq,
        };
        let before_oldest = bounds.oldest.saturating_sub(1);
        let mut ready = VecDeque::new();
        let after = match self.start {
            Start::Now => bounds.newest,
            Start::AfterSeq(seq) => seq,
            Start::Oldest => before_oldest,
            // The id is not of this file: everything in it is new.
            Start::After(last) if last.epoch != bounds.epoch || last.seq > bounds.newest => {
                ready.push_back(Event::Gap {
                    after: last,
                    next: id(bounds.oldest),
                    missed: None,
                });
                before_oldest
            }
            Start::After(last) => last.seq,
        };
        let queue = self.queue;
        let entry = shared
            .dispatcher
            .add(|id| Entry::new(id, filter, queue, after));
        let subscriber = Subscriber::new(Arc::clone(&shared), entry, id(after), ready);
        if after == bounds.newest {
            subscriber.try_live().await;
        }
        Ok(subscriber)
    }
}

impl IntoFuture for Subscribe {
    type Output = Result<Subscriber>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}
