//! Reading, while the provider or the network fails.

use monolite_replica::{DestinationOptions, FileInfo, Replica, StorageError};
use monolite_testkit::s3::{Fault, Operation, Rule, S3Options, S3Server, View};

use crate::bench::{TIME, all, file, filled, hasty, impatient, key, replica};

const SIZE: usize = 1 << 20;

fn get(fault: Fault) -> Rule {
    Rule::new(fault).operation(Operation::GetObject)
}

async fn stored(server: &S3Server, options: DestinationOptions) -> (Replica, FileInfo, Vec<u8>) {
    let replica = replica(server, options);
    let (header, body) = filled(2, 2, TIME, SIZE);
    let stored = replica.put(0, &header, body.clone().into()).await.unwrap();
    server.reset_counts();
    (replica, stored, body)
}

#[tokio::test]
async fn a_get_is_one_request() {
    let server = S3Server::start();
    let (replica, stored, body) = stored(&server, hasty()).await;
    assert_eq!(all(replica.get(&stored).await.unwrap()).await, body);
    assert_eq!(server.counts().requests, 1);
    let range = |server: &S3Server| server.log().pop().unwrap().range;
    assert_eq!(range(&server), None);
    replica.header(&stored).await.unwrap();
    assert_eq!(server.counts().requests, 2);
    assert_eq!(range(&server).unwrap(), "bytes=0-99");
}

#[tokio::test]
async fn a_broken_body_goes_on_where_it_broke() {
    for sealed in [false, true] {
        let server = S3Server::start();
        let key = sealed.then(|| key(1));
        let options = DestinationOptions { key, ..hasty() };
        let (replica, stored, body) = stored(&server, options).await;
        // More often than is tried without progress.
        let rule = server.faults().add(get(Fault::TornAnswer(100_000)).next(8));
        assert_eq!(all(replica.get(&stored).await.unwrap()).await, body);
        assert_eq!(rule.hits(), 8);
        let ranges = server.log().into_iter().map(|request| request.range);
        let ranges: Vec<_> = ranges.collect();
        assert_eq!(ranges[0], None);
        let start = |range: &Option<String>| -> u64 {
            let range = range.as_ref().unwrap().strip_prefix("bytes=").unwrap();
            let (start, end) = range.split_once('-').unwrap();
            assert_eq!(end.parse::<u64>().unwrap(), stored.size - 1);
            start.parse().unwrap()
        };
        let starts: Vec<_> = ranges[1..].iter().map(start).collect();
        assert!(starts.is_sorted() && starts[7] > 0, "{starts:?}");
        // What has come is not asked for again.
        let sent = server.counts().bytes_out;
        assert!(sent < stored.size + 8 * 100_000, "{sent}");
    }
}

#[tokio::test]
async fn without_progress_it_ends() {
    let server = S3Server::start();
    let (replica, stored, _) = stored(&server, hasty()).await;
    let rule = server.faults().add(get(Fault::TornAnswer(0)));
    let mut body = replica.get(&stored).await.unwrap();
    let error = body.next().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("cannot read s3://test/p/app/0000/"),
        "{error}"
    );
    assert_eq!(rule.hits(), 4);
}

#[tokio::test]
async fn a_get_that_hangs_is_asked_for_again() {
    let server = S3Server::start();
    let (replica, stored, body) = stored(&server, impatient()).await;
    let hang = server.faults().add(get(Fault::Hang).next(1));
    assert_eq!(all(replica.get(&stored).await.unwrap()).await, body);
    assert_eq!(hang.hits(), 1);
    assert_eq!(server.counts().of(Operation::GetObject), 2);
}

