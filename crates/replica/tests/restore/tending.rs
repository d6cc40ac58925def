//! Merging and deleting, as it is really done.

use std::time::Duration;

use monolite_ltx::Txid;
use monolite_replica::{
    Catalog, FileInfo, IntegrityCheck, Policy, Replica, RestoreOptions, Target, VerifyOptions,
    restore, verify,
};
use monolite_testkit::s3::{Operation, S3Server};

use crate::world::{Source, bucket, folder, names};

const MINUTE: i64 = 60_000;

async fn whole(replica: &Replica) -> Txid {
    verify(replica, VerifyOptions::default())
        .await
        .unwrap()
        .txid
}

/// How many files of each level.
async fn levels(replica: &Replica) -> [usize; 10] {
    let mut levels = [0; 10];
    for file in replica.list_all().await.unwrap() {
        levels[usize::from(file.level)] += 1;
    }
    levels
}

/// A catalog knows what a list says.
async fn is_true(catalog: &Catalog, replica: &Replica) {
    let of = |file: &FileInfo| (file.level, file.min, file.max, file.size);
    let listed = replica.list_all().await.unwrap();
    let known: Vec<_> = catalog.files().iter().map(of).collect();
    assert_eq!(known, listed.iter().map(of).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_goes_by() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(dir.path(), 512);
    let replica = folder(dir.path());
    let policy = Policy::default();
    source.send_whole(&replica).await;
    let mut catalog = Catalog::load(&replica)
        .await
        .unwrap()
        .scratch_in(dir.path());
    let mut random = fastrand::Rng::with_seed(1);
    let mut most = 0;
    for minute in 1..=26 * 60 {
        source.time_ms += MINUTE;
        if random.u8(..) < 90 {
            source.change(&mut random);
            let file = source.send(&replica).await;
            catalog.add(file, source.time_ms);
        }
        if minute % 5 == 0 {
            catalog
                .maintain(&replica, &policy, source.time_ms)
                .await
                .unwrap();
            most = most.max(catalog.files().len());
        }
        if minute == 24 * 60 {
            assert!(catalog.snapshot_age_ms(source.time_ms) >= 24 * 60 * MINUTE);
            let file = source.send_whole(&replica).await;
            catalog.add(file, source.time_ms);
            assert_eq!(catalog.snapshot_age_ms(source.time_ms), 0);
        }
    }
    is_true(&catalog, &replica).await;
    assert_eq!(catalog.newest(), Some(source.txid()));
    assert!(most < 40 + 30 + 30, "{most} files");
    let levels = levels(&replica).await;
    assert!(
        levels[0] < 80 && levels[1] < 40 && levels[2] > 20 && levels[9] == 2,
        "{levels:?}"
    );

    // Of each hour one state, and all of the last hour; exact to the byte.
    let out = dir.path().join("out.sqlite3");
    let now = source.time_ms;
    for (txid, state) in (1..).zip(&source.states) {
        let next = source
            .states
            .get(txid as usize)
            .map(|next| next.time_ms / (60 * MINUTE));
        let hourly =
            next != Some(state.time_ms / (60 * MINUTE)) && now - state.time_ms < 24 * 60 * MINUTE;
        if !hourly && now - state.time_ms >= 60 * MINUTE {
            continue;
        }
        let options = RestoreOptions {
            target: Target::Txid(Txid(txid)),
            overwrite: true,
            integrity_check: IntegrityCheck::None,
            ..RestoreOptions::default()
        };
        restore(&replica, &out, options).await.unwrap();
        assert!(
            std::fs::read(&out).unwrap() == state.bytes,
            "{txid} differs"
        );
    }
    assert!(
        !names(dir.path())
            .iter()
            .any(|name| name.contains("merging"))
    );
}

/// By the minute, so that there is something to do soon.
fn quick() -> Policy {
    Policy {
        short: Duration::from_secs(60),
        long: Duration::from_secs(600),
        every: Duration::from_secs(600),
        grace: Duration::from_secs(60),
        ..Policy::default()
    }
}

/// Some minutes of changes, and nothing tended yet.
async fn untended(source: &mut Source, replica: &Replica, minutes: i64) {
    let mut random = fastrand::Rng::with_seed(2);
    source.send_whole(replica).await;
    for _ in 0..minutes * 4 {
        source.time_ms += MINUTE / 4;
        source.change(&mut random);
        source.send(replica).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_machines_tend_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(dir.path(), 1024);
    let replica = folder(dir.path());
    untended(&mut source, &replica, 25).await;
    let mut one = Catalog::load(&replica).await.unwrap();
    let mut other = Catalog::load(&replica).await.unwrap();
    let mut third = Catalog::load(&replica).await.unwrap();
    let now = source.time_ms + 30 * MINUTE;
    let policy = quick();
    let (a, b) = tokio::join!(
        one.maintain(&replica, &policy, source.time_ms),
        other.maintain(&replica, &policy, source.time_ms),
    );
    assert!(a.unwrap().merged > 20 && b.unwrap().merged > 20);
    assert_eq!(whole(&replica).await, source.txid());

    // One that comes late finds the files gone that it would merge.
    let deleted = one.maintain(&replica, &policy, now).await.unwrap().deleted;
    assert!(deleted > 80, "{deleted}");
    third.maintain(&replica, &policy, now).await.unwrap();
    is_true(&third, &replica).await;
    assert_eq!(whole(&replica).await, source.txid());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tending_that_is_cut_short_is_taken_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(dir.path(), 1024);
    let replica = folder(dir.path());
    untended(&mut source, &replica, 25).await;
    let policy = quick();
    let mut random = fastrand::Rng::with_seed(3);
    let mut rounds = 0;
    let now = source.time_ms + 30 * MINUTE;
    loop {
        // Each life begins with what is there, and ends after some of its
        // requests: a future that is dropped goes no further.
        let mut catalog = Catalog::load(&replica).await.unwrap();
        let mut tend = Box::pin(catalog.maintain(&replica, &policy, now));
        let mut polls = random.u32(0..60);
        let done = std::future::poll_fn(|context| match tend.as_mut().poll(context) {
            std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
            std::task::Poll::Pending if polls == 0 => std::task::Poll::Ready(None),
            std::task::Poll::Pending => {
                polls -= 1;
                std::task::Poll::Pending
            }
        });
        let done = done.await;
        assert_eq!(whole(&replica).await, source.txid());
        rounds += 1;
        if let Some(done) = done {
            done.unwrap();
            break;
        }
    }
    assert!(rounds > 3, "never cut short");
    let mut catalog = Catalog::load(&replica).await.unwrap();
    catalog
        .maintain(&replica, &policy, now + 30 * MINUTE)
        .await
        .unwrap();
    let levels = levels(&replica).await;
    assert!(levels[0] < 10 && levels[2] >= 3, "{levels:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_are_merged_through_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let scratch = dir.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    std::fs::write(
        scratch.join(".monolite-merging-0000000000000001"),
        "left by a dead process",
    )
    .unwrap();
    let mut source = Source::new(dir.path(), 65536);
    let replica = folder(dir.path());
    source.send_whole(&replica).await;
    for _ in 0..5 {
        source.time_ms += 5_000;
        source.sql("INSERT INTO item (body) VALUES (randomblob(4500000))");
        source.send(&replica).await;
    }
    let mut catalog = Catalog::load(&replica).await.unwrap().scratch_in(&scratch);
    let tended = catalog
        .maintain(&replica, &quick(), source.time_ms + 2 * MINUTE)
        .await
        .unwrap();
    assert_eq!(tended.merged, 1);
    assert!(names(&scratch).is_empty(), "{:?}", names(&scratch));
    let merged = catalog.files().iter().find(|file| file.level == 1).unwrap();
    assert!(merged.size > 22_000_000);
    let out = dir.path().join("out.sqlite3");
    let restored = restore(&replica, &out, RestoreOptions::default())
        .await
        .unwrap();
    assert_eq!(restored.files, 2);
    assert!(std::fs::read(&out).unwrap() == source.states.last().unwrap().bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_made_for_what_is_known() {
    let server = S3Server::start();
    let replica = bucket(&server);
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(dir.path(), 1024);
    source.send_whole(&replica).await;
    let mut catalog = Catalog::load(&replica).await.unwrap();
    let mut random = fastrand::Rng::with_seed(2);
    server.reset_counts();
    for _ in 0..40 {
        source.time_ms += MINUTE / 4;
        source.change(&mut random);
        let (header, body) = source.next();
        let file = replica.put(0, &header, body.clone()).await.unwrap();
        catalog.add_with(file, header.timestamp_ms, body);
        catalog
            .maintain(&replica, &quick(), source.time_ms)
            .await
            .unwrap();
    }
    source.time_ms += 10 * MINUTE;
    catalog
        .maintain(&replica, &quick(), source.time_ms)
        .await
        .unwrap();
    let counts = server.counts();
    let merged = catalog
        .files()
        .iter()
        .filter(|file| (1..3).contains(&file.level))
        .count();
    assert!(merged > 9);
    assert_eq!(counts.of(Operation::PutObject), 40 + merged as u64);
    assert_eq!(counts.requests, 40 + merged as u64, "{counts:?}");
    server.reset_counts();
    for _ in 0..5 {
        catalog
            .maintain(&replica, &quick(), source.time_ms)
            .await
            .unwrap();
    }
    assert_eq!(server.counts().requests, 0);
}
