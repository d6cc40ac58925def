//! Each thing that can be made to go wrong, seen by a client.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use monolite_testkit::s3::{Fault, Operation, Rule, S3Server, View};
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};

use super::{bytes, client, client_with};

fn started() -> (S3Server, AmazonS3) {
    let server = S3Server::start();
    let client = client(&server);
    (server, client)
}

async fn keys(client: &AmazonS3) -> Vec<String> {
    let listed = client.list(None).map_ok(|meta| meta.location.to_string());
    listed.try_collect().await.unwrap()
}

#[tokio::test]
async fn statuses_strike_the_next_requests_that_match() {
    let (server, client) = started();
    let path = Path::from("db/0000/1.ltx");
    for (status, code) in [
        (503, "SlowDown"),
        (500, "InternalError"),
        (403, "AccessDenied"),
        (429, "TooManyRequests"),
    ] {
        let rule = Rule::new(Fault::Status(status)).method("PUT").key("/0000/");
        let rule = server.faults().add(rule.skip(1).next(2));
        client.put(&path, "0".into()).await.unwrap();
        client
            .put(&Path::from("db/0001/1.ltx"), "0".into())
            .await
            .unwrap();
        // Larger than what the connection takes before the answer is read.
        let error = client.put(&path, bytes(8 << 20).into()).await.unwrap_err();
        let text = format!("{error:?}");
        assert!(text.contains(code), "{text}");
        client.get(&path).await.unwrap();
        client.put(&path, "2".into()).await.unwrap_err();
        client.put(&path, "3".into()).await.unwrap();
        assert_eq!(rule.hits(), 2);
        let log = server.log();
        let struck = log.iter().filter(|logged| logged.fault.is_some());
        assert!(struck.map(|logged| logged.status).eq([Some(status); 2]));
        server.reset_counts();
    }
    let own = Rule::new(Fault::Code(400, "ExpiredToken")).next(1);
    server.faults().add(own);
    let error = format!("{:?}", client.get(&path).await.unwrap_err());
    assert!(error.contains("ExpiredToken"), "{error}");
}

#[tokio::test]
async fn chance_strikes_the_same_requests_with_the_same_seed() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (server, client) = started();
        let rule = Rule::new(Fault::Status(500)).chance(0.3, 42);
        let rule = server.faults().add(rule);
        let mut failed = Vec::new();
        for n in 0..50 {
            let put = client.put(&Path::from(format!("{n}")), "x".into()).await;
            failed.push(put.is_err());
        }
        let hits = failed.iter().filter(|failed| **failed).count();
        assert_eq!(rule.hits(), hits as u64);
        assert!((5..25).contains(&hits), "{hits} of 50");
        runs.push(failed);
        server.faults().remove(&rule);
        client.put(&Path::from("after"), "x".into()).await.unwrap();
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn a_delay_comes_with_other_faults() {
    let (server, client) = started();
    let delay = Duration::from_millis(300);
    server.faults().add(Rule::new(Fault::Delay(delay)).next(1));
    server.faults().add(Rule::new(Fault::Status(500)).next(1));
    let began = Instant::now();
    client.put(&Path::from("a"), "x".into()).await.unwrap_err();
    assert!(began.elapsed() >= delay);
    client.put(&Path::from("a"), "x".into()).await.unwrap();
}

