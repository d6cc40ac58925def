//! A bucket that exists in a test only: its network, its provider and its clock are
//! decided by one seed.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::{FutureExt, StreamExt};
use object_store::UpdateVersion;
use tokio::time::{Instant, sleep};

use super::body::Body;
use super::bucket::{Bucket, ConditionalPut, Created, Entries, Put, Reply, Version, Versioned};
use super::error::{Result, StorageError};
use super::file_info::{FileInfo, Layout, join};
use super::holder::Holder;
use super::permit::{Permit, permitted};
use super::upload_body::UploadBody;

/// How long a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const LEASE: &str = ".monolite/lease";

/// How often what goes wrong, of a thousand requests.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// The request does not arrive.
    pub(crate) lost: u32,
    /// It is done, and its answer does not arrive.
    pub(crate) unanswered: u32,
    /// It is given up, and done a minute later.
    pub(crate) late: u32,
    /// The process stops for longer than a lease lasts, before or after.
    pub(crate) pause: u32,
    /// The answer takes some seconds.
    pub(crate) slow: u32,
}

/// What all machines share.
pub(crate) struct World {
    started: Instant,
    state: Mutex<State>,
}

struct State {
    random: Rng,
    objects: BTreeMap<String, Object>,
    versions: u64,
    faults: Faults,
    /// Whether the provider says how old an object is.
    has_clock: bool,
    /// Who took the lease in each epoch, by node.
    epochs: BTreeMap<u64, String>,
    /// The newest transaction that a new holder has stored, and its epoch: nobody with
    /// an older one may store a later transaction.
    fence: (u64, u64),
    broken: Vec<String>,
    events: Vec<String>,
}

struct Object {
    bytes: Bytes,
    version: u64,
    stored: Duration,
}

impl World {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let mut random = Rng::with_seed(seed);
        let has_clock = random.bool();
        Arc::new(Self {
            started: Instant::now(),
            state: Mutex::new(State {
                random,
                objects: BTreeMap::new(),
                versions: 0,
                faults: Faults::default(),
                has_clock,
                epochs: BTreeMap::new(),
                fence: (0, 0),
                broken: Vec::new(),
                events: Vec::new(),
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// A number below `limit`, by the seed.
    pub(crate) fn below(&self, limit: u64) -> u64 {
        self.state().random.u64(0..limit)
    }

    /// Says that something happened that must not.
    pub(crate) fn broken(&self, what: String) {
        self.state().broken.push(what);
    }

    pub(crate) fn all_broken(&self) -> Vec<String> {
        self.state().broken.clone()
    }

    /// Notes what happens, for who looks into a seed.
    pub(crate) fn note(&self, what: impl fmt::Display) {
        let now_s = self.now().as_secs_f32();
        self.state().events.push(format!("{now_s:8.3} {what}"));
    }

    pub(crate) fn events(&self) -> Vec<String> {
        self.state().events.clone()
    }

    pub(crate) fn has_clock(&self) -> bool {
        self.state().has_clock
    }

    /// Who has the lease, by the object itself.
    pub(crate) fn holder(&self) -> Option<Holder> {
        let state = self.state();
        Holder::parse(&state.objects.get(LEASE)?.bytes).ok()
    }

    /// Which transactions have files of level 0, and how many objects there are.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }
}

/// The bucket, as one machine reaches it.
#[derive(Clone)]
pub(crate) struct SimBucket(pub(crate) Arc<World>);

impl fmt::Debug for SimBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimBucket")
    }
}

enum Fate {
    Done,
    Lost,
    Unanswered,
    Late(Duration),
}

impl SimBucket {
    /// One request: `effect` is done at once as far as the provider is concerned, at a
    /// time that the seed decides, or never.
    async fn request<T: Send + 'static>(
        &self,
        permit: Option<&dyn Permit>,
        effect: impl FnOnce(&World) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        permitted(permit, TIMEOUT).await?;
        let (before, fate, after) = {
            let mut state = self.0.state();
            let faults = state.faults;
            let mut happens = |of_thousand: u32| state.random.u32(0..1000) < of_thousand;
            let is_slow = happens(faults.slow);
            let pauses = (happens(faults.pause), happens(faults.pause));
            let fate = match () {
                () if happens(faults.lost) => Fate::Lost,
                () if happens(faults.unanswered) => Fate::Unanswered,
                () if happens(faults.late) => Fate::Late(Duration::ZERO),
                () => Fate::Done,
            };
            let mut ms = |from: u64, to: u64| Duration::from_millis(state.random.u64(from..to));
            let long = |is: bool, ms: &mut dyn FnMut(u64, u64) -> Duration| match is {
                true => ms(31_000, 90_000),
                false => Duration::ZERO,
            };
            let before = long(pauses.0, &mut ms) + if is_slow { ms(500, 8_000) } else { ms(2, 60) };
            let after = long(pauses.1, &mut ms) + ms(2, 60);
            let fate = match fate {
                Fate::Late(_) => Fate::Late(ms(20_000, 90_000)),
                fate => fate,
            };
            (before, fate, after)
        };
        sleep(before).await;
        let unavailable = || StorageError::Unavailable {
            doing: "reach",
            name: "sim".into(),
            attempts: 1,
            elapsed: TIMEOUT,
            answer: "no answer".into(),
        };
        match fate {
            Fate::Done => {
                let answer = effect(&self.0);
                sleep(after).await;
                answer
            }
            Fate::Lost => {
                sleep(TIMEOUT).await;
                Err(unavailable())
            }
            Fate::Unanswered => {
                let _ = effect(&self.0);
                sleep(TIMEOUT).await;
                Err(unavailable())
            }
            Fate::Late(time) => {
                let world = self.0.clone();
                tokio::spawn(async move {
                    sleep(time).await;
                    let _ = effect(&world);
                });
                sleep(TIMEOUT).await;
                Err(unavailable())
            }
        }
    }
}

fn not_found(key: &str) -> StorageError {
    StorageError::NotFound { name: key.into() }
}

impl State {
    fn store(&mut self, key: &str, bytes: Bytes, now: Duration) -> u64 {
        self.versions += 1;
        let version = self.versions;
        let object = Object {
            bytes,
            version,
            stored: now,
        };
        self.objects.insert(key.into(), object);
        version
    }

