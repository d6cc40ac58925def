//! Hands each message to the subscribers of this process that want it.
//!
//! Invariant: **what a subscriber has not read from the file itself is handed
//! to it, once and in order.** A subscriber begins *behind*: it reads the file
//! by itself up to some `seq`. It goes live, under the lock, only if that is
//! no less than `seen`, up to which all was handed out; from then on all that
//! is handed out goes to its queue. Whoever cannot be given a message (its
//! queue is full, the page was begun before it was known, the page was pruned)
//! is sent back to the file with the `seq` up to which it has had all.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;

use tokio::sync::Notify;

use crate::inbox::Entry;
use crate::{Page, Pattern};

#[derive(Default)]
pub(crate) struct Dispatcher {
    state: Mutex<State>,
    /// The first subscriber came, or the last one left.
    turned: Notify,
    /// It is handed out from now on, or is not.
    started: Notify,
}

#[derive(Default)]
struct State {
    next_id: u64,
    /// All, in the order of their ids, as are the lists below.
    entries: Vec<Arc<Entry>>,
    by_channel: HashMap<Arc<str>, Vec<Arc<Entry>>>,
    by_pattern: Vec<(Pattern, Vec<Arc<Entry>>)>,
    /// Those that came after the page now being read was begun.
    fresh: Vec<Arc<Entry>>,
    /// All up to this was handed out; none while nobody tails.
    seen: Option<u64>,
    closed: bool,
}

/// What came of the wish to go live.
pub(crate) enum Joined {
    Live,
    /// There is more to be read from the file first.
    ReadOn,
    /// Nobody tails yet; the context is woken when somebody does.
    Wait,
    Closed,
}

fn insert(list: &mut Vec<Arc<Entry>>, entry: &Arc<Entry>) {
    // Ids go up, and are handed out under the same lock.
    list.push(Arc::clone(entry));
}

fn remove(list: &mut Vec<Arc<Entry>>, id: u64) {
    if let Ok(place) = list.binary_search_by_key(&id, |entry| entry.id) {
        list.remove(place);
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
            self.turned.notify_one();
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
            let place = state.by_pattern.iter().position(|(own, _)| own == pattern);
            if let Some(place) = place
                && let Some((_, list)) = state.by_pattern.get_mut(place)
            {
                remove(list, entry.id);
                if list.is_empty() {
                    state.by_pattern.swap_remove(place);
                }
            }
        }
        remove(&mut state.entries, entry.id);
        remove(&mut state.fresh, entry.id);
        if state.entries.is_empty() {
            self.turned.notify_one();
        }
    }

    /// Subscribers now.
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
            self.turned.notified().await;
        }
    }

    /// All up to `seen` is left to the subscribers themselves; what follows is
    /// handed out.
    pub(crate) fn start(&self, seen: u64) {
        let mut state = self.lock();
        state.seen = Some(seen);
        for entry in &state.entries {
            entry.fall_behind(0);
        }
        self.started.notify_waiters();
    }

    /// Waits until somebody tails, or has tried to.
    pub(crate) async fn until_tailing(&self) {
        let mut started = pin!(self.started.notified());
        // In line before looking.
        started.as_mut().enable();
        {
            let state = self.lock();
            if state.seen.is_some() || state.closed {
                return;
            }
        }
        started.await;
    }

    /// Nothing is handed out any more. All are woken: whoever wants to go on
    /// meets at the file what keeps this from going on.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        let seen = state.seen.take().unwrap_or(0);
        for entry in &state.entries {
            entry.fall_behind(seen);
        }
        self.started.notify_waiters();
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
        let astray = if pruned { &state.entries } else { &state.fresh };
        for entry in astray {
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

    /// Lets one who has read up to `upto` go live.
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

    /// All up to this was handed to whoever is live.
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
        self.started.notify_waiters();
    }
}
