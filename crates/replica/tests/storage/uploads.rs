//! Writing, while the provider or the network fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use monolite_replica::{DestinationOptions, Permission, Permit, StorageError};
use monolite_testkit::s3::{Fault, Operation, Rule, S3Server};

use crate::bench::{LARGE, TIME, file, filled, hasty, impatient, key, replica, unwatched};

const NAME: &str = "p/app/0000/0000000000000002-0000000000000002.ltx";

fn put(fault: Fault) -> Rule {
    Rule::new(fault).operation(Operation::PutObject)
}

#[tokio::test]
async fn a_put_is_one_request() {
    let server = S3Server::start();
    let (header, body) = file(2, 2, TIME);
    let replica = replica(&server, hasty());
    replica.put(0, &header, body.into()).await.unwrap();
    let counts = server.counts();
    assert_eq!((counts.requests, counts.of(Operation::PutObject)), (1, 1));
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    for fault in [
        Fault::Status(503),
        Fault::Status(500),
        Fault::Status(429),
        Fault::Status(408),
        Fault::Status(409),
        Fault::Code(400, "RequestTimeout"),
        Fault::Reset,
        Fault::TornUpload(100),
    ] {
        let server = S3Server::start();
        let rule = server.faults().add(put(fault.clone()).next(2));
        let (header, body) = file(2, 2, TIME);
        let stored = replica(&server, hasty())
            .put(0, &header, body.clone().into())
            .await;
        assert!(stored.is_ok(), "{fault:?}: {stored:?}");
        assert_eq!(rule.hits(), 2, "{fault:?}");
        assert_eq!(server.object(NAME).unwrap(), body);
    }
}

#[tokio::test]
async fn what_does_not_pass_is_given_up_in_time() {
    let server = S3Server::start();
    let rule = server.faults().add(put(Fault::Status(503)));
    let (header, body) = file(2, 2, TIME);
    let put = replica(&server, hasty()).put(0, &header, body.into()).await;
    let error = put.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("cannot write s3://test/{NAME} now, tried 4 times")),
        "{text}"
    );
    assert!(text.ends_with("503 SlowDown made to go wrong"), "{text}");
    assert_eq!(rule.hits(), 4);
    assert!(server.object(NAME).is_none());
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_known_again() {
    for fault in [
        Fault::DoneThenReset,
        Fault::DoneThenStatus(500),
        Fault::DoneThenStatus(503),
        Fault::DoneThenHang,
    ] {
        for key in [None, Some(key(1))] {
            let server = S3Server::start();
            server.faults().add(put(fault.clone()).next(1));
            let options = DestinationOptions { key, ..impatient() };
            let sealed = options.key.is_some();
            let (header, body) = file(2, 2, TIME);
            let replica = replica(&server, options);
            let stored = replica.put(0, &header, body.clone().into()).await;
            let stored = stored.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            assert_eq!(stored.sealed, sealed);
            assert!(server.counts().of(Operation::PutObject) >= 2);
            assert_eq!(replica.get_bytes(&stored).await.unwrap(), body);
        }
    }
}

#[tokio::test]
async fn a_put_that_lands_late_changes_nothing() {
    let server = S3Server::start();
    let rule = server.faults().add(put(Fault::DoneLate).next(1));
    let (header, body) = file(2, 2, TIME);
    let replica = replica(&server, impatient());
    let stored = replica.put(0, &header, body.clone().into()).await.unwrap();
    rule.release();
    assert_eq!(server.object(NAME).unwrap(), body);
    assert_eq!(replica.list(0).await.unwrap()[0].size, stored.size);
}

#[tokio::test]
async fn what_another_wrote_meanwhile_is_not_taken_for_ours() {
    let server = S3Server::start();
    let (_, other) = file(2, 2, TIME + 1);
    server.faults().add(put(Fault::Reset).next(1));
    server.put(NAME, other.clone());
    let (header, body) = file(2, 2, TIME);
    let put = replica(&server, hasty()).put(0, &header, body.into()).await;
    assert!(
        matches!(put, Err(StorageError::AlreadyExists { .. })),
        "{put:?}"
    );
    assert_eq!(server.object(NAME).unwrap(), other);
}

#[tokio::test]
async fn a_server_that_hangs_or_is_down_costs_bounded_time() {
    let server = S3Server::start();
    let rule = server.faults().add(put(Fault::Hang));
    let (header, body) = file(2, 2, TIME);
    let replica = replica(&server, impatient());
    let put = replica.put(0, &header, body.clone().into()).await;
    let text = put.unwrap_err().to_string();
    assert!(
        text.ends_with("nothing: it did not answer in time"),
        "{text}"
    );
    assert_eq!(rule.hits(), 4);
    server.faults().clear();

    server.down();
    let put = replica.put(0, &header, body.clone().into()).await;
    let error = put.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    server.up();
    replica.put(0, &header, body.into()).await.unwrap();
}

