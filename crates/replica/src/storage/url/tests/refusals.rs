//! What is refused, and how it is told.

use super::{KEYS, bucket, refused};

#[test]
fn what_is_wrong_is_named_with_its_mend() {
    for (url, said) in [
        ("", "give a folder"),
        ("s3://", "the bucket is missing"),
        ("s3:///prefix", "the bucket is missing"),
        ("s3:/bucket/prefix", "two slashes"),
        (
            "s3://b?regoin=eu",
            "there is no key `regoin`; did you mean `region`?",
        ),
        ("s3://b?forcepathstyl=1", "did you mean `force-path-style`?"),
        ("s3://b?zzzzzzzzzz=1", "there are endpoint, region"),
        ("s3://b?region=a&Region=b", "given twice"),
        ("s3://b?force-path-style=maybe", "must be true or false"),
        ("s3://b?part-size=1024", "a number from 5242880 to"),
        ("s3://b?concurrency=0", "a number from 1 to 64"),
        ("s3://b?credentials=x", "must be `instance` or `none`"),
        ("s3://b?region=eu%20west", "the region has a character"),
        ("s3://b?region=auto", "AWS_ENDPOINT_URL_S3"),
        ("s3://b?endpoint=ftp://x", "https://HOST:PORT"),
        ("s3://b?endpoint=https://u:p@x", "https://HOST:PORT"),
        (
            "s3://b?sse-customer-key=x&sse-kms-key-id=y",
            "exclude each other",
        ),
        ("s3://b?sse-customer-algorithm=DES", "must be AES256"),
        ("s3://127.0.0.1:9000/b", "the bucket is missing"),
        ("s3://minio:9000/b", "an endpoint goes into the query"),
        ("s3://b$d", "no bucket has such a name"),
        (
            "s3://arn:aws:s3:eu:1:accesspoint/x",
            "the access point's alias",
        ),
        ("s3://b/a/../c", "no object can be called by"),
        ("s3://b/%0a", "no object can be called by"),
        ("s3://b/%zz", "percent signs"),
        ("s3://b/%ff", "percent signs"),
        ("s3://b/x#y", "write # as %23"),
        (
            "https://s3.example.com/b",
            "write s3://BUCKET/PREFIX?endpoint=",
        ),
        ("s4://b", "did you mean s3://?"),
        ("sftp://host/x", "there are s3, gs, az and file"),
        ("file://data/x", "three slashes"),
        ("file:///data?x=1", "neither a query nor a fragment"),
        ("file:///%f", "percent signs"),
        ("~/backup", "the whole path"),
        ("gs://", "the bucket is missing"),
        ("gs://b", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("gs://b?regon=x", "there are credentials"),
        ("az://", "the container is missing"),
        ("az://c", "AZURE_STORAGE_ACCOUNT_NAME"),
        ("az://account@c", "AZURE_STORAGE_ACCOUNT_KEY"),
    ] {
        let text = refused(url, &KEYS);
        assert!(text.contains(said), "{url}: {text}");
    }
}

#[test]
fn no_error_repeats_a_secret() {
    for url in [
        "s3://AKID:tops3cret@b/p?regoin=x",
        "s3://AKID:tops3cret@b/../p",
        // Its slash makes the host end early.
        "s3://AKID:tops/3cret@b/p",
        "s3://AKID:tops3cret%@b/p",
        "s3://b/p?sse-customer-key=tops3cret&x=y",
        "s3://b/p?endpoint=https://u:tops3cret@x",
        "xs3://AKID:tops3cret@b/p",
        "http://AKID:tops3cret@b/p",
    ] {
        let text = refused(url, &KEYS);
        assert!(
            !text.contains("3cret") && !text.contains("AKID"),
            "{url}: {text}"
        );
    }
    let torn = [KEYS[0], ("AWS_SECRET_ACCESS_KEY", "tops3cret\nsecond line")];
    let text = refused("s3://b", &torn);
    assert!(text.starts_with("AWS_SECRET_ACCESS_KEY: "), "{text}");
    assert!(!text.contains("3cret"), "{text}");

    let found = bucket("s3://b", &[("AWS_SESSION_TOKEN", "token/1")]);
    let said = "403 for AKIDEXAMPLE and wJalr/EXAMPLE+KEY (wJalr%2FEXAMPLE%2BKEY) with token/1";
    assert_eq!(
        found.secrets.redact(said),
        "403 for *** and *** (***) with ***"
    );
    assert_eq!(format!("{:?}", found.secrets), "Secrets(..)");
}
