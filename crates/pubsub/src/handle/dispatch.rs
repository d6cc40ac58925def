//! Hands each new message to the subscribers of this process that want it.
//!
//! One task ([`tail`]) reads what any process publishes, once for all
//! subscribers. It sleeps until the file is committed to, and does not run
//! while there is no subscriber. Messages of this process take the same way as
//! those of other processes, so every subscriber sees the order of the commits.
//!
//! Invariant: **what a subscriber has not read from the file itself is handed
//! to it, once and in order.** A subscriber begins *behind*: it reads the file
//! by itself up to some `seq`. It goes live, under the lock, only if that is
//! not before `seen`, up to which everything was handed out; from then on its
//! queue gets everything that is handed out. A subscriber that cannot be given
//! a message (its queue is full, it was added after the page was begun, the page
//! was pruned) is sent back to the file, with the `seq` up to which it has had
//! everything.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use super::engine::Engine;
use crate::{Ask, Error, Filter, Message, Page, Pattern, Result};

/// First and longest pause after an error that may pass; it doubles in between.
const RETRY_AFTER: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

#[derive(Default)]
pub(crate) struct Dispatcher {
    state: Mutex<State>,
    /// The first subscriber came, or the last one left.
    wanted_changed: Notify,
    /// Messages are handed out from now on, or no longer.
    tailing_changed: Notify,
}

#[derive(Default)]
struct State {
    next_id: u64,
    /// All subscribers, in the order of their ids, as in the lists below.
    entries: Vec<Arc<Entry>>,
    by_channel: HashMap<Arc<str>, Vec<Arc<Entry>>>,
    by_pattern: Vec<(Pattern, Vec<Arc<Entry>>)>,
    /// Those added after the page now being read was begun.
    fresh: Vec<Arc<Entry>>,
    /// Everything up to this `seq` was handed out; `None` while nothing is
    /// handed out.
    seen: Option<u64>,
    closed: bool,
}

/// The answer of [`Dispatcher::join`].
pub(crate) enum Joined {
    Live,
    /// There are messages to read from the file first.
    ReadOn,
    /// Nothing is handed out yet; the context is woken when that begins.
    Wait,
    Closed,
}

fn insert(list: &mut Vec<Arc<Entry>>, entry: &Arc<Entry>) {
    // Ids grow, and are given out under the same lock.
    list.push(Arc::clone(entry));
}

fn remove(list: &mut Vec<Arc<Entry>>, id: u64) {
    if let Ok(index) = list.binary_search_by_key(&id, |entry| entry.id) {
        list.remove(index);
    }
}

impl Dispatcher {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a subscriber, made with the id it is given.
    pub(crate) fn add(&self, make: impl FnOnce(u64) -> Entry) -> Arc<Entry> {
        let mut state = self.lock();
        let entry = Arc::new(make(state.next_id));
        state.next_id += 1;
        for channel in entry.filter.channels() {
            let list = state.by_channel.entry(Arc::clone(channel)).or_default();
            insert(list, &entry);
        }
        for pattern in entry.filter.patterns() {
            let known = state.by_pattern.iter_mut().find(|(own, _)| own == pattern);
            match known {
                Some((_, list)) => insert(list, &entry),
                None => state
                    .by_pattern
                    .push((pattern.clone(), vec![Arc::clone(&entry)])),
            }
        }
        insert(&mut state.entries, &entry);
        insert(&mut state.fresh, &entry);
        if state.closed {
            entry.close();
        }
        if state.entries.len() == 1 {
            self.wanted_changed.notify_one();
        }
        drop(state);
        entry
    }

    pub(crate) fn remove(&self, entry: &Entry) {
        let mut state = self.lock();
        for channel in entry.filter.channels() {
            if let Some(list) = state.by_channel.get_mut(channel) {
                remove(list, entry.id);
                if list.is_empty() {
                    state.by_channel.remove(channel);
                }
            }
        }
        for pattern in entry.filter.patterns() {
            let index = state.by_pattern.iter().position(|(own, _)| own == pattern);
            if let Some(index) = index
                && let Some((_, list)) = state.by_pattern.get_mut(index)
            {
                remove(list, entry.id);
                if list.is_empty() {
                    state.by_pattern.swap_remove(index);
                }
            }
        }
        remove(&mut state.entries, entry.id);
        remove(&mut state.fresh, entry.id);
        if state.entries.is_empty() {
            self.wanted_changed.notify_one();
        }
    }

    /// The number of subscribers.
    pub(crate) fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// True if any subscriber wants messages of `channel`.
    pub(crate) fn wants(&self, channel: &str) -> bool {
        let state = self.lock();
        state.by_channel.contains_key(channel)
            || state.by_pattern.iter().any(|(own, _)| own.matches(channel))
    }

    /// Waits until there are subscribers, or until there are none.
    pub(crate) async fn until_wanted(&self, wanted: bool) {
        while (self.len() > 0) != wanted {
            self.wanted_changed.notified().await;
        }
    }

    /// Hands out what comes after `seen`. The subscribers read everything up to
    /// it from the file.
    pub(crate) fn start(&self, seen: u64) {
        let mut state = self.lock();
        state.seen = Some(seen);
        for entry in &state.entries {
            entry.fall_behind(0);
        }
        self.tailing_changed.notify_waiters();
    }

