//! What the server does when nothing goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use futures_util::{StreamExt, TryStreamExt};
use monolite_testkit::s3::{Operation, S3Options, S3Server};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, MultipartUpload, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutPayload, UpdateVersion,
};

use super::{bytes, client, client_with};

#[tokio::test]
async fn an_object_comes_back_as_it_was_put() {
    let server = S3Server::start();
    let client = client(&server);
    let path = Path::parse("a/ä b+c.ltx").unwrap();
    let body = bytes(3_000_000);
    let attributes = Attributes::from_iter([
        (
            Attribute::Metadata("made-at".into()),
            "2026-01-02T03:04:05.678Z",
        ),
        (Attribute::ContentType, "application/x-test"),
    ]);
    let put = client.put_opts(&path, body.clone().into(), attributes.into());
    let put = put.await.unwrap();

    let got = client.get(&path).await.unwrap();
    let attribute = |name: Attribute| got.attributes.get(&name).unwrap().to_string();
    let made_at = attribute(Attribute::Metadata("made-at".into()));
    assert_eq!(made_at, "2026-01-02T03:04:05.678Z");
    assert_eq!(attribute(Attribute::ContentType), "application/x-test");
    assert_eq!(got.meta.e_tag, put.e_tag);
    assert_eq!(got.bytes().await.unwrap(), body);

    let head = client.head(&path).await.unwrap();
    assert_eq!((head.size, &head.e_tag), (3_000_000, &put.e_tag));
    let age = std::time::SystemTime::now().duration_since(head.last_modified.into());
    assert!(age.unwrap() < Duration::from_secs(60));

    assert_eq!(server.object("a/ä b+c.ltx").unwrap(), body);
    assert_eq!(
        server.metadata("a/ä b+c.ltx", "made-at").as_deref(),
        Some("2026-01-02T03:04:05.678Z")
    );
    let counts = server.counts();
    assert_eq!(counts.requests, 3);
    assert_eq!(counts.of(Operation::PutObject), 1);
    assert_eq!(counts.of(Operation::GetObject), 1);
    assert_eq!(counts.of(Operation::HeadObject), 1);
    assert_eq!(counts.by_method["PUT"], 1);
    assert_eq!((counts.bytes_in, counts.bytes_out), (3_000_000, 3_000_000));
    assert!(counts.wire_in > 3_000_000 && counts.wire_out > 3_000_000);
    let log = server.log();
    assert_eq!(log[0].key, "a/ä b+c.ltx");
    assert_eq!((log[0].status, log[0].bytes_in), (Some(200), 3_000_000));
    server.reset_counts();
    assert_eq!(server.counts().requests, 0);
    assert!(server.log().is_empty());
}

#[tokio::test]
async fn ranges_across_the_pieces_it_came_in() {
    let server = S3Server::start();
    let client = client(&server);
    let (path, body) = (Path::from("object"), bytes(5_000_000));
    client.put(&path, body.clone().into()).await.unwrap();
    for range in [0..100_u64, 1_000_000..4_999_999, 4_999_999..5_000_000] {
        let got = client.get_range(&path, range.clone()).await.unwrap();
        let want = &body[range.start as usize..range.end as usize];
        assert!(got == want, "{range:?}");
    }
    let tail = client.get_opts(
        &path,
        GetOptions::new().with_range(Some(object_store::GetRange::Suffix(7))),
    );
    assert_eq!(
        tail.await.unwrap().bytes().await.unwrap(),
        body[4_999_993..]
    );
    let beyond = client.get_range(&path, 5_000_000..5_000_001).await;
    assert!(beyond.is_err());
    let same = server.log().last().unwrap().clone();
    assert_eq!(same.status, Some(416));
}

