//! `az://container/prefix`: Azure Blob Storage.

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

use super::super::error::Result;
use super::bucket::{BucketUrl, Provider};
use super::host::checked;
use super::parts::Parts;
use super::query::Query;
use super::secrets::Secrets;
use super::variables::{Variables, graphic};

const KEYS: [&str; 6] = [
    "account",
    "endpoint",
    "credentials",
    "storage-class",
    "part-size",
    "concurrency",
];
const ACCOUNT: [&str; 3] = [
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT",
    "LITESTREAM_AZURE_ACCOUNT_NAME",
];
const KEY: [&str; 4] = [
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_KEY",
    "LITESTREAM_AZURE_ACCOUNT_KEY",
];
const SAS: [&str; 2] = ["AZURE_STORAGE_SAS_TOKEN", "LITESTREAM_AZURE_SAS_TOKEN"];
const CLIENT: [(&str, AzureConfigKey); 3] = [
    ("AZURE_TENANT_ID", AzureConfigKey::AuthorityId),
    ("AZURE_CLIENT_ID", AzureConfigKey::ClientId),
    ("AZURE_CLIENT_SECRET", AzureConfigKey::ClientSecret),
];

pub(super) fn bucket(parts: &Parts, var: &Variables<'_>) -> Result<BucketUrl> {
    let query = Query::new(parts, &KEYS)?;
    if parts.host.is_empty() {
        return Err(parts.refuse("the container is missing: az://CONTAINER/PREFIX"));
    }
    let account = query.get("account").map(str::to_owned);
    let account = parts.user.clone().or(account);
    let account = account
        .or_else(|| Some(var.first(&ACCOUNT)?.1))
        .ok_or_else(|| {
            parts.refuse(
                "the account is missing; set AZURE_STORAGE_ACCOUNT_NAME, or add `?account=…`",
            )
        })?;
    let mut secrets = Secrets::default();
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(&parts.host);
    let endpoint = query
        .get("endpoint")
        .map(|endpoint| checked(parts, "endpoint", endpoint));
    let endpoint = endpoint.transpose()?;
    if let Some(endpoint) = &endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let builder = match query.get("credentials") {
        Some("none") => builder.with_skip_signature(true),
        Some("instance") => builder,
        Some(_) => return Err(parts.refuse("`credentials` must be `instance` or `none`")),
        None => credentials(parts, var, builder, &mut secrets)?,
    };
    let provider = Provider::Azure(Box::new(builder));
    let mut bucket = BucketUrl::new("az", &parts.host, parts.path.clone(), provider);
    bucket.secrets = secrets;
    bucket.http.plain = endpoint.is_some_and(|url| url.starts_with("http://"));
    bucket.take_sizes(&query)?;
    Ok(bucket)
}

fn credentials(
    parts: &Parts,
    var: &Variables<'_>,
    builder: MicrosoftAzureBuilder,
    secrets: &mut Secrets,
) -> Result<MicrosoftAzureBuilder> {
    let in_url = parts.password.clone();
    let in_url = in_url.map(|key| graphic("the account key in the URL", key));
    let key = match in_url.transpose()? {
        Some(key) => Some(key),
        None => var.secret(&KEY)?,
    };
    if let Some(sas) = var.secret(&SAS)? {
        let sas = sas.trim_start_matches('?');
        secrets.add(sas);
        // The signature alone, too.
        let parts = sas.split('&').filter_map(|pair| pair.split_once("sig="));
        parts.for_each(|(_, signature)| secrets.add(signature));
        return Ok(builder.with_config(AzureConfigKey::SasKey, sas));
    }
    if let Some(key) = key {
        secrets.add(&key);
        return Ok(builder.with_access_key(key));
    }
    let values: Option<Vec<_>> = CLIENT
        .iter()
        .map(|(name, key)| Some((*key, var.get(name)?)))
        .collect();
    let Some(values) = values else {
        return Err(parts.refuse(
            "there are no credentials; set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, \
             or AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or add \
             `?credentials=instance` on a machine that Azure gives an identity",
        ));
    };
    Ok(values.into_iter().fold(builder, |builder, (key, value)| {
        secrets.add(&value);
        builder.with_config(key, value)
    }))
}