    /// Waits until messages are handed out, or an attempt at it failed.
    pub(crate) async fn until_tailing(&self) {
        let mut changed = pin!(self.tailing_changed.notified());
        // Registered before looking, so that no change is missed.
        changed.as_mut().enable();
        {
            let state = self.lock();
            if state.seen.is_some() || state.closed {
                return;
            }
        }
        changed.await;
    }

    /// Stops handing out, and wakes all subscribers: they read the file, and
    /// meet the error that ended this.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        let seen = state.seen.take().unwrap_or(0);
        for entry in &state.entries {
            entry.fall_behind(seen);
        }
        self.tailing_changed.notify_waiters();
    }

    /// Where the next page begins, if one is to be read.
    pub(crate) fn begin_page(&self) -> Option<u64> {
        let mut state = self.lock();
        state.fresh.clear();
        state.seen
    }

    pub(crate) fn dispatch(&self, page: &Page) {
        let mut state = self.lock();
        let Some(seen) = state.seen else {
            return;
        };
        let pruned = page.bounds.oldest > seen + 1;
        let behind = if pruned { &state.entries } else { &state.fresh };
        for entry in behind {
            entry.fall_behind(seen);
        }
        for message in &page.messages {
            if let Some(entries) = state.by_channel.get(&message.channel) {
                entries.iter().for_each(|entry| entry.push(message));
            }
            for (pattern, entries) in &state.by_pattern {
                if pattern.matches(&message.channel) {
                    entries.iter().for_each(|entry| entry.push(message));
                }
            }
        }
        state.seen = Some(page.upto.max(seen));
    }

    /// Lets a subscriber that has read up to `upto` go live.
    pub(crate) fn join(&self, entry: &Entry, upto: u64, context: Option<&Context<'_>>) -> Joined {
        let state = self.lock();
        if state.closed {
            return Joined::Closed;
        }
        match state.seen {
            Some(seen) if seen <= upto => {
                entry.go_live(upto);
                Joined::Live
            }
            Some(_) => Joined::ReadOn,
            None => {
                if let Some(context) = context {
                    entry.register(context);
                }
                Joined::Wait
            }
        }
    }

    /// The `seq` up to which everything was handed out, if this subscriber is
    /// live and has taken all of it.
    pub(crate) fn seen_by(&self, entry: &Entry) -> Option<u64> {
        let state = self.lock();
        state.seen.filter(|_| entry.is_up_to_date())
    }

    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for entry in &state.entries {
            entry.close();
        }
        self.tailing_changed.notify_waiters();
    }
}

/// The queue of one subscriber, as the dispatcher sees it.
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

/// Where the subscriber gets its messages from.
#[derive(Debug, Clone, Copy)]
enum Mode {
    /// From the queue, each after this `seq`.
    Live { last: u64 },
    /// From the file, once the queue is empty.
    Behind(Behind),
}

/// Where a subscriber reads on, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind {
    /// Everything up to this `seq` was handed to it.
    pub(crate) after: u64,
    /// True if its queue was full.
    pub(crate) overflowed: bool,
}

/// The answer of [`Entry::take`].
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

    /// Hands it a message. If the queue is full the message is not kept: the
    /// subscriber reads it from the file.
    pub(crate) fn push(&self, message: &Arc<Message>) {
        let mut inbox = self.lock();
        let Mode::Live { last } = inbox.mode else {
            return;
        };
        let seq = message.id.seq;
        if seq <= last {
            return; // Two of its patterns match, or it was read from the file.
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

    /// Sends a live subscriber to the file for what comes after `after`.
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

    /// From the queue again, for what comes after `last`.
    pub(crate) fn go_live(&self, last: u64) {
        self.lock().mode = Mode::Live { last };
    }

    pub(crate) fn close(&self) {
        let mut inbox = self.lock();
        inbox.closed = true;
        wake(inbox);
    }

    /// Wakes this context when anything happens next.
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

    /// True if it is live and has taken all that was handed to it.
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

/// The task that reads new messages, until the handle is closed.
pub(crate) async fn tail(engine: Arc<dyn Engine>, dispatcher: Arc<Dispatcher>) {
    let mut pause = RETRY_AFTER.0;
    loop {
        dispatcher.until_wanted(true).await;
        let ended = follow(&engine, &dispatcher, &mut pause).await;
        dispatcher.stop();
        match ended {
            Ok(()) => {}
            Err(Error::Closed | Error::Forked) => return dispatcher.close(),
            // The subscribers were woken: they read the file, meet the same
            // error, and return it to their callers.
            Err(_) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_AFTER.1);
            }
        }
    }
}

/// Hands out new messages until the last subscriber has left.
async fn follow(
    engine: &Arc<dyn Engine>,
    dispatcher: &Arc<Dispatcher>,
    pause: &mut Duration,
) -> Result<()> {
    // Before the bounds are read, so that every later commit wakes it.
    let mut commits = engine.commits()?;
    dispatcher.start(engine.bounds().await?.newest);
    let wanted: crate::Wanted = {
        let dispatcher = Arc::clone(dispatcher);
        Arc::new(move |channel| dispatcher.wants(channel))
    };
    loop {
        while let Some(after) = dispatcher.begin_page() {
            let ask = Ask {
                after,
                only: None,
                wanted: Arc::clone(&wanted),
            };
            let page = engine.tail(ask).await?;
            dispatcher.dispatch(&page);
            if page.is_last() {
                break;
            }
        }
        *pause = RETRY_AFTER.0;
        tokio::select! {
            changed = commits.changed() => changed?,
            () = dispatcher.until_wanted(false) => return Ok(()),
        }
    }
}
