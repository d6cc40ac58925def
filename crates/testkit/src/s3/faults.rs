//! What is made to go wrong, with which requests, and when.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use tokio::sync::watch;

use super::listing::View;
use super::request::{Asked, Operation};

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Answered with this status and S3's code for it (503 is `SlowDown`, 403
    /// `AccessDenied`, 409 `ConditionalRequestConflict`, …); not done.
    Status(u16),
    /// Answered with a status and a code of your own; not done.
    Code(u16, &'static str),
    /// Begun only after this time. Goes together with what other rules say.
    Delay(Duration),
    /// Not answered until the rule is removed, then done as if it came then,
    /// if the client is still there.
    Hang,
    /// Taken in whole, and the connection reset; not done.
    Reset,
    /// Done, and answered with this status all the same.
    DoneThenStatus(u16),
    /// Done, and the connection reset instead of an answer.
    DoneThenReset,
    /// Done, but answered only when the rule is removed.
    DoneThenHang,
    /// Taken in whole, and done only when the rule is removed, also when the
    /// client has long gone away: a write that arrives late.
    DoneLate,
    /// The connection is reset when this much of the request's body came; not
    /// done: a torn upload.
    TornUpload(u64),
    /// The connection is reset when this much of the answer's body was sent.
    /// At most that much arrives; nothing happens if the body is no longer.
    TornAnswer(u64),
    /// The object's byte at this offset is sent inverted, in every answer that
    /// holds it. What is stored stays whole.
    WrongByte(u64),
    /// A listing shows an older state.
    StaleList(View),
}

/// Which requests a [`Fault`] strikes: all, unless narrowed.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    method: Option<&'static str>,
    operation: Option<Operation>,
    key: Option<String>,
    skip: u64,
    left: u64,
    chance: Option<(f64, Rng)>,
}

impl Rule {
    /// Every request, until the rule is removed.
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            method: None,
            operation: None,
            key: None,
            skip: 0,
            left: u64::MAX,
            chance: None,
        }
    }

    /// Only requests of this HTTP method.
    #[must_use]
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = Some(method);
        self
    }

    /// Only requests for this operation.
    #[must_use]
    pub fn operation(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Only requests whose key has this in it; of a listing, whose prefix has.
    /// A `DeleteObjects` has no key.
    #[must_use]
    pub fn key(mut self, part: impl Into<String>) -> Self {
        self.key = Some(part.into());
        self
    }

    /// Lets the first `requests` that match pass.
    #[must_use]
    pub fn skip(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    /// Strikes the next `requests` that match, and none after.
    #[must_use]
    pub fn next(mut self, requests: u64) -> Self {
        self.left = requests;
        self
    }

    /// Strikes with probability `p`, the same requests with the same `seed`
    /// as long as they come in the same order.
    #[must_use]
    pub fn chance(mut self, p: f64, seed: u64) -> Self {
        self.chance = Some((p, Rng::with_seed(seed)));
        self
    }

    fn strikes(&mut self, asked: &Asked) -> bool {
        let matches = self.method.is_none_or(|method| method == asked.method)
            && self
                .operation
                .is_none_or(|operation| operation == asked.operation)
            && self
                .key
                .as_ref()
                .is_none_or(|part| asked.key.contains(part));
        if !matches || self.left == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if let Some((p, rng)) = &mut self.chance
            && rng.f64() >= *p
        {
            return false;
        }
        self.left = self.left.saturating_sub(u64::from(self.left != u64::MAX));
        true
    }
}

/// The rules in force. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    rules: Arc<Mutex<Vec<(Rule, Standing)>>>,
    skew_ms: Arc<AtomicI64>,
}

/// A rule that was added: how often it struck, and its end.
#[derive(Debug, Clone)]
pub struct Standing {
    hits: watch::Sender<u64>,
    released: watch::Sender<bool>,
}

impl Faults {
    fn rules(&self) -> MutexGuard<'_, Vec<(Rule, Standing)>> {
        self.rules.lock().expect("nobody panicked over the rules")
    }

    /// Adds a rule. Of those that match a request the first strikes; delays
    /// strike besides.
    pub fn add(&self, rule: Rule) -> Standing {
        let standing = Standing {
            hits: watch::Sender::new(0),
            released: watch::Sender::new(false),
        };
        self.rules().push((rule, standing.clone()));
        standing
    }

    /// Removes all rules, lets go what they held, and sets the clock right.
    pub fn clear(&self) {
        for (_, standing) in self.rules().drain(..) {
            standing.release();
        }
        self.skew_ms.store(0, Ordering::Relaxed);
    }

    /// Sets how many minutes the server's clock is ahead of the right time:
    /// with more than 15, also backwards, every request is refused as
    /// `RequestTimeTooSkewed`.
    pub fn skew(&self, minutes: i64) {
        self.skew_ms.store(minutes * 60_000, Ordering::Relaxed);
    }

    /// The time the server believes it is; none if it is right.
    pub(super) fn skewed(&self) -> Option<SystemTime> {
        let skew = self.skew_ms.load(Ordering::Relaxed);
        let by = Duration::from_millis(skew.unsigned_abs());
        let now = SystemTime::now();
        (skew != 0).then(|| if skew > 0 { now + by } else { now - by })
    }

    /// The delay, and the fault with its rule, that strike a request.
    pub(super) fn strike(&self, asked: &Asked) -> (Duration, Option<(Fault, Standing)>) {
        let mut delay = Duration::ZERO;
        let mut struck = None;
        let mut rules = self.rules();
        for (rule, standing) in rules.iter_mut() {
            let delays = matches!(rule.fault, Fault::Delay(_));
            if (struck.is_some() && !delays) || !rule.strikes(asked) {
                continue;
            }
            standing.hits.send_modify(|hits| *hits += 1);
            match rule.fault {
                Fault::Delay(by) => delay += by,
                ref fault => struck = Some((fault.clone(), standing.clone())),
            }
        }
        (delay, struck)
    }

    /// Ends one rule, and lets go what it holds.
    pub fn remove(&self, standing: &Standing) {
        self.rules()
            .retain(|(_, other)| !other.hits.same_channel(&standing.hits));
        standing.release();
    }
}

impl Standing {
    /// How many requests it has struck.
    pub fn hits(&self) -> u64 {
        *self.hits.borrow()
    }

    /// Waits, blocking, until it has struck `hits` requests.
    ///
    /// # Panics
    /// After [`crate::PATIENCE`].
    pub fn wait(&self, hits: u64) {
        crate::wait_until("the fault strikes", || self.hits() >= hits);
    }

    /// Waits until it has struck `hits` requests.
    ///
    /// # Panics
    /// After [`crate::PATIENCE`].
    pub async fn reached(&self, hits: u64) {
        let mut seen = self.hits.subscribe();
        let struck = seen.wait_for(|seen| *seen >= hits);
        let struck = tokio::time::timeout(crate::PATIENCE, struck).await;
        struck
            .expect("the fault strikes")
            .expect("the rule is kept here");
    }

    /// Lets go the requests it holds, now and from now on; it stays in force
    /// until [`Faults::remove`] or [`Faults::clear`].
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    pub(super) async fn until_released(&self) {
        let mut released = self.released.subscribe();
        let _ = released.wait_for(|released| *released).await;
    }
}