#[tokio::test]
async fn a_hanging_request_is_done_once_it_is_let_go() {
    let (server, client) = started();
    let hang = server.faults().add(Rule::new(Fault::Hang).next(1));
    let put = tokio::spawn(async move { client.put(&Path::from("a"), "x".into()).await });
    hang.reached(1).await;
    assert_eq!(server.object("a"), None);
    server.faults().clear();
    put.await.unwrap().unwrap();
    assert!(server.object("a").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_request_whose_client_left_is_never_done() {
    let (server, client) = started();
    let hang = server.faults().add(Rule::new(Fault::Hang).next(1));
    let put = tokio::spawn(async move { client.put(&Path::from("a"), "x".into()).await });
    hang.reached(1).await;
    put.abort();
    assert!(put.await.unwrap_err().is_cancelled());
    let is_gone = || server.connections() == 0;
    tokio::task::block_in_place(|| monolite_testkit::wait_until("it is gone", is_gone));
    server.faults().clear();
    let other = super::client(&server);
    other.put(&Path::from("b"), "x".into()).await.unwrap();
    assert_eq!(server.keys(""), ["b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_write_is_done_after_its_client_left() {
    let (server, client) = started();
    let late = server.faults().add(Rule::new(Fault::DoneLate).next(1));
    let path = Path::from("a");
    let gone = client_with(&server, |builder| builder);
    let put = tokio::spawn(async move { gone.put(&Path::from("a"), "late".into()).await });
    late.reached(1).await;
    put.abort();
    client.put(&path, "in time".into()).await.unwrap();
    late.release();
    let is_late = || server.object("a").is_some_and(|body| body == b"late");
    tokio::task::block_in_place(|| monolite_testkit::wait_until("it is late", is_late));
}

#[tokio::test]
async fn a_reset_comes_instead_of_the_answer() {
    let (server, client) = started();
    server.faults().add(Rule::new(Fault::Reset).next(1));
    let error = client.put(&Path::from("a"), "x".into()).await.unwrap_err();
    assert!(
        format!("{error:?}").contains("ConnectionReset"),
        "{error:?}"
    );
    assert_eq!(server.object("a"), None);
    assert_eq!(server.log()[0].status, None);
    client.put(&Path::from("a"), "x".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_done_without_its_answer() {
    let (server, client) = started();
    for (n, fault) in [Fault::DoneThenStatus(500), Fault::DoneThenReset]
        .into_iter()
        .enumerate()
    {
        server.faults().add(Rule::new(fault).next(1));
        let path = Path::from(format!("{n}"));
        let create = || PutOptions::from(PutMode::Create);
        client
            .put_opts(&path, "x".into(), create())
            .await
            .unwrap_err();
        assert!(server.object(path.as_ref()).is_some());
        let again = client.put_opts(&path, "x".into(), create()).await;
        assert!(
            matches!(again, Err(Error::AlreadyExists { .. })),
            "{again:?}"
        );
    }
    let hang = server.faults().add(Rule::new(Fault::DoneThenHang).next(1));
    let put = tokio::spawn(async move { client.put(&Path::from("h"), "x".into()).await });
    hang.reached(1).await;
    let is_done = || server.object("h").is_some();
    tokio::task::block_in_place(|| monolite_testkit::wait_until("it is done", is_done));
    assert!(!put.is_finished());
    hang.release();
    put.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_torn_upload_leaves_nothing() {
    let (server, client) = started();
    let body = bytes(8 << 20);
    let torn = server
        .faults()
        .add(Rule::new(Fault::TornUpload(1 << 20)).next(1));
    client
        .put(&Path::from("a"), body.clone().into())
        .await
        .unwrap_err();
    assert_eq!(torn.hits(), 1);
    assert_eq!(server.object("a"), None);
    let taken = server.log()[0].bytes_in;
    assert!((1 << 20..8 << 20).contains(&taken), "{taken}");
    client.put(&Path::from("a"), body.into()).await.unwrap();
}

#[tokio::test]
async fn an_answer_is_torn_after_the_bytes_told() {
    let (server, client) = started();
    let body = bytes(100_000);
    server.put("a", body.clone());
    let rule = Rule::new(Fault::TornAnswer(12_345)).operation(Operation::GetObject);
    server.faults().add(rule.next(1));
    let got = client.get(&Path::from("a")).await.unwrap();
    assert_eq!(got.meta.size, 100_000);
    let mut came = Vec::new();
    let mut stream = got.into_stream();
    let error = loop {
        match stream.try_next().await {
            Ok(Some(piece)) => came.extend_from_slice(&piece),
            Ok(None) => panic!("the body is whole"),
            Err(error) => break error,
        }
    };
    assert_eq!(came, body[..12_345], "{error:?}");
    assert_eq!(server.log().last().unwrap().bytes_out, 12_345);
    assert_eq!(
        client
            .get(&Path::from("a"))
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap(),
        body
    );
}

#[tokio::test]
async fn a_wrong_byte_is_where_it_was_said() {
    let (server, client) = started();
    let body = bytes(2_000_000);
    server.put("a", body.clone());
    let path = Path::from("a");
    let wrong = server.faults().add(Rule::new(Fault::WrongByte(1_500_000)));
    let mut expected = body.clone();
    expected[1_500_000] ^= 0xff;
    assert!(client.get(&path).await.unwrap().bytes().await.unwrap() == expected);
    let range = client.get_range(&path, 1_499_990..1_500_010).await.unwrap();
    assert_eq!(range, expected[1_499_990..1_500_010]);
    let before = client.get_range(&path, 0..10).await.unwrap();
    assert_eq!(before, body[..10]);
    let after = client.get_range(&path, 1_500_001..1_500_010).await.unwrap();
    assert_eq!(after, body[1_500_001..1_500_010]);
    server.faults().remove(&wrong);
    assert!(client.get(&path).await.unwrap().bytes().await.unwrap() == body);
}

#[tokio::test]
async fn stale_listings_show_the_past() {
    let (server, client) = started();
    for n in 0..4 {
        client
            .put(&Path::from(format!("{n}")), "x".into())
            .await
            .unwrap();
    }
    client.delete(&Path::from("0")).await.unwrap();
    client
        .put(&Path::from("1"), "changed".into())
        .await
        .unwrap();

    let stale = |view| {
        server
            .faults()
            .add(Rule::new(Fault::StaleList(view)).next(1))
    };
    stale(View::ChangesAgo(1));
    assert_eq!(keys(&client).await, ["1", "2", "3"]);
    stale(View::ChangesAgo(2));
    assert_eq!(keys(&client).await, ["0", "1", "2", "3"]);
    stale(View::ChangesAgo(3));
    assert_eq!(keys(&client).await, ["0", "1", "2"]);
    stale(View::WithoutNewest(1));
    assert_eq!(keys(&client).await, ["2", "3"]);
    assert_eq!(keys(&client).await, ["1", "2", "3"]);

    stale(View::ChangesAgo(1));
    let listed: Vec<_> = client.list(None).try_collect().await.unwrap();
    assert_eq!(listed[0].size, 1);
    let listed: Vec<_> = client.list(None).try_collect().await.unwrap();
    assert_eq!(listed[0].size, 7);
}

#[tokio::test]
async fn a_clock_that_is_off_refuses_everything() {
    let (server, client) = started();
    let path = Path::from("a");
    for minutes in [-20, 20] {
        server.faults().skew(minutes);
        let error = client.put(&path, "x".into()).await.unwrap_err();
        assert!(matches!(error, Error::PermissionDenied { .. }), "{error:?}");
        assert!(
            format!("{error:?}").contains("RequestTimeTooSkewed"),
            "{error:?}"
        );
    }
    server.faults().skew(-10);
    client.put(&path, "x".into()).await.unwrap();
    server.faults().clear();
    client.put(&path, "x".into()).await.unwrap();
}
