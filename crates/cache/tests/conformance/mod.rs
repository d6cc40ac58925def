//! What every engine keeps to. Written against the handle only: an engine
//! brings a way to open an empty cache with a clock of ours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use monolite_cache::{Cache, EntryOptions, Error, Expiry, KEY_MAX_BYTES, Ttl};
use monolite_component::ManualClock;

/// An empty cache, its clock, and whatever has to live as long.
pub(crate) struct Subject {
    pub(crate) cache: Cache,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) _keep: Box<dyn std::any::Any>,
}

const PLAIN: EntryOptions = EntryOptions::new();

fn seconds(n: u64) -> EntryOptions {
    EntryOptions::new().ttl(Duration::from_secs(n))
}

/// Runs all of it.
pub(crate) async fn conforms(open: impl Fn() -> Subject) {
    values(open()).await;
    add_and_delete(open()).await;
    many(open()).await;
    numbers(open()).await;
    expiry(open()).await;
    sliding(open()).await;
    a_clock_that_is_set(open()).await;
    tags(open()).await;
    namespaces(open()).await;
    typed(open()).await;
    refusals(open()).await;
    statistics(open()).await;
    one_computes(open()).await;
    what_is_written_meanwhile_wins(open()).await;
    what_is_refused_costs_nothing(open()).await;
    who_fails_lets_the_next_try(open()).await;
    who_is_dropped_lets_the_next_try(open()).await;
    another_type_is_computed_anew(open()).await;
}

/// A value that was being computed while its key was set, deleted, or deleted
/// by a tag, is old by then.
async fn what_is_written_meanwhile_wins(Subject { cache, .. }: Subject) {
    let cache = &cache;
    let compute = |meanwhile: &'static str| async move {
        let old = async || {
            match meanwhile {
                "set" => cache.set_bytes("k", "new", &PLAIN).await?,
                "delete" => drop(cache.delete("k").await?),
                _ => drop(cache.delete_tag("t").await?),
            }
            Ok::<_, Error>(b"old".to_vec())
        };
        let got = cache.get_or_insert_bytes_with("k", &PLAIN, old).await;
        assert_eq!(got.unwrap(), b"old");
        cache.get_bytes("k").await.unwrap()
    };
    assert_eq!(compute("delete").await, None);
    assert_eq!(compute("tag").await, None);
    assert_eq!(compute("set").await.as_deref(), Some(b"new".as_slice()));
}

