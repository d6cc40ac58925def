//! Making a subscription.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::pin::Pin;

use crate::inbox::Entry;
use crate::park::block_on;
use crate::{Error, Event, Filter, MessageId, PubSub, Result, Subscriber};

/// Where a subscription begins.
#[derive(Debug, Clone, Copy)]
enum Start {
    Now,
    Oldest,
    After(MessageId),
    AfterSeq(u64),
}

/// A subscription to be made; see [`PubSub::subscribe`].
///
/// Await it, or call [`Subscribe::blocking`].
#[derive(Debug)]
#[must_use = "nothing is subscribed before it is awaited"]
pub struct Subscribe {
    pubsub: PubSub,
    filter: Result<Filter>,
    start: Start,
    queue: (usize, usize),
}

impl Subscribe {
    pub(crate) fn new(pubsub: &PubSub) -> Self {
        let options = pubsub.options();
        Self {
            queue: (options.queue_messages, options.queue_bytes),
            pubsub: pubsub.clone(),
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

    /// This channel too.
    pub fn channel(self, channel: &str) -> Self {
        self.with(|filter| filter.channel(channel))
    }

    /// All channels that match this [`Pattern`](crate::Pattern) too. A message
    /// comes once, however many of them want it.
    pub fn pattern(self, pattern: &str) -> Self {
        self.with(|filter| filter.pattern(pattern))
    }

    /// A channel of this crate's own.
    pub(crate) fn own_channel(self, channel: &str) -> Self {
        self.with(|filter| filter.own_channel(channel))
    }

    /// Goes on after a message: all that came later follows, without a gap, or
    /// [`Event::Gap`] comes first. Default: what is published from now on.
    pub fn from(mut self, last: MessageId) -> Self {
        self.start = Start::After(last);
        self
    }

    /// Begins with the oldest message that is held.
    pub fn from_oldest(mut self) -> Self {
        self.start = Start::Oldest;
        self
    }

    pub(crate) fn after_seq(mut self, seq: u64) -> Self {
        self.start = Start::AfterSeq(seq);
        self
    }

    /// Messages and bytes that may wait, in place of
    /// [`PubSubOptions::queue_messages`](crate::PubSubOptions::queue_messages)
    /// and `queue_bytes`.
    pub fn queue(mut self, messages: usize, bytes: usize) -> Self {
        self.queue = (messages, bytes);
        self
    }

    /// Subscribes. All that is committed after this returns is delivered.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::TooMany`]; those of reading the file.
    pub fn blocking(self) -> Result<Subscriber> {
        block_on(self.into_future(), None).unwrap_or(Err(Error::Closed))
    }

    async fn start(self) -> Result<Subscriber> {
        let filter = self.filter?;
        let inner = self.pubsub.inner();
        inner.check()?;
        inner.tail()?;
        let bounds = inner.engine.bounds().await?;
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
            // Whatever is not of this file's past: all of it is new to it.
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
        let entry = inner
            .dispatcher
            .add(|id| Entry::new(id, filter, queue, after));
        let subscriber = Subscriber::new(self.pubsub.clone(), entry, id(after), ready);
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
