//! Leases of several machines on one folder, with a clock that the test moves.

use std::path::Path;
use std::sync::Arc;

use super::super::{Destination, DestinationOptions};
use super::*;
use monolite_platform::clock::{Clock, ManualClock};

const TTL: Duration = Duration::from_secs(30);

struct SharedFolder {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
}

impl SharedFolder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        Self { dir, clock }
    }

    /// The same folder, as another process sees it.
    fn open(&self) -> LeaseStore {
        self.open_by(self.clock.clone())
    }

    fn open_by(&self, clock: Arc<ManualClock>) -> LeaseStore {
        let options = DestinationOptions {
            clock,
            ..DestinationOptions::default()
        };
        let url = self.dir.path().to_str().unwrap();
        Destination::parse(url, &|_| None, options).unwrap().lease()
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join(Path::new(KEY))
    }
}

fn node(name: &str) -> Node {
    Node {
        node: name.into(),
        host: format!("host-of-{name}"),
        pid: Some(7),
    }
}

fn holder_of(error: StorageError) -> (Holder, Duration) {
    match error {
        StorageError::Held {
            holder, remaining, ..
        } => (*holder, remaining),
        other => unreachable!("{other:?}"),
    }
}

#[tokio::test]
async fn one_has_it_and_the_other_is_told_who() {
    let folder = SharedFolder::new();
    let lease = folder.open().acquire(&node("a"), TTL).await.unwrap();
    assert_eq!(lease.epoch(), 1);
    assert!(lease.valid_for(Duration::from_secs(29)));
    assert!(!lease.valid_for(TTL));

    folder.clock.advance(Duration::from_secs(10));
    let error = folder.open().acquire(&node("b"), TTL).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("is written by node a on host-of-a (process 7) since 2023-"),
        "{text}"
    );
    assert!(text.contains("lasts 20 s more"), "{text}");
    let (holder, remaining) = holder_of(error);
    assert_eq!((holder.epoch, holder.node.as_str()), (1, "a"));
    assert_eq!(remaining, Duration::from_secs(20));
}

#[tokio::test]
async fn it_ends_unless_renewed_and_the_epoch_rises() {
    let folder = SharedFolder::new();
    let first = folder.open().acquire(&node("a"), TTL).await.unwrap();
    folder.clock.advance(Duration::from_secs(20));
    first.renew().await.unwrap();
    folder.clock.advance(Duration::from_secs(20));
    assert!(first.valid_for(Duration::from_secs(9)));
    let other = folder.open();
    assert!(other.acquire(&node("b"), TTL).await.is_err());

    folder.clock.advance(Duration::from_secs(10));
    assert!(!first.valid_for(Duration::ZERO));
    let second = other.acquire(&node("b"), TTL).await.unwrap();
    assert_eq!(second.epoch(), 2);

    let error = first.renew().await.unwrap_err();
    assert!(error.is_lease());
    assert!(error.to_string().contains("node b on host-of-b"), "{error}");
    // And it stays lost, whatever becomes of the other.
    second.release().await.unwrap();
    assert!(first.renew().await.is_err());
    assert!(!first.valid_for(Duration::ZERO));
    assert_eq!(
        folder
            .open()
            .acquire(&node("c"), TTL)
            .await
            .unwrap()
            .epoch(),
        3
    );
}

#[tokio::test]
async fn a_lease_ends_also_while_the_machine_is_suspended() {
    let folder = SharedFolder::new();
    let lease = folder.open().acquire(&node("a"), TTL).await.unwrap();
    folder.clock.suspend(TTL);
    assert!(!lease.valid_for(Duration::ZERO));
    lease.renew().await.unwrap();
    folder.clock.suspend(Duration::from_secs(20));
    assert!(lease.valid_for(Duration::from_secs(9)));
    assert!(!lease.valid_for(Duration::from_secs(10)));
}

#[tokio::test]
async fn a_machine_that_was_suspended_before_holds_a_lease_for_its_time_only() {
    let folder = SharedFolder::new();
    folder.clock.suspend(Duration::from_secs(3600));
    let lease = folder.open().acquire(&node("a"), TTL).await.unwrap();
    assert!(lease.valid_for(TTL - Duration::from_secs(1)));
    assert!(!lease.valid_for(TTL));
    folder.clock.advance(TTL);
    assert!(!lease.valid_for(Duration::ZERO));
    assert!(folder.open().acquire(&node("b"), TTL).await.is_ok());
}

