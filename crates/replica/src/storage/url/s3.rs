//! `s3://bucket/prefix`: Amazon's, and all that speak its protocol.

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};

use super::super::error::Result;
use super::bucket::{BucketUrl, Http, Provider};
use super::host::{Host, checked, is_tigris};
use super::parts::Parts;
use super::query::Query;
use super::secrets::Secrets;
use super::variables::{Variables, graphic};

/// Litestream's keys, and ours: `credentials`.
const KEYS: [&str; 15] = [
    "endpoint",
    "region",
    "force-path-style",
    "skip-verify",
    "sign-payload",
    "storage-class",
    "part-size",
    "concurrency",
    "credentials",
    "sse-customer-algorithm",
    "sse-customer-key",
    "sse-customer-key-md5",
    "sse-kms-key-id",
    // What these two are about is done right for every provider.
    "sign-accept-encoding",
    "require-content-md5",
];

pub(super) fn bucket(parts: &Parts, var: &Variables<'_>) -> Result<BucketUrl> {
    let query = Query::new(parts, &KEYS)?;
    let host = Host::parse(parts)?;
    let endpoint = match query.get("endpoint").map(str::to_owned).or(host.endpoint) {
        Some(endpoint) => Some(("endpoint", endpoint)),
        None => var.first(&[
            "AWS_ENDPOINT_URL_S3",
            "AWS_ENDPOINT_URL",
            "LITESTREAM_S3_ENDPOINT",
        ]),
    };
    let endpoint = endpoint.map(|(name, endpoint)| checked(parts, name, &endpoint));
    let endpoint = endpoint.transpose()?;
    let region = region(parts, &query, host.region, var, endpoint.as_deref())?;

    let mut secrets = Secrets::default();
    let builder = AmazonS3Builder::new()
        .with_bucket_name(&host.bucket)
        .with_region(region)
        .with_unsigned_payload(query.flag("sign-payload")? == Some(false));
    let builder = reach(&query, builder, &host.bucket, endpoint.as_deref())?;
    let builder = credentials(
        parts,
        &query,
        var,
        builder,
        &mut secrets,
        endpoint.is_some(),
    )?;
    let builder = encryption(parts, &query, builder, &mut secrets)?;

    let provider = Provider::S3(Box::new(builder));
    let mut bucket = BucketUrl::new("s3", &host.bucket, parts.path.clone(), provider);
    bucket.secrets = secrets;
    bucket.http = Http {
        plain: endpoint
            .as_deref()
            .is_some_and(|url| url.starts_with("http://")),
        skip_verify: query.flag("skip-verify")? == Some(true),
        tigris: endpoint.as_deref().is_some_and(is_tigris),
    };
    bucket.take_sizes(&query)?;
    Ok(bucket)
}

/// Where to send requests, and which way to name the bucket.
fn reach(
    query: &Query<'_>,
    builder: AmazonS3Builder,
    bucket: &str,
    endpoint: Option<&str>,
) -> Result<AmazonS3Builder> {
    let path_style = query.flag("force-path-style")?;
    Ok(match endpoint {
        // A wildcard certificate does not cover a bucket with a dot.
        None => builder
            .with_virtual_hosted_style_request(!path_style.unwrap_or_else(|| bucket.contains('.'))),
        Some(endpoint) if path_style != Some(false) => builder.with_endpoint(endpoint),
        Some(endpoint) => builder
            .with_endpoint(endpoint.replacen("://", &format!("://{bucket}."), 1))
            .with_virtual_hosted_style_request(true),
    })
}

fn region(
    parts: &Parts,
    query: &Query<'_>,
    host: Option<String>,
    var: &Variables<'_>,
    endpoint: Option<&str>,
) -> Result<String> {
    let said = query.get("region").map(str::to_owned).or(host);
    let region = said.or_else(|| Some(var.first(&["AWS_REGION", "AWS_DEFAULT_REGION"])?.1));
    let region = region.unwrap_or_else(|| "us-east-1".into());
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !region.bytes().all(good) {
        return Err(parts.refuse("the region has a character that none has"));
    }
    if region == "auto" && endpoint.is_none() {
        return Err(parts.refuse(
            "the region `auto` is for providers with an endpoint; set AWS_ENDPOINT_URL_S3, or \
             `region` to the bucket's own",
        ));
    }
    Ok(region)
}