#[tokio::test]
async fn a_conditional_put_has_one_winner() {
    let server = S3Server::start();
    let client = client(&server);
    let path = Path::from("lease");
    let put = |body: &'static str, mode: PutMode| {
        client.put_opts(&path, PutPayload::from_static(body.as_bytes()), mode.into())
    };
    let first = put("1", PutMode::Create).await.unwrap();
    let again = put("2", PutMode::Create).await;
    assert!(
        matches!(again, Err(Error::AlreadyExists { .. })),
        "{again:?}"
    );
    assert_eq!(server.log().last().unwrap().status, Some(412));

    let update = |tag: &Option<String>| {
        PutMode::Update(UpdateVersion {
            e_tag: tag.clone(),
            version: None,
        })
    };
    let racing: Vec<_> = (0..8).map(|_| put("3", update(&first.e_tag))).collect();
    let racing = futures_util::future::join_all(racing).await;
    // They all write the same, yet only one finds the tag it names.
    let won = racing.iter().filter(|put| put.is_ok()).count();
    assert_eq!(won, 1, "{racing:?}");
    let lost = racing.into_iter().find(Result::is_err).unwrap();
    assert!(matches!(lost, Err(Error::Precondition { .. })), "{lost:?}");
    assert_eq!(server.object("lease").unwrap(), b"3");

    client.delete(&path).await.unwrap();
    let gone = put("4", update(&first.e_tag)).await;
    assert!(gone.is_err());
    assert_eq!(server.object("lease"), None);
}

#[tokio::test]
async fn conditional_reads_and_copies() {
    let server = S3Server::start();
    let client = client(&server);
    let (path, other) = (Path::from("a"), Path::from("b"));
    let tag = client.put(&path, "x".into()).await.unwrap().e_tag;
    let unless = |tag: &Option<String>| GetOptions::new().with_if_none_match(tag.clone());
    let only_if = |tag: &Option<String>| GetOptions::new().with_if_match(tag.clone());
    let same = client.get_opts(&path, unless(&tag)).await;
    assert!(matches!(same, Err(Error::NotModified { .. })), "{same:?}");
    client.get_opts(&path, only_if(&tag)).await.unwrap();

    client.put(&path, "y".into()).await.unwrap();
    client.get_opts(&path, unless(&tag)).await.unwrap();
    let changed = client.get_opts(&path, only_if(&tag)).await;
    assert!(
        matches!(changed, Err(Error::Precondition { .. })),
        "{changed:?}"
    );

    client.copy(&path, &other).await.unwrap();
    assert_eq!(server.object("b").unwrap(), b"y");
    assert_eq!(server.counts().of(Operation::CopyObject), 1);
    assert!(server.remove("b") && !server.remove("b"));
}

#[tokio::test]
async fn listings_have_pages_and_folders() {
    let server = S3Server::start_with(S3Options {
        page: 7,
        ..S3Options::default()
    });
    let client = client(&server);
    for n in 0..50 {
        server.put(&format!("db/{:04x}/{n:03}.ltx", n % 5), vec![0; n]);
    }
    server.put("db/file", "x");
    server.put("dc", "x");

    let listed: Vec<_> = client
        .list(Some(&Path::from("db")))
        .try_collect()
        .await
        .unwrap();
    let keys: Vec<_> = listed
        .iter()
        .map(|meta| meta.location.to_string())
        .collect();
    assert_eq!(keys, server.keys("db/"));
    assert_eq!(keys.len(), 51);
    assert_eq!(listed[3].size, 15);
    assert!(listed[3].e_tag.is_some());
    assert_eq!(server.counts().of(Operation::ListObjects), 8);
    assert_eq!(server.log()[0].key, "db/");

    let level = client
        .list_with_delimiter(Some(&Path::from("db")))
        .await
        .unwrap();
    let folders: Vec<_> = level.common_prefixes.iter().map(Path::as_ref).collect();
    assert_eq!(
        folders,
        ["db/0000", "db/0001", "db/0002", "db/0003", "db/0004"]
    );
    assert_eq!(level.objects.len(), 1);

    let after = client.list_with_offset(Some(&Path::from("db")), &Path::from("db/0004/044.ltx"));
    let after: Vec<_> = after
        .map_ok(|meta| meta.location.to_string())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(after, ["db/0004/049.ltx", "db/file"]);
}

#[tokio::test]
async fn many_are_deleted_at_once() {
    let server = S3Server::start();
    let client = client(&server);
    let keys: Vec<_> = (0..2500).map(|n| format!("k/{n}")).collect();
    for key in &keys {
        server.put(key, "x");
    }
    let paths = keys.iter().map(|key| Ok(Path::from(key.as_str())));
    let paths = futures_util::stream::iter(paths.collect::<Vec<_>>()).boxed();
    let deleted: Vec<_> = client.delete_stream(paths).try_collect().await.unwrap();
    assert_eq!(deleted.len(), 2500);
    assert_eq!(server.keys(""), [""; 0]);
    assert_eq!(server.counts().of(Operation::DeleteObjects), 3);
}