async fn what_is_refused_costs_nothing(Subject { cache, .. }: Subject) {
    for number in 0..200 {
        let key = format!("k{number}");
        cache.set_bytes(key, vec![7; 1000], &PLAIN).await.unwrap();
    }
    let before = cache.stats().await.unwrap().entries;
    for megabytes in [40, 100] {
        let value = vec![1; megabytes << 20];
        let refused = cache.set_bytes("big", value, &PLAIN).await;
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
    assert_eq!(cache.stats().await.unwrap().entries, before);
}

async fn values(Subject { cache, .. }: Subject) {
    assert_eq!(cache.get_bytes("a").await.unwrap(), None);
    for size in [
        0, 1, 10, 3_000, 3_898, 3_899, 3_900, 4_096, 4_097, 70_000, 600_000,
    ] {
        let value: Vec<u8> = (0..size).map(|n: u32| (n % 251) as u8).collect();
        cache.set_bytes("a", value.clone(), &PLAIN).await.unwrap();
        assert_eq!(cache.get_bytes("a").await.unwrap(), Some(value), "{size}");
    }
    cache.set_bytes("a", "small again", &PLAIN).await.unwrap();
    let found = cache.get_bytes("a").await.unwrap();
    assert_eq!(found.as_deref(), Some(b"small again".as_slice()));
    let odd = [0_u8, 255, 0];
    cache.set_bytes(odd, "odd", &PLAIN).await.unwrap();
    assert!(cache.contains(odd).await.unwrap());
    assert!(!cache.contains([0_u8, 255]).await.unwrap());
}

async fn add_and_delete(Subject { cache, .. }: Subject) {
    assert!(cache.add_bytes("a", "1", &PLAIN).await.unwrap());
    assert!(!cache.add_bytes("a", "2", &PLAIN).await.unwrap());
    assert_eq!(cache.get_bytes("a").await.unwrap(), Some(b"1".to_vec()));
    assert!(cache.delete("a").await.unwrap());
    assert!(!cache.delete("a").await.unwrap());
    assert!(cache.add_bytes("a", "3", &PLAIN).await.unwrap());
    assert_eq!(cache.get_bytes("a").await.unwrap(), Some(b"3".to_vec()));
}

async fn many(Subject { cache, .. }: Subject) {
    let keys: Vec<String> = (0..300).map(|n| format!("k{n}")).collect();
    let entries = keys.iter().map(|key| (key, key.clone().into_bytes()));
    cache.set_many_bytes(entries, &PLAIN).await.unwrap();
    let mut asked = keys.clone();
    asked.push("not there".into());
    let found = cache.get_many_bytes(&asked).await.unwrap();
    for (key, value) in keys.iter().zip(&found) {
        assert_eq!(value.as_deref(), Some(key.as_bytes()));
    }
    assert_eq!(found.last(), Some(&None));
    assert_eq!(cache.delete_many(&asked[100..]).await.unwrap(), 200);
    assert!(cache.contains("k99").await.unwrap());
    assert!(!cache.contains("k100").await.unwrap());
    let big = (0..9).map(|n| (n.to_string(), vec![n; 200_000]));
    cache.set_many_bytes(big, &PLAIN).await.unwrap();
    assert_eq!(cache.get_bytes("8").await.unwrap(), Some(vec![8; 200_000]));
}

async fn numbers(Subject { cache, clock, .. }: Subject) {
    assert_eq!(cache.increment("n", 5, &seconds(10)).await.unwrap(), 5);
    clock.advance(Duration::from_secs(6));
    assert_eq!(cache.increment("n", -7, &seconds(10)).await.unwrap(), -2);
    assert_eq!(cache.decrement("n", 40, &PLAIN).await.unwrap(), -42);
    assert_eq!(cache.get_bytes("n").await.unwrap(), Some(b"-42".to_vec()));
    assert_eq!(cache.get::<i64>("n").await.unwrap(), Some(-42));
    // It kept its first time to live.
    clock.advance(Duration::from_secs(4));
    assert_eq!(cache.increment("n", 1, &PLAIN).await.unwrap(), 1);
    assert_eq!(cache.expiry("n").await.unwrap(), Expiry::Never);

    cache.set("max", &i64::MAX, &PLAIN).await.unwrap();
    let error = cache.increment("max", 1, &PLAIN).await.unwrap_err();
    assert!(matches!(error, Error::Overflow { .. }), "{error}");
    assert_eq!(cache.get::<i64>("max").await.unwrap(), Some(i64::MAX));
    cache.set_bytes("word", "one", &PLAIN).await.unwrap();
    let error = cache.increment("word", 1, &PLAIN).await.unwrap_err();
    assert!(matches!(error, Error::NotANumber { .. }), "{error}");

    // None is lost between concurrent callers.
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let cache = cache.clone();
        all.spawn(async move { cache.increment("together", 1, &PLAIN).await.unwrap() });
    }
    let mut seen: Vec<i64> = all.join_all().await;
    seen.sort_unstable();
    assert_eq!(seen, (1..=50).collect::<Vec<_>>());
}

async fn expiry(Subject { cache, clock, .. }: Subject) {
    cache.set_bytes("a", "1", &seconds(10)).await.unwrap();
    cache.set_bytes("b", "1", &PLAIN).await.unwrap();
    clock.advance(Duration::from_secs(4));
    let left = cache.expiry("a").await.unwrap();
    assert_eq!(left, Expiry::In(Duration::from_secs(6)));
    assert_eq!(cache.expiry("b").await.unwrap(), Expiry::Never);
    assert_eq!(cache.expiry("c").await.unwrap(), Expiry::Missing);
    clock.advance(Duration::from_millis(5_999));
    assert!(cache.get_bytes("a").await.unwrap().is_some());
    clock.advance(Duration::from_millis(1));
    assert_eq!(cache.get_bytes("a").await.unwrap(), None);
    assert!(!cache.contains("a").await.unwrap());
    assert!(!cache.touch("a", Ttl::Never).await.unwrap());
    assert!(!cache.delete("a").await.unwrap());
    assert!(cache.get_bytes("b").await.unwrap().is_some());

    cache.set_bytes("d", "1", &seconds(10)).await.unwrap();
    clock.advance(Duration::from_secs(9));
    assert!(cache.touch("d", Duration::from_secs(20)).await.unwrap());
    clock.advance(Duration::from_secs(19));
    assert!(cache.add_bytes("e", "1", &seconds(1)).await.unwrap());
    assert!(!cache.add_bytes("d", "2", &PLAIN).await.unwrap());
    clock.advance(Duration::from_secs(1));
    assert!(cache.add_bytes("d", "2", &PLAIN).await.unwrap());

    let large = vec![1; 50_000];
    cache.set_bytes("large", large, &seconds(5)).await.unwrap();
    clock.advance(Duration::from_secs(5));
    // `e` was over before, and `a` is still there until somebody looks.
    let gone = cache.remove_expired().await.unwrap();
    assert!((2..=3).contains(&gone), "{gone}");
    assert_eq!(cache.remove_expired().await.unwrap(), 0);
    assert_eq!(cache.stats().await.unwrap().entries, 2);
}

