//! Every state that is kept, from every kind of place.

use std::time::Duration;

use monolite_ltx::Txid;
use monolite_replica::{
    Catalog, DestinationOptions, Integrity, IntegrityCheck, Key, Policy, Replica, RestoreError,
    RestoreOptions, Target, VerifyOptions, history, restore, verify,
};
use monolite_testkit::s3::S3Server;

use crate::world::{START, Source, bucket, folder, folder_with, names};

fn at(target: Target) -> RestoreOptions {
    RestoreOptions {
        target,
        integrity_check: IntegrityCheck::Full,
        ..RestoreOptions::default()
    }
}

/// Merges by the minute and the five minutes, and deletes nothing.
fn quick() -> Policy {
    Policy {
        short: Duration::from_secs(60),
        long: Duration::from_secs(300),
        ..Policy::default()
    }
}

/// Sends a history with all levels, a state each ten seconds.
async fn live(source: &mut Source, replica: &Replica, states: u64, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    source.send_whole(replica).await;
    let mut catalog = Catalog::load(replica).await.unwrap();
    while source.txid().0 < states {
        source.time_ms += 10_000;
        source.change(&mut random);
        let file = source.send(replica).await;
        catalog.add(file, source.time_ms);
        if source.txid().0.is_multiple_of(40) {
            let file = source.send_whole(replica).await;
            catalog.add(file, source.time_ms);
        }
        if source.txid().0.is_multiple_of(6) {
            catalog
                .maintain(replica, &quick(), source.time_ms)
                .await
                .unwrap();
        }
    }
}

