//! What the provider refuses for good, and what the error then says.

use monolite_replica::{Destination, DestinationOptions, ErrorClass, StorageError};
use monolite_testkit::s3::{Fault, Operation, Rule, S3Server};

use crate::bench::{TIME, answering, destination, file, hasty, open, replica};

/// The error of a put, which must have been tried once only, and of a list.
async fn refused(server: &S3Server, destination: &Destination) -> StorageError {
    let (header, body) = file(2, 2, TIME);
    let replica = destination.replica("app");
    let error = replica.put(0, &header, body.into()).await.unwrap_err();
    assert_eq!(server.counts().requests, 1, "{error}");
    assert!(!error.is_transient(), "{error:?}");
    let listed = replica.list_all().await.unwrap_err();
    assert_eq!(
        std::mem::discriminant(&listed),
        std::mem::discriminant(&error),
        "{listed:?}"
    );
    for error in [&error, &listed] {
        let text = format!("{error} {error:?}");
        assert!(!text.contains(server.secret_key()), "{text}");
        assert!(text.contains("s3://"), "{text}");
    }
    error
}

fn with(server: &S3Server, name: &str, value: &str) -> Destination {
    let mut variables = server.variables();
    for (known, old) in &mut variables {
        if *known == name {
            *old = value.into();
        }
    }
    open(&format!("s3://{}/p", server.bucket()), &variables, hasty())
}

#[tokio::test]
async fn wrong_keys_are_named_and_not_shown() {
    let server = S3Server::start();
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "AKID-of-nobody"),
        ("AWS_SECRET_ACCESS_KEY", "another-secret"),
    ] {
        server.reset_counts();
        let error = refused(&server, &with(&server, name, value)).await;
        let StorageError::Denied { fix, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(fix, "check the access key and its secret");
        let text = format!("{error} {error:?}");
        assert!(text.contains("403"), "{text}");
        assert!(!text.contains(value), "{text}");
    }
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    for (fault, mend) in [
        (
            Fault::Status(403),
            "allow these credentials to read, write, list and delete",
        ),
        (Fault::Code(401, "Unauthorized"), "check the credentials"),
        (
            Fault::Code(400, "ExpiredToken"),
            "the session token is over",
        ),
        (
            Fault::Code(403, "RequestTimeTooSkewed"),
            "set this machine's clock",
        ),
        (
            Fault::Code(301, "PermanentRedirect"),
            "check the region and the endpoint",
        ),
        (
            Fault::Code(400, "AuthorizationHeaderMalformed"),
            "check the region",
        ),
        (
            Fault::Code(405, "MethodNotAllowed"),
            "405 MethodNotAllowed made to go wrong",
        ),
    ] {
        let server = S3Server::start();
        server.faults().add(Rule::new(fault.clone()));
        let error = refused(&server, &destination(&server, hasty())).await;
        assert!(error.to_string().contains(mend), "{fault:?}: {error}");
        // A clock is set, and a token renewed, while one waits.
        let passes = mend.contains("clock") || mend.contains("token");
        let class = match passes {
            true => ErrorClass::Transient,
            false => ErrorClass::Permanent,
        };
        assert_eq!(error.class(), class, "{fault:?}: {error}");
    }
}

#[tokio::test]
async fn a_wrong_clock_is_told() {
    let server = S3Server::start();
    server.faults().skew(60);
    let error = refused(&server, &destination(&server, hasty())).await;
    assert!(
        error.to_string().ends_with("set this machine's clock"),
        "{error}"
    );
}