fn credentials(
    parts: &Parts,
    query: &Query<'_>,
    var: &Variables<'_>,
    builder: AmazonS3Builder,
    secrets: &mut Secrets,
    has_endpoint: bool,
) -> Result<AmazonS3Builder> {
    let (id, secret) = match (&parts.user, &parts.password) {
        (None, _) => (
            var.secret(&["AWS_ACCESS_KEY_ID", "LITESTREAM_ACCESS_KEY_ID"])?,
            var.secret(&["AWS_SECRET_ACCESS_KEY", "LITESTREAM_SECRET_ACCESS_KEY"])?,
        ),
        (Some(id), Some(secret)) => (
            Some(graphic("the key id in the URL", id.clone())?),
            Some(graphic("the secret key in the URL", secret.clone())?),
        ),
        (Some(_), None) => {
            return Err(parts.refuse("a key id in the URL needs its secret: s3://ID:SECRET@BUCKET"));
        }
    };
    match query.get("credentials") {
        None => {}
        Some("instance") => return Ok(builder.with_imdsv1_fallback()),
        Some("none") => return Ok(builder.with_skip_signature(true)),
        Some(_) => return Err(parts.refuse("`credentials` must be `instance` or `none`")),
    }
    match (id, secret) {
        (Some(id), Some(secret)) => {
            secrets.add(&id);
            secrets.add(&secret);
            let mut builder = builder
                .with_access_key_id(id)
                .with_secret_access_key(secret);
            // One of the variables belongs to the key of the variables.
            if let (None, Some(token)) = (&parts.user, var.secret(&["AWS_SESSION_TOKEN"])?) {
                secrets.add(&token);
                builder = builder.with_token(token);
            }
            Ok(builder)
        }
        (Some(_), None) => {
            Err(parts.refuse("there is a key id and no secret; set AWS_SECRET_ACCESS_KEY"))
        }
        (None, Some(_)) => {
            Err(parts.refuse("there is a secret key and no id; set AWS_ACCESS_KEY_ID"))
        }
        (None, None) => task_credentials(var, builder, secrets, has_endpoint)?.ok_or_else(|| {
            parts.refuse(
                "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                 add `?credentials=instance` on a machine that Amazon gives a role",
            )
        }),
    }
}

/// Those that Amazon gives a container.
fn task_credentials(
    var: &Variables<'_>,
    builder: AmazonS3Builder,
    secrets: &mut Secrets,
    has_endpoint: bool,
) -> Result<Option<AmazonS3Builder>> {
    use AmazonS3ConfigKey as K;
    let groups: [&[(&'static str, K)]; 3] = [
        &[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", K::WebIdentityTokenFile),
            ("AWS_ROLE_ARN", K::RoleArn),
        ],
        &[(
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            K::ContainerCredentialsRelativeUri,
        )],
        &[
            (
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                K::ContainerCredentialsFullUri,
            ),
            (
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                K::ContainerAuthorizationTokenFile,
            ),
        ],
    ];
    if has_endpoint {
        return Ok(None);
    }
    for group in groups {
        let values: Option<Vec<_>> = group
            .iter()
            .map(|(name, key)| Some((*key, var.get(name)?)))
            .collect();
        let Some(values) = values else { continue };
        let mut builder = builder;
        for (key, value) in values {
            secrets.add(&value);
            builder = builder.with_config(key, value);
        }
        if let Some(name) = var.get("AWS_ROLE_SESSION_NAME") {
            builder = builder.with_config(K::RoleSessionName, name);
        }
        return Ok(Some(builder));
    }
    Ok(None)
}

/// The provider's own encryption, with a key of ours or of its key service.
fn encryption(
    parts: &Parts,
    query: &Query<'_>,
    builder: AmazonS3Builder,
    secrets: &mut Secrets,
) -> Result<AmazonS3Builder> {
    let algorithm = query.get("sse-customer-algorithm").unwrap_or("AES256");
    if algorithm != "AES256" {
        return Err(parts.refuse("`sse-customer-algorithm` must be AES256"));
    }
    match (query.get("sse-customer-key"), query.get("sse-kms-key-id")) {
        (None, None) => Ok(builder),
        (Some(_), Some(_)) => {
            Err(parts.refuse("`sse-customer-key` and `sse-kms-key-id` exclude each other"))
        }
        (Some(key), None) => {
            // In a query, a plus is a space.
            let key = key.replace(' ', "+");
            secrets.add(&key);
            Ok(builder.with_ssec_encryption(key))
        }
        (None, Some(id)) => Ok(builder.with_sse_kms_encryption(id)),
    }
}