#[tokio::test]
async fn what_was_given_back_is_free_at_once() {
    let folder = SharedFolder::new();
    let lease = folder.open().acquire(&node("a"), TTL).await.unwrap();
    lease.release().await.unwrap();
    assert!(!lease.valid_for(Duration::ZERO));
    assert!(matches!(
        lease.renew().await,
        Err(StorageError::Lost { .. })
    ));
    let holder = folder.open().holder().await.unwrap().unwrap();
    assert!(holder.released);
    assert_eq!(
        folder
            .open()
            .acquire(&node("b"), TTL)
            .await
            .unwrap()
            .epoch(),
        2
    );
    // Again, it does not take away what another has.
    lease.release().await.unwrap();
    assert!(!folder.open().holder().await.unwrap().unwrap().released);
}

#[tokio::test]
async fn a_restarted_node_need_not_wait_but_a_copy_of_it_elsewhere_must() {
    let folder = SharedFolder::new();
    let before = folder.open().acquire(&node("a"), TTL).await.unwrap();
    let again = Node {
        pid: Some(8),
        ..node("a")
    };
    let after = folder.open().acquire(&again, TTL).await.unwrap();
    assert_eq!(after.epoch(), 2);
    assert!(before.renew().await.is_err());
    let copy = Node {
        host: "elsewhere".into(),
        ..node("a")
    };
    assert!(folder.open().acquire(&copy, TTL).await.is_err());
}

#[tokio::test]
async fn a_wrong_wall_clock_does_not_take_it_from_anybody_for_long() {
    let folder = SharedFolder::new();
    let lease = folder.open().acquire(&node("a"), TTL).await.unwrap();
    // Behind: the lease seems to be of the future. It is waited for, once.
    let behind = Arc::new(ManualClock::at(folder.clock.now_ms() - 3_600_000));
    let store = folder.open_by(behind.clone());
    let error = store.acquire(&node("b"), TTL).await.unwrap_err();
    assert_eq!(holder_of(error).1, TTL);
    let pass = |time: Duration| {
        behind.advance(time);
        folder.clock.advance(time);
    };
    pass(Duration::from_secs(29));
    assert!(store.acquire(&node("b"), TTL).await.is_err());
    // Renewed, it is waited for again.
    lease.renew().await.unwrap();
    pass(Duration::from_secs(2));
    assert!(store.acquire(&node("b"), TTL).await.is_err());
    pass(TTL);
    assert_eq!(store.acquire(&node("b"), TTL).await.unwrap().epoch(), 2);
}

#[tokio::test]
async fn validity_is_not_by_the_wall_clock() {
    let folder = SharedFolder::new();
    let lease = folder.open().acquire(&node("a"), TTL).await.unwrap();
    folder.clock.step(-86_400_000);
    assert!(lease.valid_for(Duration::from_secs(29)));
    folder.clock.step(2 * 86_400_000);
    assert!(lease.valid_for(Duration::from_secs(29)));
}

#[tokio::test]
async fn many_race_and_one_wins() {
    let folder = SharedFolder::new();
    for round in 1..=5 {
        let takers = (0..8).map(|name| {
            let store = folder.open();
            tokio::spawn(async move { store.acquire(&node(&format!("n{name}")), TTL).await })
        });
        let mut won = Vec::new();
        for taker in takers.collect::<Vec<_>>() {
            match taker.await.unwrap() {
                Ok(lease) => won.push(lease),
                Err(error) => assert!(holder_of(error).0.node.starts_with('n')),
            }
        }
        assert_eq!(won.len(), 1);
        assert_eq!(won[0].epoch(), round);
        won[0].release().await.unwrap();
    }
}

#[tokio::test]
async fn a_permit_renews_when_too_little_is_left() {
    let folder = SharedFolder::new();
    let lease = folder.open().acquire(&node("a"), TTL).await.unwrap();
    let renewed = async || folder.open().holder().await.unwrap().unwrap().renewed_ms;
    let first = renewed().await;
    folder.clock.advance(Duration::from_secs(10));
    lease.permit(Duration::from_secs(10)).await.unwrap();
    assert_eq!(renewed().await, first);
    folder.clock.advance(Duration::from_secs(11));
    lease.permit(Duration::from_secs(10)).await.unwrap();
    assert_eq!(renewed().await, first + 21_000);
    // More than there is: half of it must do.
    folder.clock.advance(Duration::from_secs(14));
    lease.permit(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(renewed().await, first + 21_000);

    folder.clock.advance(Duration::from_secs(60));
    let other = folder.open().acquire(&node("b"), TTL).await.unwrap();
    let error = lease.permit(Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, StorageError::Lost { .. }));
    assert!(other.valid_for(Duration::ZERO));
}