async fn sliding(Subject { cache, clock, .. }: Subject) {
    let options = EntryOptions::new().ttl(Ttl::Sliding(Duration::from_secs(8)));
    cache.set_bytes("a", "1", &options).await.unwrap();
    cache.set_bytes("b", "1", &options).await.unwrap();
    for _ in 0..5 {
        clock.advance(Duration::from_secs(3));
        assert!(cache.get_bytes("a").await.unwrap().is_some());
    }
    assert_eq!(cache.get_bytes("b").await.unwrap(), None);
    let found = cache.get_many_bytes(&["a", "b"]).await.unwrap();
    assert!(found[0].is_some() && found[1].is_none());
    clock.advance(Duration::from_secs(8));
    assert_eq!(cache.get_bytes("a").await.unwrap(), None);
}

async fn a_clock_that_is_set(Subject { cache, clock, .. }: Subject) {
    let hour = 3_600_000;
    cache.set_bytes("a", "1", &seconds(60)).await.unwrap();
    clock.step(-hour);
    // Whatever it says now, it is over in time.
    assert_eq!(cache.get_bytes("a").await.unwrap(), None);
    cache.set_bytes("a", "2", &seconds(60)).await.unwrap();
    assert!(cache.get_bytes("a").await.unwrap().is_some());
    clock.step(hour);
    assert_eq!(cache.get_bytes("a").await.unwrap(), None);
    cache.set_bytes("a", "3", &seconds(60)).await.unwrap();
    assert!(cache.get_bytes("a").await.unwrap().is_some());
    clock.advance(Duration::from_secs(60));
    assert_eq!(cache.get_bytes("a").await.unwrap(), None);
}

async fn tags(Subject { cache, .. }: Subject) {
    let posts = EntryOptions::new().tag("posts");
    let both = EntryOptions::new()
        .tag("posts")
        .tag("author:7")
        .tag("posts");
    for n in 0..700 {
        cache.set_bytes(format!("p{n}"), "x", &posts).await.unwrap();
    }
    cache
        .set_bytes("both", vec![7; 9_000], &both)
        .await
        .unwrap();
    cache.set_bytes("other", "x", &PLAIN).await.unwrap();
    cache.set_bytes("p0", "without", &PLAIN).await.unwrap();
    assert_eq!(cache.delete_tag("nobody's").await.unwrap(), 0);
    assert_eq!(cache.delete_tag("author:7").await.unwrap(), 1);
    assert_eq!(
        cache.delete_tags(&["posts", "author:7"]).await.unwrap(),
        699
    );
    assert!(cache.contains("p0").await.unwrap());
    assert!(cache.contains("other").await.unwrap());
    assert!(!cache.contains("p1").await.unwrap());
}

async fn namespaces(Subject { cache, .. }: Subject) {
    let (a, b) = (cache.namespace("a"), cache.namespace("b"));
    let inner = a.namespace("in");
    for handle in [&cache, &a, &b, &inner] {
        assert_eq!(handle.increment("k", 1, &PLAIN).await.unwrap(), 1);
    }
    cache
        .set_bytes("a", "a key, not a namespace", &PLAIN)
        .await
        .unwrap();
    assert_eq!(a.clear().await.unwrap(), 2);
    assert!(!a.contains("k").await.unwrap());
    assert!(!inner.contains("k").await.unwrap());
    assert!(b.contains("k").await.unwrap());
    assert!(cache.contains("a").await.unwrap());
    assert_eq!(cache.clear().await.unwrap(), 3);
    assert_eq!(cache.stats().await.unwrap().entries, 0);
}

async fn typed(Subject { cache, .. }: Subject) {
    let value = BTreeMap::from([("ä".to_string(), vec![1.5, -2.0])]);
    cache.set("a", &value, &PLAIN).await.unwrap();
    assert_eq!(cache.get("a").await.unwrap(), Some(value.clone()));
    assert!(!cache.add("a", "text", &PLAIN).await.unwrap());
    let error = cache.get::<u8>("a").await.unwrap_err();
    assert!(matches!(error, Error::Decode { .. }), "{error}");
    cache.set_many([("x", 1), ("y", 2)], &PLAIN).await.unwrap();
    let found = cache.get_many::<i32, _>(&["y", "z", "x"]).await.unwrap();
    assert_eq!(found, [Some(2), None, Some(1)]);
}

