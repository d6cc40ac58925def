//! `gs://bucket/prefix`: Google Cloud Storage.

use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

use super::super::error::Result;
use super::bucket::{BucketUrl, Provider};
use super::parts::Parts;
use super::query::Query;
use super::secrets::Secrets;
use super::variables::Variables;

const KEYS: [&str; 4] = ["credentials", "storage-class", "part-size", "concurrency"];
const FILE: [&str; 4] = [
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "LITESTREAM_GOOGLE_APPLICATION_CREDENTIALS",
];

pub(super) fn bucket(parts: &Parts, var: &Variables<'_>) -> Result<BucketUrl> {
    let query = Query::new(parts, &KEYS)?;
    if parts.host.is_empty() {
        return Err(parts.refuse("the bucket is missing: gs://BUCKET/PREFIX"));
    }
    if parts.user.is_some() {
        return Err(parts.refuse("Google's credentials are a file, not part of the URL"));
    }
    let mut secrets = Secrets::default();
    let builder = GoogleCloudStorageBuilder::new().with_bucket_name(&parts.host);
    let builder = match query.get("credentials") {
        Some("none") => builder.with_skip_signature(true),
        Some("instance") => builder,
        Some(_) => return Err(parts.refuse("`credentials` must be `instance` or `none`")),
        None => {
            if let Some((_, path)) = var.first(&FILE) {
                builder.with_config(GoogleConfigKey::ApplicationCredentials, path)
            } else if let Some(key) = var.get("GOOGLE_SERVICE_ACCOUNT_KEY") {
                secrets.add(&key);
                builder.with_service_account_key(key)
            } else {
                return Err(parts.refuse(
                    "there are no credentials; set GOOGLE_APPLICATION_CREDENTIALS to the path of \
                     a service account's key file, or add `?credentials=instance` on a machine \
                     that Google gives an account",
                ));
            }
        }
    };
    let provider = Provider::Gcs(Box::new(builder));
    let mut bucket = BucketUrl::new("gs", &parts.host, parts.path.clone(), provider);
    bucket.secrets = secrets;
    bucket.take_sizes(&query)?;
    Ok(bucket)
}
