//! URLs and variables that are taken.

use std::collections::HashMap;

use object_store::aws::AmazonS3ConfigKey as K;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;

use super::*;

mod refusals;

pub(super) const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "wJalr/EXAMPLE+KEY"),
];

fn with(url: &str, variables: &[(&str, &str)]) -> Result<Setting> {
    let variables: HashMap<_, _> = variables.iter().copied().collect();
    parse(url, &|name| {
        variables.get(name).map(|value| (*value).into())
    })
}

pub(super) fn bucket(url: &str, more: &[(&str, &str)]) -> BucketUrl {
    let variables: Vec<_> = KEYS.iter().chain(more).copied().collect();
    match with(url, &variables).unwrap_or_else(|error| panic!("{url}: {error}")) {
        Setting::Bucket(bucket) => *bucket,
        Setting::Folder(path) => panic!("{url}: {path:?}"),
    }
}

fn s3(bucket: &BucketUrl, key: K) -> Option<String> {
    match &bucket.provider {
        Provider::S3(builder) => builder.get_config_value(&key),
        _ => None,
    }
}

pub(super) fn refused(url: &str, variables: &[(&str, &str)]) -> String {
    match with(url, variables) {
        Err(error @ StorageError::Setting { .. }) => error.to_string(),
        Err(error) => panic!("{url}: {error:?}"),
        Ok(_) => panic!("{url} was taken"),
    }
}

#[test]
fn an_amazon_bucket_needs_only_its_name() {
    let found = bucket("s3://backups/shop/main/", &[]);
    assert_eq!(found.name(), "s3://backups/shop/main");
    assert_eq!(
        (found.bucket.as_str(), found.prefix.as_str()),
        ("backups", "shop/main")
    );
    assert_eq!(s3(&found, K::Bucket).unwrap(), "backups");
    assert_eq!(s3(&found, K::Region).unwrap(), "us-east-1");
    assert_eq!(s3(&found, K::AccessKeyId).unwrap(), "AKIDEXAMPLE");
    assert_eq!(s3(&found, K::SecretAccessKey).unwrap(), "wJalr/EXAMPLE+KEY");
    assert_eq!(s3(&found, K::Endpoint), None);
    assert_eq!(s3(&found, K::VirtualHostedStyleRequest).unwrap(), "true");
    let dotted = bucket("s3://my.backups", &[("AWS_REGION", "eu-west-1")]);
    assert_eq!(s3(&dotted, K::VirtualHostedStyleRequest).unwrap(), "false");
    assert_eq!(s3(&dotted, K::Region).unwrap(), "eu-west-1");
    assert_eq!(dotted.name(), "s3://my.backups");
}

#[test]
fn tigris_on_fly_works_from_its_variables() {
    let fly = [
        ("AWS_ENDPOINT_URL_S3", "https://fly.storage.tigris.dev"),
        ("AWS_REGION", "auto"),
    ];
    let found = bucket("s3://shop/x", &fly);
    assert_eq!(
        s3(&found, K::Endpoint).unwrap(),
        "https://fly.storage.tigris.dev"
    );
    assert_eq!(s3(&found, K::Region).unwrap(), "auto");
    assert_eq!(s3(&found, K::VirtualHostedStyleRequest).unwrap(), "false");
    assert!(found.http.tigris && !found.http.plain);

    let variables: HashMap<_, _> = KEYS.iter().chain(&fly).copied().collect();
    let var = |name: &str| match name {
        "BUCKET_NAME" => Some("shop".to_owned()),
        _ => variables.get(name).map(|value| (*value).into()),
    };
    let Some(Setting::Bucket(found)) = from_variables(&var).unwrap() else {
        panic!("no bucket");
    };
    assert_eq!(found.name(), "s3://shop/monolite");
    assert!(from_variables(&|_| None).unwrap().is_none());
    assert!(from_variables(&|_| Some("  ".into())).unwrap().is_none());
    let wrong = from_variables(&|_| Some("s3://shop".into()));
    let text = wrong.err().unwrap().to_string();
    assert!(text.contains("the name of a bucket alone"), "{text}");
}

#[test]
fn the_query_wins_over_the_variables() {
    let url = "s3://b/p?endpoint=localhost:9000&region=eu-1&part-size=16777216&concurrency=3\
               &storageClass=STANDARD_IA&signPayload=false&skip_verify=yes";
    let more = [
        ("AWS_ENDPOINT_URL_S3", "https://other"),
        ("AWS_REGION", "us-2"),
    ];
    let found = bucket(url, &more);
    assert_eq!(s3(&found, K::Endpoint).unwrap(), "http://localhost:9000");
    assert_eq!(s3(&found, K::Region).unwrap(), "eu-1");
    assert_eq!(s3(&found, K::UnsignedPayload).unwrap(), "true");
    assert_eq!((found.part_size, found.concurrency), (16 << 20, 3));
    assert_eq!(found.storage_class.as_deref(), Some("STANDARD_IA"));
    assert!(found.http.plain && found.http.skip_verify && !found.http.tigris);
    let hosted = bucket(
        "s3://b/p?endpoint=https://s3.example.com/&forcePathStyle=false",
        &[],
    );
    assert_eq!(
        s3(&hosted, K::Endpoint).unwrap(),
        "https://b.s3.example.com"
    );
    assert_eq!(s3(&hosted, K::VirtualHostedStyleRequest).unwrap(), "true");
    let token = bucket("s3://b", &[("AWS_SESSION_TOKEN", "session-token")]);
    assert_eq!(s3(&token, K::Token).unwrap(), "session-token");
}

