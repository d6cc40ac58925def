//! Random changes, compared with a map in memory after each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use monolite_cache::{Cache, CacheOptions, EntryOptions, Error, Expiry, Opened, Ttl};
use monolite_component::{Clock, ManualClock};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Set(u8, usize, Life, u8),
    Add(u8, usize, Life, u8),
    Delete(u8),
    Count(u8, i64, Life),
    Touch(u8, Life),
    DeleteTag(u8),
    Clear(u8),
    Wait(u64),
    SetClock(i64),
    RemoveExpired,
    Reopen,
}

#[derive(Debug, Clone, Copy)]
enum Life {
    Never,
    After(u64),
    Sliding(u64),
}

impl Life {
    fn ttl(self) -> Ttl {
        match self {
            Self::Never => Ttl::Never,
            Self::After(s) => Ttl::After(Duration::from_secs(s)),
            Self::Sliding(s) => Ttl::Sliding(Duration::from_secs(s)),
        }
    }
}

fn life() -> impl Strategy<Value = Life> {
    prop_oneof![
        Just(Life::Never),
        (0..40_u64).prop_map(Life::After),
        (1..40_u64).prop_map(Life::Sliding),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => 0..60_usize, 1 => 3_800..4_100_usize, 1 => 10_000..90_000_usize];
    prop_oneof![
        6 => (0..6_u8, size.clone(), life(), 0..4_u8).prop_map(|(k, n, l, t)| Step::Set(k, n, l, t)),
        2 => (0..6_u8, size, life(), 0..4_u8).prop_map(|(k, n, l, t)| Step::Add(k, n, l, t)),
        2 => (0..6_u8).prop_map(Step::Delete),
        3 => (4..8_u8, -5..5_i64, life()).prop_map(|(k, by, l)| Step::Count(k, by, l)),
        1 => (0..6_u8, life()).prop_map(|(k, l)| Step::Touch(k, l)),
        1 => (0..2_u8).prop_map(Step::DeleteTag),
        1 => (0..2_u8).prop_map(Step::Clear),
        3 => (1..30_000_u64).prop_map(Step::Wait),
        1 => (-3_700_000..3_700_000_i64).prop_map(Step::SetClock),
        1 => Just(Step::RemoveExpired),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Debug, Clone)]
struct Entry {
    value: Vec<u8>,
    expires: Option<i64>,
    ttl: i64,
    sliding: bool,
    tags: u8,
}

impl Entry {
    fn new(value: Vec<u8>, life: Life, tags: u8, now: i64) -> Self {
        let mut entry = Self {
            value,
            expires: None,
            ttl: 0,
            sliding: false,
            tags,
        };
        entry.live(life, now);
        entry
    }

    fn live(&mut self, life: Life, now: i64) {
        let (seconds, sliding) = match life {
            Life::Never => return self.expires = None,
            Life::After(s) => (s, false),
            Life::Sliding(s) => (s, true),
        };
        self.ttl = seconds as i64 * 1000;
        self.sliding = sliding;
        self.expires = Some(now + self.ttl);
    }

    fn over(&self, now: i64) -> bool {
        self.expires
            .is_some_and(|at| at <= now || at - now > self.ttl.max(1) + 60_000)
    }

    fn used(&mut self, now: i64) {
        if let Some(at) = self.expires
            && self.sliding
            && at - now <= self.ttl / 4 * 3
        {
            self.expires = Some(now + self.ttl);
        }
    }
}

/// Keys of two namespaces: the even ones are in the first.
fn name(key: u8) -> (String, String) {
    (format!("n{}", key % 2), format!("k{key}"))
}

fn tags(bits: u8) -> Vec<u8> {
    (0..2).filter(|tag| bits & (1 << tag) != 0).collect()
}

struct Both {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    cache: Cache,
    model: BTreeMap<u8, Entry>,
}