    /// One writer for each epoch.
    fn lease_written(&mut self, bytes: &[u8]) {
        let Ok(holder) = Holder::parse(bytes) else {
            return;
        };
        let node = format!("{} {}", holder.node, holder.token);
        let known = self
            .epochs
            .entry(holder.epoch)
            .or_insert_with(|| node.clone());
        if *known != node {
            let (epoch, known) = (holder.epoch, known.clone());
            self.broken
                .push(format!("epoch {epoch} has two writers: {known}, {node}"));
        }
    }

    fn epoch_of(&self, node: u64) -> u64 {
        let prefix = format!("{node:016x}");
        let of = self.epochs.iter().filter(|(_, it)| it.starts_with(&prefix));
        of.map(|(epoch, _)| *epoch).max().unwrap_or(0)
    }

    /// A new transaction was stored.
    fn file_created(&mut self, key: &str, bytes: &[u8]) {
        let parsed = key
            .split_once('/')
            .and_then(|(_, key)| Layout::Objects.parse(key, 0, 0));
        let (Some(file), Some(header)) = (parsed, bytes.first_chunk()) else {
            return;
        };
        let Ok(header) = monolite_ltx::Header::parse(header) else {
            return;
        };
        if file.level != 0 {
            return;
        }
        let epoch = self.epoch_of(header.node_id);
        let (fence_epoch, fence) = self.fence;
        if epoch >= fence_epoch {
            self.fence = (epoch, file.max.0.max(fence));
        } else if file.max.0 > fence {
            let node = header.node_id;
            self.broken.push(format!(
                "{key} was stored by {node:016x} of epoch {epoch}, after epoch {fence_epoch} stored {fence}"
            ));
        }
    }
}

impl Bucket for SimBucket {
    fn layout(&self) -> Layout {
        Layout::Objects
    }

    fn entries<'a>(&'a self, _: &'a str) -> Reply<'a, Entries> {
        async { Ok(Entries::default()) }.boxed()
    }

    fn list<'a>(&'a self, database: &'a str, level: Option<u8>) -> Reply<'a, Vec<FileInfo>> {
        let prefix = join(database, "x").trim_end_matches('x').to_owned();
        self.request(None, move |world| {
            let state = world.state();
            let all = state.objects.iter();
            let files = all.filter_map(|(key, object)| {
                let stored_ms = i64::try_from(object.stored.as_millis()).unwrap_or(0);
                let size = object.bytes.len() as u64;
                Layout::Objects.parse(key.strip_prefix(&prefix)?, size, stored_ms)
            });
            Ok(files
                .filter(|file| level.is_none_or(|level| file.level == level))
                .collect())
        })
        .boxed()
    }

