//! A bucket that fails in every way a bucket can.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::{Duration, Instant};

use common::{LONG, Volume, bucket, bucket_with, busy, dump, find, quick};
use monolite_replica::{
    Destination, ErrorClass, FollowOptions, Follower, RestoreOptions, State, Status, restore,
};
use monolite_testkit::s3::{Fault, Operation, Rule, S3Server, View};
use rusqlite::Connection;

fn follow(volume: &Volume, destinations: Vec<Destination>, options: FollowOptions) -> Follower {
    let (data, state) = (volume.path("data"), volume.path("state"));
    Follower::start(&data, &state, destinations, find(&data), options).unwrap()
}

async fn assert_restores(volume: &Volume, from: &Destination, now: &Connection) {
    let out = volume.path("restored.sqlite3");
    let options = RestoreOptions {
        overwrite: true,
        ..RestoreOptions::default()
    };
    let restored = restore(&from.replica("app.sqlite3"), &out, options)
        .await
        .unwrap();
    assert!(restored.checksum.is_some());
    assert_eq!(dump(&Connection::open(&out).unwrap()), dump(now));
}

fn table(volume: &Volume) -> Connection {
    let app = volume.database("app.sqlite3");
    app.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, b)")
        .unwrap();
    app
}

fn write(app: &Connection, n: i64) {
    app.execute(
        "INSERT OR REPLACE INTO t VALUES (?1 % 50, randomblob(900 + ?1))",
        [n],
    )
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_told_and_caught_up_with() {
    let (volume, server) = (Volume::new(), S3Server::start());
    let app = table(&volume);
    let follower = follow(&volume, vec![bucket(&server)], quick());
    follower.sync(LONG).await.unwrap();
    server.down();
    for n in 0..200 {
        write(&app, n);
    }
    let error = follower
        .sync(Duration::from_secs(3))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("app.sqlite3"), "{error}");
    assert!(!error.contains(server.secret_key()), "{error}");
    let status = &follower.status()[0];
    assert_eq!(status.state, State::Retrying);
    assert!(status.lag_ms > 1000, "{status:?}");
    server.up();
    follower.sync(LONG).await.unwrap();
    assert_eq!(follower.status()[0].lag_ms, 0);
    follower.stop(LONG).await.unwrap();
    assert_restores(&volume, &bucket(&server), &app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_destination_fails_alone() {
    let (volume, server) = (Volume::new(), S3Server::start());
    let app = table(&volume);
    let destinations = vec![bucket(&server), volume.destination()];
    server.down();
    let follower = follow(&volume, destinations, quick());
    for n in 0..20 {
        write(&app, n);
    }
    follower.sync(Duration::from_secs(2)).await.unwrap_err();
    assert_restores(&volume, &volume.destination(), &app).await;
    server.up();
    write(&app, 21);
    follower.sync(LONG).await.unwrap();
    follower.stop(LONG).await.unwrap();
    assert_restores(&volume, &bucket(&server), &app).await;
    assert_restores(&volume, &volume.destination(), &app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_faults_of_all_kinds_nothing_is_lost() {
    let (volume, server) = (Volume::new(), S3Server::start());
    let app = table(&volume);
    let follower = follow(&volume, vec![bucket(&server)], busy());
    let faults = [
        Fault::Status(503),
        Fault::Status(500),
        Fault::Reset,
        Fault::DoneThenStatus(500),
        Fault::DoneThenReset,
        Fault::TornUpload(100),
        Fault::TornAnswer(50),
        Fault::StaleList(View::WithoutNewest(2)),
        Fault::Delay(Duration::from_millis(30)),
    ];
    for (seed, fault) in faults.into_iter().enumerate() {
        server
            .faults()
            .add(Rule::new(fault).chance(0.05, seed as u64));
    }
    for n in 0..600 {
        write(&app, n);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.faults().clear();
    write(&app, 1000);
    follower.sync(LONG).await.unwrap();
    follower.stop(LONG).await.unwrap();
    assert_restores(&volume, &bucket(&server), &app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_stored_without_a_word_is_known_for_ours() {
    let (volume, server) = (Volume::new(), S3Server::start());
    let app = table(&volume);
    let follower = follow(&volume, vec![bucket(&server)], quick());
    follower.sync(LONG).await.unwrap();
    // Each try of one sync, which is too large to be kept for another: the next
    // one is made of what the database is then.
    let deaf = Rule::new(Fault::DoneThenReset).operation(Operation::PutObject);
    let deaf = server.faults().add(deaf.key("0000/").next(3));
    app.execute("INSERT INTO t VALUES (100, randomblob(1000000))", [])
        .unwrap();
    deaf.reached(3).await;
    for n in 0..5 {
        write(&app, n);
    }
    follower.sync(LONG).await.unwrap();
    follower.stop(LONG).await.unwrap();
    assert_restores(&volume, &bucket(&server), &app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_behind_is_not_taken_for_another_volumes_work() {
    let (volume, server) = (Volume::new(), S3Server::start());
    let app = table(&volume);
    let follower = follow(&volume, vec![bucket(&server)], quick());
    for n in 0..5 {
        write(&app, n);
        follower.sync(LONG).await.unwrap();
    }
    follower.stop(LONG).await.unwrap();
    write(&app, 6);
    let faults = server.faults();
    let stale = Rule::new(Fault::StaleList(View::WithoutNewest(2)));
    let stale = faults.add(stale.operation(Operation::ListObjects));
    let follower = follow(&volume, vec![bucket(&server)], quick());
    let error = follower.sync(Duration::from_secs(2)).await.unwrap_err();
    assert!(error.to_string().contains("not in the list"), "{error}");
    faults.remove(&stale);
    follower.sync(LONG).await.unwrap();
    follower.stop(LONG).await.unwrap();
    assert_restores(&volume, &bucket(&server), &app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_database_costs_no_request() {
    let (volume, server) = (Volume::new(), S3Server::start());
    let app = table(&volume);
    let follower = follow(&volume, vec![bucket(&server)], quick());
    write(&app, 1);
    follower.sync(LONG).await.unwrap();
    server.reset_counts();
    // Longer than anything here that comes round again by itself.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(server.counts().requests, 0, "{:?}", server.log());
    // One commit: one PUT.
    write(&app, 2);
    follower.sync(LONG).await.unwrap();
    assert_eq!(server.counts().requests, 1, "{:?}", server.log());
    assert_eq!(server.counts().of(Operation::PutObject), 1);
    follower.stop(LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_said_without_the_secret() {
    let (volume, server) = (Volume::new(), S3Server::start());
    let app = table(&volume);
    write(&app, 1);
    let secret = "wrong-and-very-secret";
    let follower = follow(&volume, vec![bucket_with(&server, secret)], quick());
    let error = fails_at_once(&follower).await;
    assert!(error.contains("s3://"), "{error}");
    assert!(
        !error.contains(secret) && !error.contains(server.access_key()),
        "{error}"
    );
    let status = status(&follower, "app.sqlite3");
    assert!(status.never_stored() && status.is_blocked(), "{status:?}");
    let since_ms = status.failure.unwrap().since_ms;
    fails_at_once(&follower).await;
    let again = self::status(&follower, "app.sqlite3").failure.unwrap();
    assert_eq!(again.since_ms, since_ms, "since the first time");
    let began = Instant::now();
    follower.stop(LONG).await.unwrap_err();
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
}

/// More than a few requests to a server of this machine, however loaded, and
/// less than the first pause after a permanent error.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The error of a sync that is not waited for, as waiting does not help.
async fn fails_at_once(follower: &Follower) -> String {
    let began = Instant::now();
    let error = follower.sync(LONG).await.unwrap_err();
    assert!(began.elapsed() < AT_ONCE, "{:?}: {error}", began.elapsed());
    error.to_string()
}

fn status(follower: &Follower, database: &str) -> Status {
    let mut all = follower.status().into_iter();
    all.find(|status| status.database == database).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_stored_once_it_is_allowed() {
    let (volume, server) = (Volume::new(), S3Server::start());
    let app = table(&volume);
    write(&app, 1);
    // Who may list, and may not write.
    let denied = Rule::new(Fault::Status(403)).operation(Operation::PutObject);
    let denied = server.faults().add(denied);
    let follower = follow(&volume, vec![bucket(&server)], quick());
    let error = fails_at_once(&follower).await;
    assert!(error.contains("allow these credentials"), "{error}");
    let failure = status(&follower, "app.sqlite3").failure.unwrap();
    assert_eq!(failure.class, ErrorClass::Permanent);
    server.faults().remove(&denied);
    follower.sync(LONG).await.unwrap();
    let status = status(&follower, "app.sqlite3");
    assert!(status.is_stored() && !status.never_stored(), "{status:?}");
    follower.stop(LONG).await.unwrap();
    assert_restores(&volume, &bucket(&server), &app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_database_is_told_at_once_and_hinders_no_other() {
    let volume = Volume::new();
    let app = table(&volume);
    write(&app, 1);
    std::fs::write(volume.path("data/bad.sqlite3"), [7; 8192]).unwrap();
    let follower = follow(&volume, vec![volume.destination()], quick());
    let error = fails_at_once(&follower).await;
    assert!(error.contains("bad.sqlite3"), "{error}");
    let bad = status(&follower, "bad.sqlite3");
    assert!(bad.never_stored() && bad.is_blocked(), "{bad:?}");
    let good = status(&follower, "app.sqlite3");
    assert!(good.is_stored() && !good.never_stored(), "{good:?}");
    follower.stop(LONG).await.unwrap_err();
    assert_restores(&volume, &volume.destination(), &app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_known_while_the_bucket_is_away() {
    let (volume, server) = (Volume::new(), S3Server::start());
    let app = table(&volume);
    let follower = follow(&volume, vec![bucket(&server)], quick());
    for n in 0..3 {
        write(&app, n);
        follower.sync(LONG).await.unwrap();
    }
    let before = status(&follower, "app.sqlite3");
    assert!(before.stored_ms.is_some(), "{before:?}");
    follower.stop(LONG).await.unwrap();
    server.down();
    let follower = follow(&volume, vec![bucket(&server)], quick());
    follower.sync(Duration::from_secs(2)).await.unwrap_err();
    let away = status(&follower, "app.sqlite3");
    assert!(!away.never_stored() && !away.is_blocked(), "{away:?}");
    assert!(away.txid <= before.txid && away.txid.0 + 1 >= before.txid.0);
    server.up();
    follower.sync(LONG).await.unwrap();
    let after = status(&follower, "app.sqlite3");
    assert_eq!(
        (after.txid, after.stored_ms),
        (before.txid, before.stored_ms)
    );
    follower.stop(LONG).await.unwrap();
}