#[tokio::test]
async fn a_file_that_became_another_is_not_mixed_with_it() {
    let server = S3Server::start();
    let (replica, stored, _) = stored(&server, hasty()).await;
    server.faults().add(get(Fault::TornAnswer(100_000)).next(1));
    let mut body = replica.get(&stored).await.unwrap();
    let first = body.next().await.unwrap().unwrap();
    assert!(!first.is_empty());
    let name = "p/app/0000/0000000000000002-0000000000000002.ltx";
    server.put(name, filled(2, 2, TIME + 1, SIZE).1);
    let error = loop {
        match body.next().await {
            Ok(bytes) => assert!(bytes.is_some(), "it ended"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StorageError::Changed { .. }), "{error:?}");
    assert!(error.is_not_found(), "a restore plans anew");
}

#[tokio::test]
async fn a_file_deleted_meanwhile_is_not_found() {
    let server = S3Server::start();
    let (replica, stored, _) = stored(&server, hasty()).await;
    server.faults().add(get(Fault::TornAnswer(100_000)).next(1));
    let mut body = replica.get(&stored).await.unwrap();
    replica.delete(std::slice::from_ref(&stored)).await.unwrap();
    let error = loop {
        match body.next().await {
            Ok(bytes) => assert!(bytes.is_some(), "it ended"),
            Err(error) => break error,
        }
    };
    assert!(error.is_not_found(), "{error:?}");
}

#[tokio::test]
async fn the_error_comes_through_a_reader() {
    use tokio::io::AsyncReadExt;
    let server = S3Server::start();
    let (replica, stored, _) = stored(&server, hasty()).await;
    server.faults().add(get(Fault::TornAnswer(0)));
    let mut body = replica.get(&stored).await.unwrap();
    let error = body.read_to_end(&mut Vec::new()).await.unwrap_err();
    let error = StorageError::from_io(error).unwrap();
    assert!(error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_wrong_byte_does_not_pass_the_seal() {
    let server = S3Server::start();
    let key = Some(key(1));
    let (replica, stored, _) = stored(&server, DestinationOptions { key, ..hasty() }).await;
    server.faults().add(get(Fault::WrongByte(stored.size / 2)));
    let mut body = replica.get(&stored).await.unwrap();
    let error = loop {
        match body.next().await {
            Ok(bytes) => assert!(bytes.is_some(), "it ended"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, StorageError::Unsealable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn lists_heads_and_deletes_are_tried_again() {
    let server = S3Server::start_with(S3Options {
        page: 2,
        ..S3Options::default()
    });
    let replica = replica(&server, hasty());
    for min in 2..9 {
        let (header, body) = file(min, min, TIME);
        replica.put(0, &header, body.into()).await.unwrap();
    }
    for fault in [Fault::Status(503), Fault::Reset, Fault::TornAnswer(50)] {
        for operation in [
            Operation::ListObjects,
            Operation::GetObject,
            Operation::DeleteObjects,
        ] {
            // The second page of a list, say.
            let rule = Rule::new(fault.clone())
                .operation(operation)
                .skip(1)
                .next(2);
            server.faults().add(rule);
        }
        let files = replica.list_all().await.unwrap();
        assert!(files.len() >= 4);
        replica.header(&files[0]).await.unwrap();
        replica.header(&files[0]).await.unwrap();
        replica.delete(&files[..1]).await.unwrap();
        replica.delete(&files[..1]).await.unwrap();
        server.faults().clear();
    }
    assert_eq!(replica.list_all().await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_list_asks_once_for_each_page_and_a_delete_once_for_all() {
    let server = S3Server::start_with(S3Options {
        page: 3,
        ..S3Options::default()
    });
    let replica = replica(&server, hasty());
    for min in 2..9 {
        let (header, body) = file(min, min, TIME);
        replica.put(0, &header, body.into()).await.unwrap();
    }
    server.reset_counts();
    let files = replica.list_all().await.unwrap();
    assert_eq!((files.len(), server.counts().requests), (7, 3));
    replica.delete(&files).await.unwrap();
    assert_eq!(server.counts().of(Operation::DeleteObjects), 1);
    assert_eq!(server.counts().requests, 4);
}

#[tokio::test]
async fn a_provider_that_deletes_one_at_a_time_is_asked_so() {
    let server = S3Server::start();
    let rule = Rule::new(Fault::Status(501)).operation(Operation::DeleteObjects);
    let rule = server.faults().add(rule);
    let replica = replica(&server, hasty());
    let mut files = Vec::new();
    for min in 2..5 {
        let (header, body) = file(min, min, TIME);
        files.push(replica.put(0, &header, body.into()).await.unwrap());
    }
    replica.delete(&files[..2]).await.unwrap();
    replica.delete(&files).await.unwrap();
    assert_eq!(replica.list_all().await.unwrap(), []);
    assert_eq!(rule.hits(), 1);
    assert_eq!(server.counts().of(Operation::DeleteObject), 5);
}

#[tokio::test]
async fn a_stale_list_does_no_harm() {
    let server = S3Server::start();
    let (replica, _, body) = stored(&server, hasty()).await;
    let stale = Rule::new(Fault::StaleList(View::ChangesAgo(1)));
    server.faults().add(stale.operation(Operation::ListObjects));
    assert_eq!(replica.list_all().await.unwrap(), []);
    let (header, _) = filled(2, 2, TIME, SIZE);
    replica.put(0, &header, body.into()).await.unwrap();
    let (other, other_body) = filled(2, 2, TIME + 1, SIZE);
    let put = replica.put(0, &other, other_body.into()).await;
    assert!(
        matches!(put, Err(StorageError::AlreadyExists { .. })),
        "{put:?}"
    );
}