    fn put(&self, put: Put, mut body: UploadBody) -> Reply<'_, Created> {
        async move {
            let bytes = body.next(usize::MAX >> 1)?;
            let key = put.key;
            self.request(put.permit.as_deref(), move |world| {
                let now = world.now();
                let header = bytes.first_chunk().map(monolite_ltx::Header::parse);
                let writer = header
                    .and_then(Result::ok)
                    .map_or(0, |header| header.node_id);
                world.note(format_args!("{writer:016x} puts {key}"));
                let mut state = world.state();
                if state.objects.contains_key(&key) {
                    state.events.push("         it exists".into());
                    return Ok(Created::Exists);
                }
                state.file_created(&key, &bytes);
                state.store(&key, bytes, now);
                Ok(Created::Yes)
            })
            .await
        }
        .boxed()
    }

    fn head<'a>(&'a self, key: &'a str) -> Reply<'a, (u64, i64)> {
        let key = key.to_owned();
        self.request(None, move |world| {
            let state = world.state();
            let object = state.objects.get(&key).ok_or_else(|| not_found(&key))?;
            let stored_ms = i64::try_from(object.stored.as_millis()).unwrap_or(0);
            Ok((object.bytes.len() as u64, stored_ms))
        })
        .boxed()
    }

    fn get<'a>(&'a self, key: &'a str) -> Reply<'a, Body> {
        async move {
            let bytes = self.get_range(key, 0..u64::MAX).await?;
            Ok(Body::new(futures_util::stream::iter([Ok(bytes)]).boxed()))
        }
        .boxed()
    }

    fn get_range<'a>(&'a self, key: &'a str, range: Range<u64>) -> Reply<'a, Bytes> {
        let key = key.to_owned();
        self.request(None, move |world| {
            let state = world.state();
            let object = state.objects.get(&key).ok_or_else(|| not_found(&key))?;
            let length = object.bytes.len() as u64;
            let (from, to) = (range.start.min(length), range.end.min(length));
            Ok(object.bytes.slice(from as usize..to as usize))
        })
        .boxed()
    }

    fn delete<'a>(&'a self, keys: Vec<String>, permit: Option<&'a dyn Permit>) -> Reply<'a, ()> {
        self.request(permit, move |world| {
            let mut state = world.state();
            for key in &keys {
                state.objects.remove(key);
            }
            Ok(())
        })
        .boxed()
    }

    fn get_versioned<'a>(&'a self, key: &'a str, _: u64) -> Reply<'a, Option<Versioned>> {
        let key = key.to_owned();
        self.request(None, move |world| {
            let now = world.now();
            let state = world.state();
            Ok(state.objects.get(&key).map(|object| Versioned {
                bytes: object.bytes.clone(),
                version: version(object.version),
                age: state.has_clock.then(|| now.saturating_sub(object.stored)),
            }))
        })
        .boxed()
    }

    fn put_if<'a>(
        &'a self,
        key: &'a str,
        bytes: Bytes,
        expected: Option<&'a Version>,
    ) -> Reply<'a, ConditionalPut> {
        let (key, expected) = (key.to_owned(), expected.cloned());
        self.request(None, move |world| {
            let now = world.now();
            let mut state = world.state();
            let found = state
                .objects
                .get(&key)
                .map(|object| version(object.version));
            if found != expected {
                return Ok(ConditionalPut::Conflict);
            }
            state.lease_written(&bytes);
            if let Ok(holder) = Holder::parse(&bytes) {
                let Holder { host, epoch, node, .. } = &holder;
                let node = node.get(..16).unwrap_or(node);
                let (released, open) = (holder.released, &holder.open);
                let event = format!("         lease of {host} {node}, epoch {epoch}, released: {released}, open: {open:?}");
                state.events.push(event);
            }
            Ok(ConditionalPut::Done(version(state.store(&key, bytes, now))))
        })
        .boxed()
    }
}

fn version(number: u64) -> Version {
    Version::Object(UpdateVersion {
        e_tag: Some(number.to_string()),
        version: None,
    })
}