#[tokio::test]
async fn an_upload_in_parts_appears_whole_or_not_at_all() {
    let server = S3Server::start();
    let client = client(&server);
    let (path, body) = (Path::from("large"), bytes(12 << 20));
    let attributes = Attributes::from_iter([(Attribute::Metadata("made-at".into()), "today")]);
    let options = PutMultipartOptions::from(attributes);
    let mut upload = client.put_multipart_opts(&path, options).await.unwrap();
    for part in body.chunks(5 << 20) {
        upload.put_part(part.to_vec().into()).await.unwrap();
    }
    assert_eq!((server.object("large"), server.open_uploads()), (None, 1));
    upload.complete().await.unwrap();
    assert!(server.object("large").unwrap() == body);
    assert_eq!(
        server.metadata("large", "made-at").as_deref(),
        Some("today")
    );
    assert_eq!(server.open_uploads(), 0);
    assert_eq!(server.counts().of(Operation::UploadPart), 3);

    let mut upload = client.put_multipart(&Path::from("aborted")).await.unwrap();
    upload.put_part(vec![1; 5 << 20].into()).await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!((server.object("aborted"), server.open_uploads()), (None, 0));

    let mut upload = client
        .put_multipart(&Path::from("small-parts"))
        .await
        .unwrap();
    upload.put_part(vec![1; 1000].into()).await.unwrap();
    upload.put_part(vec![1; 1000].into()).await.unwrap();
    assert!(upload.complete().await.is_err());
    assert_eq!(server.object("small-parts"), None);
}

#[tokio::test]
async fn wrong_credentials_are_refused() {
    let server = S3Server::start();
    let path = Path::from("object");
    let secret = client_with(&server, |builder| builder.with_secret_access_key("wrong"));
    let error = secret.put(&path, "x".into()).await.unwrap_err();
    assert!(matches!(error, Error::PermissionDenied { .. }), "{error:?}");
    assert!(
        error.to_string().contains("SignatureDoesNotMatch"),
        "{error}"
    );
    let key = client_with(&server, |builder| builder.with_access_key_id("nobody"));
    let error = key.head(&path).await.unwrap_err();
    assert!(matches!(error, Error::PermissionDenied { .. }), "{error:?}");
    let unsigned = client_with(&server, |builder| builder.with_skip_signature(true));
    let error = unsigned.get(&path).await.unwrap_err();
    assert!(matches!(error, Error::PermissionDenied { .. }), "{error:?}");
    assert!(server.keys("").is_empty());
    let log: Vec<_> = server.log().iter().map(|logged| logged.status).collect();
    assert_eq!(log, [Some(403); 3]);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let server = S3Server::start();
    let error = client(&server).get(&Path::from("none")).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    let other = client_with(&server, |builder| builder.with_bucket_name("other"));
    let error = other.put(&Path::from("x"), "x".into()).await.unwrap_err();
    assert!(error.to_string().contains("NoSuchBucket"), "{error}");
    server.create_bucket("other");
    other.put(&Path::from("x"), "x".into()).await.unwrap();
}

#[tokio::test]
async fn objects_have_the_age_the_clock_says() {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = Arc::clone(&now);
    let server = S3Server::start_with(S3Options {
        clock: Arc::new(move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::Relaxed))),
        ..S3Options::default()
    });
    let client = client(&server);
    client.put(&Path::from("a"), "a".into()).await.unwrap();
    now.store(2_000_000, Ordering::Relaxed);
    client.put(&Path::from("b"), "b".into()).await.unwrap();
    let listed: Vec<_> = client.list(None).try_collect().await.unwrap();
    let times: Vec<_> = listed
        .iter()
        .map(|meta| meta.last_modified.timestamp())
        .collect();
    assert_eq!(times, [1_000_000, 2_000_000]);
}

#[tokio::test]
async fn it_ends_and_starts_again_on_its_port_with_what_it_held() {
    let server = S3Server::start();
    let client = client(&server);
    let path = Path::from("object");
    client.put(&path, "here".into()).await.unwrap();
    server.down();
    assert!(client.get(&path).await.is_err());
    server.up();
    let got = client.get(&path).await.unwrap();
    assert_eq!(got.bytes().await.unwrap(), "here");
}