#[tokio::test]
async fn fields_of_later_versions_are_passed_over_and_nonsense_is_not() {
    let folder = SharedFolder::new();
    std::fs::create_dir(folder.file().parent().unwrap()).unwrap();
    let later = r#"{"epoch": 41, "node": "z", "host": "h", "taken_ms": 1, "renewed_ms": 2,
                    "ttl_ms": 1000, "flavour": {"of": ["later"]}}"#;
    std::fs::write(folder.file(), later).unwrap();
    let holder = folder.open().holder().await.unwrap().unwrap();
    assert_eq!(
        (holder.epoch, holder.pid, holder.released),
        (41, None, false)
    );
    let lease = folder.open().acquire(&node("a"), TTL).await.unwrap();
    assert_eq!(lease.epoch(), 42);

    for wrong in ["", "{}", "nonsense", r#"{"epoch": -1}"#] {
        std::fs::write(folder.file(), wrong).unwrap();
        let error = folder.open().acquire(&node("b"), TTL).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("/.monolite/lease: this is no lease"),
            "{text}"
        );
        assert!(
            text.contains("delete it, if no other machine writes there"),
            "{text}"
        );
    }
    std::fs::write(folder.file(), vec![b' '; 17 * 1024]).unwrap();
    let error = folder.open().holder().await.unwrap_err();
    assert!(
        matches!(error, StorageError::TooLarge { limit: 16_384, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn no_lease_lasts_longer_than_a_day() {
    let folder = SharedFolder::new();
    std::fs::create_dir(folder.file().parent().unwrap()).unwrap();
    let greedy = format!(
        r#"{{"epoch": 1, "node": "z", "host": "h", "taken_ms": 1, "renewed_ms": {},
            "ttl_ms": {}}}"#,
        folder.clock.now_ms(),
        u64::MAX
    );
    std::fs::write(folder.file(), greedy).unwrap();
    let error = folder.open().acquire(&node("a"), TTL).await.unwrap_err();
    assert_eq!(holder_of(error).1, LONGEST);
    folder.clock.advance(LONGEST);
    assert!(folder.open().acquire(&node("a"), TTL).await.is_ok());
}

#[tokio::test]
async fn names_of_others_are_shown_without_what_they_could_do_to_a_terminal() {
    let folder = SharedFolder::new();
    let nasty = Node {
        node: format!("\u{1b}[2J\n{}", "x".repeat(1000)),
        ..node("a")
    };
    let _lease = folder.open().acquire(&nasty, TTL).await.unwrap();
    let text = folder
        .open()
        .acquire(&node("b"), TTL)
        .await
        .unwrap_err()
        .to_string();
    assert!(!text.contains('\u{1b}') && !text.contains('\n'), "{text:?}");
    assert!(text.len() < 500, "{}", text.len());
}

#[tokio::test]
async fn a_fence_stays_due_until_one_gives_back_the_lease_who_has_stored_all() {
    let folder = SharedFolder::new();
    let (store, ended) = (folder.open(), TTL + Duration::from_secs(1));
    let mut leases = Vec::new();
    for (name, expected) in [
        ("a", false),
        // An earlier life of its own.
        ("a", false),
        ("b", true),
        // It died before it stored anything.
        ("b", true),
        ("c", true),
        // One of its requests may be under way as well.
        ("a", true),
    ] {
        folder.clock.advance(ended);
        let lease = store.acquire(&node(name), TTL).await.unwrap();
        assert_eq!(lease.needs_fence(), expected, "{name}");
        leases.push(lease);
    }
    let last = leases.pop().unwrap();
    last.release_open().await.unwrap();
    let next = store.acquire(&node("b"), TTL).await.unwrap();
    assert!(next.needs_fence(), "it gave up");
    next.release().await.unwrap();
    let next = store.acquire(&node("c"), TTL).await.unwrap();
    assert!(!next.needs_fence(), "all was stored");
    assert_eq!(next.before().unwrap().node, "b");
    // However many there are, the object stays small.
    drop(next);
    for n in 0..40 {
        folder.clock.advance(ended);
        let lease = store.acquire(&node(&format!("n{n}")), TTL).await.unwrap();
        assert!(lease.needs_fence());
    }
    assert!(std::fs::metadata(folder.file()).unwrap().len() < 2_000);
}