#[tokio::test]
async fn a_missing_bucket_is_told() {
    let server = S3Server::start();
    let destination = open("s3://not-there/p", &server.variables(), hasty());
    let error = refused(&server, &destination).await;
    assert!(matches!(error, StorageError::NoBucket { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .starts_with("s3://not-there/p: the bucket does not exist")
    );
    let error = destination.databases().await.unwrap_err();
    assert!(matches!(error, StorageError::NoBucket { .. }), "{error:?}");
    let error = destination.lease().holder().await.unwrap_err();
    assert!(matches!(error, StorageError::NoBucket { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_or_speaks_something_else_is_told() {
    let server = S3Server::start();
    server.down();
    let (header, body) = file(2, 2, TIME);
    let replica = replica(&server, hasty());
    let error = replica
        .put(0, &header, body.clone().into())
        .await
        .unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().contains("onnection refused"), "{error}");
    server.up();

    // TLS, where there is none.
    let url = server.url().replace("http://", "https://");
    let variables: Vec<_> = server
        .variables()
        .into_iter()
        .map(|(name, value)| match name {
            "AWS_ENDPOINT_URL_S3" => (name, url.clone()),
            _ => (name, value),
        })
        .collect();
    let replica = open("s3://test/p", &variables, hasty()).replica("app");
    let error = replica.put(0, &header, body.into()).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(server.counts().requests, 0);
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    let server = S3Server::start();
    let url = format!("s3://AKID:very%2Fsecret@{}/p?region=eu-1", server.bucket());
    let destination = open(&url, &server.variables(), DestinationOptions::default());
    let replica = destination.replica("app");
    assert_eq!(destination.name(), "s3://test/p");
    assert_eq!(replica.name(), "s3://test/p/app");
    let error = replica.list_all().await.unwrap_err();
    let all = format!(
        "{destination:?} {replica:?} {:?} {error} {error:?}",
        destination.lease()
    );
    for secret in ["very", "AKID", server.secret_key()] {
        assert!(!all.contains(secret), "{all}");
    }

    // Also if the provider repeats it.
    let variables = [
        ("AWS_ACCESS_KEY_ID", "id-of-someone".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "very/secret".to_owned()),
        (
            "AWS_ENDPOINT_URL",
            answering(|_| {
                "403 Forbidden\r\ncontent-length: 93\r\n\r\n<Error><Code>AccessDenied</Code>\
                 <Message>not id-of-someone with very/secret</Message></Error>"
            }),
        ),
    ];
    let replica = open("s3://test/p", &variables, hasty()).replica("app");
    let error = replica.list_all().await.unwrap_err();
    let all = format!("{error} {error:?}");
    assert!(all.contains("403 AccessDenied not *** with ***"), "{all}");
    assert!(!all.contains("someone") && !all.contains("secret"), "{all}");
}

#[tokio::test]
async fn what_is_not_an_answer_of_s3_is_tried_again() {
    let server = S3Server::start();
    let (header, body) = file(2, 2, TIME);
    let replica = replica(&server, hasty());
    replica.put(0, &header, body.into()).await.unwrap();
    // A list cut in two is no list.
    let torn = Rule::new(Fault::TornAnswer(30)).operation(Operation::ListObjects);
    let rule = server.faults().add(torn.next(1));
    assert_eq!(replica.list_all().await.unwrap().len(), 1);
    assert_eq!(rule.hits(), 1);
}

#[tokio::test]
async fn a_page_that_is_no_list_is_not_an_empty_one() {
    for answer in [
        |_: &str| "200 OK\r\ncontent-length: 26\r\n\r\n<html><p>log in</p></html>\n",
        |_: &str| "200 OK\r\ncontent-length: 0\r\n\r\n",
        // Well formed as far as it goes.
        |_: &str| "200 OK\r\ncontent-length: 18\r\n\r\n<ListBucketResult>",
    ] {
        let variables = [
            ("AWS_ACCESS_KEY_ID", "id-of-someone".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "a-secret".to_owned()),
            ("AWS_ENDPOINT_URL", answering(answer)),
        ];
        let destination = open("s3://test/p", &variables, hasty());
        let error = destination.replica("app").list_all().await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no whole list of a bucket"), "{text}");
        assert!(destination.databases().await.is_err());
    }
}