async fn refusals(Subject { cache, .. }: Subject) {
    let long = vec![b'k'; KEY_MAX_BYTES];
    let error = cache.get_bytes(&long).await.unwrap_err();
    assert!(
        matches!(error, Error::KeyTooLong { bytes: 1025 }),
        "{error}"
    );
    cache.set_bytes(&long[1..], "x", &PLAIN).await.unwrap();
    assert!(cache.contains(&long[1..]).await.unwrap());
    let error = cache.namespace("\0").get_bytes("k").await.unwrap_err();
    assert!(matches!(error, Error::NamespaceHasNul));
    let max = cache.stats().await.unwrap().bound_bytes / 4;
    cache.set_bytes("k", "old", &PLAIN).await.unwrap();
    let large = vec![0; max as usize + 1];
    let error = cache.set_bytes("k", large, &PLAIN).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("raise the bound"));
    assert_eq!(cache.get_bytes("k").await.unwrap(), Some(b"old".to_vec()));
    cache
        .set_bytes("k", vec![0; max as usize], &PLAIN)
        .await
        .unwrap();
    for tag in ["x".repeat(256), "\0".into()] {
        let options = EntryOptions::new().tag(tag);
        let error = cache.set_bytes("k", "x", &options).await.unwrap_err();
        assert!(matches!(error, Error::BadTag { .. }), "{error}");
    }
}

async fn statistics(Subject { cache, .. }: Subject) {
    cache
        .set_bytes("a", vec![0; 100_000], &PLAIN)
        .await
        .unwrap();
    for key in ["a", "a", "b"] {
        let _ = cache.get_bytes(key).await.unwrap();
    }
    let stats = cache.stats().await.unwrap();
    assert_eq!((stats.hits, stats.misses, stats.sets), (2, 1, 1));
    assert_eq!(stats.entries, 1);
    assert!(
        (100_000..1_000_000).contains(&stats.live_bytes),
        "{stats:?}"
    );
    assert!((stats.hit_rate() - 2.0 / 3.0).abs() < 1e-9);
}

async fn one_computes(Subject { cache, .. }: Subject) {
    let computed = Arc::new(AtomicUsize::new(0));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (cache, computed) = (cache.clone(), Arc::clone(&computed));
        all.spawn(async move {
            cache
                .get_or_insert_with("k", &PLAIN, async || {
                    computed.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Ok::<_, Error>("value".to_string())
                })
                .await
                .unwrap()
        });
    }
    assert!(all.join_all().await.iter().all(|value| value == "value"));
    assert_eq!(computed.load(Ordering::SeqCst), 1);
    assert_eq!(
        cache.get::<String>("k").await.unwrap().as_deref(),
        Some("value")
    );
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the app's own")]
    Own,
    #[error(transparent)]
    Cache(#[from] Error),
}

async fn who_fails_lets_the_next_try(Subject { cache, .. }: Subject) {
    let tries = Arc::new(AtomicUsize::new(0));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (cache, tries) = (cache.clone(), Arc::clone(&tries));
        all.spawn(async move {
            cache
                .get_or_insert_bytes_with("k", &PLAIN, async || {
                    let before = tries.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    if before < 3 {
                        Err(Trouble::Own)
                    } else {
                        Ok(b"fourth".to_vec())
                    }
                })
                .await
        });
    }
    let answers = all.join_all().await;
    let failed = answers
        .iter()
        .filter(|answer| matches!(answer, Err(Trouble::Own)));
    assert_eq!(failed.count(), 3);
    let well = answers
        .iter()
        .filter(|answer| matches!(answer, Ok(v) if v == b"fourth"));
    assert_eq!(well.count(), 5);
    assert_eq!(tries.load(Ordering::SeqCst), 4);
}

async fn who_is_dropped_lets_the_next_try(Subject { cache, .. }: Subject) {
    let (inside, entered) = tokio::sync::oneshot::channel();
    let first = tokio::spawn({
        let cache = cache.clone();
        async move {
            let _: Result<u8, Error> = cache
                .get_or_insert_with("k", &PLAIN, async move || {
                    let _ = inside.send(());
                    std::future::pending().await
                })
                .await;
        }
    });
    entered.await.unwrap();
    let second = tokio::spawn(async move {
        cache
            .get_or_insert_with("k", &PLAIN, async || Ok::<_, Error>(2))
            .await
            .unwrap()
    });
    tokio::task::yield_now().await;
    first.abort();
    let value = tokio::time::timeout(Duration::from_secs(5), second).await;
    assert_eq!(value.unwrap().unwrap(), 2);
}

async fn another_type_is_computed_anew(Subject { cache, .. }: Subject) {
    cache.set("k", "text", &PLAIN).await.unwrap();
    let compute = async || Ok::<_, Error>(7);
    let value = cache
        .get_or_insert_with("k", &PLAIN, compute)
        .await
        .unwrap();
    assert_eq!(value, 7);
    assert_eq!(cache.get::<i32>("k").await.unwrap(), Some(7));
}
