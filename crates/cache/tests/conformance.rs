//! The conformance suite, on the SQLite engine.

#[path = "conformance/mod.rs"]
mod suite;

use std::sync::Arc;

use monolite_cache::{Cache, CacheOptions};
use monolite_component::ManualClock;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_conforms() {
    suite::conforms(|| {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(1_800_000_000_000));
        let options = CacheOptions::new()
            .bound_bytes(16 << 20)
            .clock(Arc::<ManualClock>::clone(&clock));
        suite::Subject {
            cache: Cache::open(dir.path().join("cache.sqlite3"), options).unwrap(),
            clock,
            _keep: Box::new(dir),
        }
    })
    .await;
}