async fn check_all(source: &Source, replica: &Replica, step: usize) {
    let dir = tempfile::tempdir().unwrap();
    for txid in (1..=source.txid().0).rev().step_by(step) {
        let out = dir.path().join(format!("{txid}.sqlite3"));
        let restored = restore(replica, &out, at(Target::Txid(Txid(txid))))
            .await
            .unwrap();
        let state = source.state(txid);
        assert!(
            std::fs::read(&out).unwrap() == state.bytes,
            "state {txid} differs"
        );
        assert_eq!(restored.txid, Txid(txid));
        assert_eq!(restored.timestamp_ms, state.time_ms);
        assert_eq!(restored.integrity, Integrity::Ok);
        let pages = state.bytes.len() / source.page_size();
        assert_eq!(restored.pages as usize, pages);
        assert_eq!(restored.map.len() as usize, pages);
        assert_eq!(restored.map.txid(), Txid(txid));
        let expected = source.checksums.then(|| restored.map.checksum());
        assert_eq!(restored.checksum, expected);
        assert_eq!(names(dir.path()), [format!("{txid}.sqlite3")]);
        std::fs::remove_file(&out).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_comes_back_from_a_folder() {
    for page_size in [512, 4096, 65536] {
        let dir = tempfile::tempdir().unwrap();
        let mut source = Source::new(dir.path(), page_size);
        let replica = folder(dir.path());
        live(&mut source, &replica, 130, u64::from(page_size)).await;
        let levels = |level: u8| {
            std::fs::read_dir(dir.path().join(format!("copy/app.sqlite3/ltx/{level}")))
                .unwrap()
                .count()
        };
        assert!(
            levels(1) > 10 && levels(2) > 3 && levels(9) == 4,
            "not all levels are used"
        );
        check_all(&source, &replica, 3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_state_comes_back_from_a_bucket() {
    let server = S3Server::start();
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(dir.path(), 4096);
    let replica = bucket(&server);
    live(&mut source, &replica, 70, 3).await;
    check_all(&source, &replica, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_encrypted_comes_back_with_the_key_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(dir.path(), 1024);
    let with = |byte: &str| DestinationOptions {
        key: Some(Key::parse(&byte.repeat(32)).unwrap()),
        ..DestinationOptions::default()
    };
    let replica = folder_with(dir.path(), with("07"));
    live(&mut source, &replica, 45, 5).await;
    check_all(&source, &replica, 5).await;
    for options in [DestinationOptions::default(), with("08")] {
        let other = folder_with(dir.path(), options);
        let out = dir.path().join("out.sqlite3");
        let error = restore(&other, &out, RestoreOptions::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("key"), "{error}");
        assert!(!out.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_checksums_is_checked_by_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(dir.path(), 4096);
    source.checksums = false;
    let replica = folder(dir.path());
    live(&mut source, &replica, 30, 9).await;
    check_all(&source, &replica, 7).await;
    let out = dir.path().join("out.sqlite3");
    let restored = restore(&replica, &out, RestoreOptions::default())
        .await
        .unwrap();
    assert_eq!(
        (restored.checksum, restored.integrity),
        (None, Integrity::Ok)
    );

    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(dir.path(), 4096);
    let replica = folder(dir.path());
    source.send_whole(&replica).await;
    let out = dir.path().join("out.sqlite3");
    let restored = restore(&replica, &out, RestoreOptions::default())
        .await
        .unwrap();
    assert!(restored.checksum.is_some());
    assert_eq!(restored.integrity, Integrity::Unchecked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_the_newest_state_that_is_not_younger() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(dir.path(), 1024);
    let replica = folder(dir.path());
    live(&mut source, &replica, 60, 1).await;
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..20 {
        let time_ms = START + random.i64(0..650_000);
        let restored = verify(&replica, verify_at(Target::Time(time_ms)))
            .await
            .unwrap();
        let expected = source
            .states
            .iter()
            .rposition(|state| state.time_ms <= time_ms);
        assert_eq!(
            restored.txid.0,
            expected.unwrap() as u64 + 1,
            "at {time_ms}"
        );
    }
    // A state may be asked for by its own time.
    let restored = verify(&replica, verify_at(Target::Time(source.state(31).time_ms))).await;
    assert_eq!(restored.unwrap().txid, Txid(31));

    let error = verify(&replica, verify_at(Target::Time(START - 3 * 3_600_000)))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} holds no state of 2026-03-01T09:00:00Z: it is 3 hours older than the oldest, of \
             2026-03-01T12:00:00Z (transaction 0000000000000001)",
            replica.name()
        )
    );
}

fn verify_at(target: Target) -> VerifyOptions {
    VerifyOptions {
        target,
        integrity_check: IntegrityCheck::None,
        ..VerifyOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verification_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = dir.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let mut source = Source::new(dir.path(), 4096);
    let replica = folder(dir.path());
    live(&mut source, &replica, 20, 2).await;
    for integrity_check in [
        IntegrityCheck::None,
        IntegrityCheck::Quick,
        IntegrityCheck::Full,
    ] {
        let options = VerifyOptions {
            integrity_check,
            scratch: scratch.clone(),
            ..VerifyOptions::default()
        };
        let verified = verify(&replica, options).await.unwrap();
        assert_eq!(verified.txid, Txid(20));
        let expected = match integrity_check {
            IntegrityCheck::None => Integrity::Unchecked,
            _ => Integrity::Ok,
        };
        assert_eq!(verified.integrity, expected);
        assert!(names(&scratch).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_tells_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let replica = folder(dir.path());
    let none = history(&replica).await.unwrap();
    assert_eq!((none.files, none.oldest, none.newest), (0, None, None));

    let mut source = Source::new(dir.path(), 1024);
    live(&mut source, &replica, 90, 8).await;
    let found = history(&replica).await.unwrap();
    let point = |txid: u64| monolite_replica::history::Point {
        txid: Txid(txid),
        time_ms: source.state(txid).time_ms,
    };
    assert_eq!(
        (found.oldest, found.newest),
        (Some(point(1)), Some(point(90)))
    );
    assert_eq!(found.broken, None);
    let levels: Vec<u8> = found.ranges.iter().map(|range| range.level).collect();
    assert_eq!(levels, [0, 1, 2, 9]);
    assert_eq!(
        (found.ranges[0].states, found.ranges[0].oldest),
        (89, point(2))
    );
    let snapshots: Vec<_> = found
        .snapshots
        .iter()
        .map(|snapshot| snapshot.state)
        .collect();
    assert_eq!(snapshots, [point(1), point(40), point(80)]);
    let files = replica.list_all().await.unwrap();
    assert_eq!(found.files, files.len());
    assert_eq!(found.bytes, files.iter().map(|file| file.size).sum::<u64>());

    // The states after a gap cannot be had, and it is told why.
    let gone: Vec<_> = files
        .iter()
        .filter(|file| file.min <= Txid(88) && file.max >= Txid(88))
        .cloned()
        .collect();
    replica.delete(&gone).await.unwrap();
    let found = history(&replica).await.unwrap();
    assert_eq!(found.newest, Some(point(87)));
    assert!(found.broken.is_some());
    let error = verify(&replica, verify_at(Target::Latest))
        .await
        .unwrap_err();
    assert!(matches!(error, RestoreError::Plan { .. }), "{error}");
}