impl Both {
    fn open(dir: &tempfile::TempDir, clock: &Arc<ManualClock>) -> Cache {
        let options = CacheOptions::new()
            .bound_bytes(32 << 20)
            .readers(1)
            .clock(Arc::<ManualClock>::clone(clock));
        Cache::open(dir.path().join("cache.sqlite3"), options).unwrap()
    }

    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(1_800_000_000_000));
        Self {
            cache: Self::open(&dir, &clock),
            dir,
            clock,
            model: BTreeMap::new(),
        }
    }

    fn at(&self, key: u8) -> (Cache, String) {
        let (namespace, key) = name(key);
        (self.cache.namespace(&namespace), key)
    }

    fn drop_over(&mut self) {
        let now = self.clock.now_ms();
        self.model.retain(|_, entry| !entry.over(now));
    }

    async fn step(&mut self, number: usize, step: &Step) {
        self.drop_over();
        let now = self.clock.now_ms();
        let options = |life: Life, bits: u8| {
            let options = EntryOptions::new().ttl(life.ttl());
            tags(bits)
                .iter()
                .fold(options, |all, tag| all.tag(format!("t{tag}")))
        };
        let value = |size: usize| vec![number as u8; size];
        match *step {
            Step::Set(key, size, life, bits) => {
                let (cache, name) = self.at(key);
                cache
                    .set_bytes(name, value(size), &options(life, bits))
                    .await
                    .unwrap();
                self.model
                    .insert(key, Entry::new(value(size), life, bits, now));
            }
            Step::Add(key, size, life, bits) => {
                let (cache, name) = self.at(key);
                let added = cache
                    .add_bytes(name, value(size), &options(life, bits))
                    .await;
                assert_eq!(added.unwrap(), !self.model.contains_key(&key));
                let new = Entry::new(value(size), life, bits, now);
                self.model.entry(key).or_insert(new);
            }
            Step::Delete(key) => {
                let (cache, name) = self.at(key);
                let there = cache.delete(name).await.unwrap();
                assert_eq!(there, self.model.remove(&key).is_some());
            }
            Step::Count(key, by, life) => {
                let (cache, name) = self.at(key);
                let sum = cache.increment(name, by, &options(life, 0)).await;
                let zero = Entry::new(b"0".to_vec(), life, 0, now);
                let entry = self.model.entry(key).or_insert(zero);
                let text = std::str::from_utf8(&entry.value).ok();
                match text.and_then(|text| text.parse::<i64>().ok()) {
                    None => assert!(matches!(sum, Err(Error::NotANumber { .. }))),
                    Some(number) => {
                        assert_eq!(sum.unwrap(), number + by);
                        entry.value = (number + by).to_string().into();
                        entry.used(now);
                    }
                }
            }
            Step::Touch(key, life) => {
                let (cache, name) = self.at(key);
                let there = cache.touch(name, life.ttl()).await.unwrap();
                assert_eq!(there, self.model.contains_key(&key));
                if let Some(entry) = self.model.get_mut(&key) {
                    entry.live(life, now);
                }
            }
            Step::DeleteTag(tag) => {
                // Those over but still there are counted too.
                self.cache.delete_tag(&format!("t{tag}")).await.unwrap();
                self.model.retain(|_, entry| entry.tags & (1 << tag) == 0);
            }
            Step::Clear(namespace) => {
                self.cache
                    .namespace(&format!("n{namespace}"))
                    .clear()
                    .await
                    .unwrap();
                self.model.retain(|key, _| key % 2 != namespace);
            }
            Step::Wait(ms) => self.clock.advance(Duration::from_millis(ms)),
            Step::SetClock(ms) => {
                // What is over but not swept out yet may live again once the
                // clock was set. The model keeps nothing that is over.
                self.cache.remove_expired().await.unwrap();
                self.clock.step(ms);
                self.cache.remove_expired().await.unwrap();
            }
            Step::RemoveExpired => {
                self.cache.remove_expired().await.unwrap();
                let stats = self.cache.stats().await.unwrap();
                assert_eq!(stats.entries, self.model.len() as u64);
            }
            Step::Reopen => {
                self.cache.close().await;
                self.cache = Self::open(&self.dir, &self.clock);
                assert_eq!(self.cache.opened(), &Opened::Existing);
            }
        }
    }

    async fn compare(&mut self) {
        self.drop_over();
        let now = self.clock.now_ms();
        for key in 0..8 {
            let (cache, name) = self.at(key);
            let expiry = cache.expiry(&name).await.unwrap();
            let expected = match self.model.get(&key).map(|entry| entry.expires) {
                None => Expiry::Missing,
                Some(None) => Expiry::Never,
                Some(Some(at)) => Expiry::In(Duration::from_millis((at - now) as u64)),
            };
            assert_eq!(expiry, expected, "key {key}");
            let found = cache.get_bytes(&name).await.unwrap();
            let expected = self.model.get_mut(&key).map(|entry| {
                entry.used(now);
                entry.value.clone()
            });
            assert_eq!(found, expected, "key {key}");
        }
    }
}

/// What the tables and the blob file's map keep to, whatever was done.
fn check_file(path: &std::path::Path) {
    let conn = rusqlite::Connection::open(path).unwrap();
    let check: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
    let mut owned = std::collections::BTreeSet::new();
    let mut select = conn
        .prepare("SELECT runs FROM _monolite_cache_entry WHERE runs IS NOT NULL")
        .unwrap();
    let runs = select
        .query_map([], |row| row.get::<_, Vec<u8>>(0))
        .unwrap();
    for runs in runs.map(Result::unwrap) {
        for run in runs.chunks(8) {
            let first = u32::from_le_bytes(run[..4].try_into().unwrap());
            let count = u32::from_le_bytes(run[4..].try_into().unwrap());
            for block in first..first + count {
                assert!(owned.insert(block), "block {block} has two owners");
            }
        }
    }
    let mut used = std::collections::BTreeSet::new();
    let mut select = conn
        .prepare("SELECT segment, used, held, used_count FROM _monolite_cache_map")
        .unwrap();
    let mut rows = select.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let (segment, bits, held): (u32, Vec<u8>, Vec<u8>) = (
            row.get(0).unwrap(),
            row.get(1).unwrap(),
            row.get(2).unwrap(),
        );
        for (index, (byte, held)) in bits.iter().zip(held).enumerate() {
            assert_eq!(byte & !held, 0, "used but not held");
            for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
                used.insert(segment * 8192 + index as u32 * 8 + bit);
            }
        }
    }
    assert_eq!(owned, used, "the map and the entries disagree");
    let strays: i64 = conn
        .query_row(
            "SELECT count(*) FROM _monolite_cache_tag t
             LEFT JOIN _monolite_cache_entry e ON e.id = t.id
             WHERE e.tags IS NULL OR instr(CAST(e.tags AS BLOB), CAST(t.tag AS BLOB)) = 0",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(strays, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn it_does_what_a_map_does(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut both = Both::new();
            for (number, step) in steps.iter().enumerate() {
                both.step(number, step).await;
                both.compare().await;
            }
            both.cache.close().await;
            check_file(&both.dir.path().join("cache.sqlite3"));
        });
    }
}