#[tokio::test]
async fn a_provider_without_conditions_is_looked_at_first() {
    let server = S3Server::start();
    let conditional = put(Fault::Status(501)).next(1);
    let rule = server.faults().add(conditional);
    let (header, body) = file(2, 2, TIME);
    let replica = replica(&server, hasty());
    replica.put(0, &header, body.clone().into()).await.unwrap();
    assert_eq!(rule.hits(), 1);
    assert_eq!(server.counts().of(Operation::HeadObject), 1);
    // And still nothing is overwritten.
    let (other, other_body) = file(2, 2, TIME + 1);
    let put = replica.put(0, &other, other_body.into()).await;
    assert!(
        matches!(put, Err(StorageError::AlreadyExists { .. })),
        "{put:?}"
    );
    assert_eq!(server.object(NAME).unwrap(), body);
    assert_eq!(server.counts().of(Operation::PutObject), 2);
}

/// A large file in the server's bucket, put with `rules` in force.
async fn put_large(rules: &[Rule]) -> (S3Server, Vec<u8>, Result<(), StorageError>) {
    let server = S3Server::start();
    for rule in rules {
        server.faults().add(rule.clone());
    }
    let (header, body) = filled(2, 2, TIME, LARGE);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    std::fs::write(&path, &body).unwrap();
    let replica = replica(&server, hasty());
    let put = replica.put_file(0, &header, &path, unwatched()).await;
    (server, body, put.map(|_| ()))
}

#[tokio::test]
async fn parts_are_tried_again_one_by_one() {
    use Operation::{CompleteMultipartUpload, CreateMultipartUpload, UploadPart};
    let rule = |fault, operation| Rule::new(fault).operation(operation).next(1);
    let rules = [
        rule(Fault::Status(503), CreateMultipartUpload),
        rule(Fault::Status(503), UploadPart),
        rule(Fault::TornUpload(1 << 20), UploadPart).skip(1),
        rule(Fault::DoneThenReset, UploadPart).skip(2),
        rule(Fault::Status(503), CompleteMultipartUpload),
        rule(Fault::DoneThenReset, CompleteMultipartUpload),
    ];
    let (server, body, put) = put_large(&rules).await;
    assert!(put.is_ok(), "{put:?}");
    assert!(server.object(NAME).unwrap() == body);
    assert_eq!(server.open_uploads(), 0);
    let struck = server
        .log()
        .into_iter()
        .filter(|logged| logged.fault.is_some());
    assert_eq!(struck.count(), rules.len());
    assert_eq!(server.counts().of(UploadPart), 3 + 3);
}

#[tokio::test]
async fn parts_put_together_and_not_told_are_known_again() {
    let rule = Rule::new(Fault::DoneThenStatus(500)).next(1);
    let rule = rule.operation(Operation::CompleteMultipartUpload);
    let (server, body, put) = put_large(&[rule]).await;
    assert!(put.is_ok(), "{put:?}");
    assert!(server.object(NAME).unwrap() == body);
    assert_eq!(server.open_uploads(), 0);
}

#[tokio::test]
async fn an_upload_that_fails_leaves_nothing() {
    let rule = Rule::new(Fault::Status(503)).operation(Operation::UploadPart);
    let (server, _, put) = put_large(&[rule.skip(1)]).await;
    assert!(put.unwrap_err().is_transient());
    assert!(server.object(NAME).is_none());
    assert_eq!(server.open_uploads(), 0);
}

#[tokio::test]
async fn parts_put_together_overwrite_nothing() {
    let server = Arc::new(S3Server::start());
    let (_, other) = file(2, 2, TIME + 1);
    let (header, body) = filled(2, 2, TIME, LARGE);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    std::fs::write(&path, &body).unwrap();
    // Another's appears when all but the end is done.
    let appear = {
        let (server, other) = (server.clone(), other.clone());
        Arc::new(move |sent: u64| {
            if sent == LARGE as u64 {
                server.put(NAME, other.clone());
            }
        })
    };
    let replica = replica(&server, hasty());
    let put = replica.put_file(0, &header, &path, appear).await;
    assert!(
        matches!(put, Err(StorageError::AlreadyExists { .. })),
        "{put:?}"
    );
    assert_eq!(server.object(NAME).unwrap(), other);
    assert_eq!(server.open_uploads(), 0);
}

/// Says yes so many times.
struct Yes(AtomicU32);

impl Permit for Yes {
    fn permit(&self, within: Duration) -> Permission<'_> {
        assert!(within >= Duration::from_secs(1));
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        let name = "the destination".to_owned();
        let holder = None;
        let lost = StorageError::Lost { name, holder };
        Box::pin(async move { if left > 0 { Ok(()) } else { Err(lost) } })
    }
}

#[tokio::test]
async fn each_try_needs_a_permit() {
    let server = S3Server::start();
    let rule = server.faults().add(put(Fault::Status(503)));
    let (header, body) = file(2, 2, TIME);
    let yes = Arc::new(Yes(AtomicU32::new(2)));
    let replica = replica(&server, hasty()).with_permit(yes.clone());
    let put = replica.put(0, &header, body.clone().into()).await;
    assert!(matches!(put, Err(StorageError::Lost { .. })), "{put:?}");
    assert_eq!(rule.hits(), 2);
    server.faults().clear();
    yes.0.store(1, Ordering::Relaxed);
    let stored = replica.put(0, &header, body.into()).await.unwrap();
    let deleted = replica.delete(&[stored]).await;
    assert!(
        matches!(deleted, Err(StorageError::Lost { .. })),
        "{deleted:?}"
    );
    assert!(server.object(NAME).is_some());
}