#[test]
fn hosts_of_providers_are_understood_as_litestream_does() {
    for (host, name, region, endpoint) in [
        ("b.s3.amazonaws.com", "b", "us-east-1", None),
        ("b.s3.eu-west-3.amazonaws.com", "b", "eu-west-3", None),
        ("a.b.s3.eu-west-3.amazonaws.com", "a.b", "eu-west-3", None),
        (
            "b.nyc3.digitaloceanspaces.com",
            "b",
            "nyc3",
            Some("https://nyc3.digitaloceanspaces.com"),
        ),
        (
            "b.s3.us-west-1.backblazeb2.com",
            "b",
            "us-west-1",
            Some("https://s3.us-west-1.backblazeb2.com"),
        ),
        (
            "b.s3.fr-par.scw.cloud",
            "b",
            "fr-par",
            Some("https://s3.fr-par.scw.cloud"),
        ),
        (
            "b.s3.filebase.com",
            "b",
            "us-east-1",
            Some("https://s3.filebase.com"),
        ),
        (
            "b.localhost:9000",
            "b",
            "us-east-1",
            Some("http://localhost:9000"),
        ),
        (
            "b.minio.example:9000",
            "b",
            "us-east-1",
            Some("https://minio.example:9000"),
        ),
    ] {
        let found = bucket(&format!("s3://{host}/p"), &[]);
        assert_eq!(found.bucket, name, "{host}");
        assert_eq!(s3(&found, K::Region).unwrap(), region, "{host}");
        assert_eq!(s3(&found, K::Endpoint).as_deref(), endpoint, "{host}");
    }
}

#[test]
fn credentials_come_from_the_url_the_variables_or_the_platform() {
    let found = with("s3://ID:a%2Fb%2Bc@b/p", &KEYS).unwrap();
    let Setting::Bucket(found) = found else {
        panic!("a folder")
    };
    assert_eq!(s3(&found, K::AccessKeyId).unwrap(), "ID");
    assert_eq!(s3(&found, K::SecretAccessKey).unwrap(), "a/b+c");
    assert_eq!(found.name(), "s3://b/p");
    let litestreams = [
        ("LITESTREAM_ACCESS_KEY_ID", "AKID"),
        ("LITESTREAM_SECRET_ACCESS_KEY", "secret"),
    ];
    assert!(with("s3://b", &litestreams).is_ok());
    let task = [("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x")];
    assert!(with("s3://b", &task).is_ok());
    assert!(refused("s3://b?endpoint=https://x", &task).contains("there are no credentials"));
    assert!(with("s3://b?credentials=instance", &[]).is_ok());
    assert!(with("s3://b?credentials=none", &[]).is_ok());
    let text = refused("s3://b", &[]);
    assert!(
        text.contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        "{text}"
    );
    assert!(refused("s3://b", &KEYS[..1]).contains("set AWS_SECRET_ACCESS_KEY"));
    assert!(refused("s3://b", &KEYS[1..]).contains("set AWS_ACCESS_KEY_ID"));
}

#[test]
fn secrets_lose_their_line_break() {
    let pasted = [
        ("AWS_ACCESS_KEY_ID", " AKID\n"),
        ("AWS_SECRET_ACCESS_KEY", "secret\r\n"),
    ];
    let Setting::Bucket(found) = with("s3://b", &pasted).unwrap() else {
        panic!("a folder")
    };
    assert_eq!(s3(&found, K::SecretAccessKey).unwrap(), "secret");
}

#[test]
fn folders_are_paths_or_file_urls() {
    for (url, path) in [
        ("/data/copies", "/data/copies"),
        ("copies", "copies"),
        ("file:///data/my%20copies", "/data/my copies"),
        ("file://localhost/data", "/data"),
        ("/odd?name#here", "/odd?name#here"),
    ] {
        match with(url, &[]).unwrap() {
            Setting::Folder(found) => assert_eq!(found, PathBuf::from(path)),
            Setting::Bucket(_) => panic!("{url}"),
        }
    }
}

#[test]
fn google_and_azure_take_their_own_variables() {
    let google = [("GOOGLE_APPLICATION_CREDENTIALS", "/key.json")];
    let Setting::Bucket(found) = with("gs://b/p", &google).unwrap() else {
        panic!("a folder")
    };
    let Provider::Gcs(builder) = &found.provider else {
        panic!("not Google's")
    };
    let key = GoogleConfigKey::ApplicationCredentials;
    assert_eq!(builder.get_config_value(&key).unwrap(), "/key.json");
    assert_eq!(found.name(), "gs://b/p");

    let azure = [
        ("AZURE_STORAGE_ACCOUNT_NAME", "shop"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0"),
    ];
    for url in ["az://c/p", "abs://c/p", "azure://c/p"] {
        let Setting::Bucket(found) = with(url, &azure).unwrap() else {
            panic!("a folder")
        };
        let Provider::Azure(builder) = &found.provider else {
            panic!("not Azure's")
        };
        let value = |key| builder.get_config_value(&key).unwrap();
        assert_eq!(value(AzureConfigKey::AccountName), "shop");
        assert_eq!(value(AzureConfigKey::AccessKey), "c2VjcmV0");
        assert_eq!(found.name(), "az://c/p");
    }
    let sas = ("LITESTREAM_AZURE_SAS_TOKEN", "?sv=1&sig=topsecret%3D");
    let Setting::Bucket(found) = with("abs://shop@c/p", &[sas]).unwrap() else {
        panic!("a folder")
    };
    assert_eq!(found.secrets.redact("sig=topsecret%3D"), "sig=***");
}
