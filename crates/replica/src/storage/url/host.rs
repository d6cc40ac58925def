//! Hosts: which bucket and which provider they mean.

use super::super::error::Result;
use super::parts::Parts;

/// What the host of the URL says.
pub(super) struct Host {
    pub(super) bucket: String,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

impl Host {
    pub(super) fn parse(parts: &Parts) -> Result<Self> {
        let host = parts.host.as_str();
        if host.starts_with("arn:") {
            return Err(parts.refuse("an ARN is not understood; write the access point's alias"));
        }
        let found = Self::of_provider(host).unwrap_or_else(|| Self {
            bucket: host.into(),
            region: None,
            endpoint: None,
        });
        if found.bucket.is_empty() {
            return Err(parts.refuse("the bucket is missing: s3://BUCKET/PREFIX"));
        }
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !found.bucket.bytes().all(good) {
            return Err(parts.refuse(
                "no bucket has such a name; an endpoint goes into the query: \
                 s3://BUCKET/PREFIX?endpoint=https://HOST:PORT",
            ));
        }
        Ok(found)
    }

    /// `BUCKET.s3.REGION.amazonaws.com` and its like, as Litestream takes them.
    fn of_provider(host: &str) -> Option<Self> {
        let https = |host: &str| Some(format!("https://{host}"));
        let found = |bucket: &str, region: Option<&str>, endpoint| {
            Some(Self {
                bucket: bucket.into(),
                region: region.map(str::to_owned),
                endpoint,
            })
        };
        if let Some((before, rest)) = host.split_once(".s3.")
            && let Some(region) = rest.strip_suffix("amazonaws.com")
        {
            let region = region.strip_suffix('.').filter(|region| !region.is_empty());
            return found(before, region, None);
        }
        if let Some(before) = host.strip_suffix(".digitaloceanspaces.com") {
            let (bucket, region) = before.rsplit_once('.').unwrap_or(("", before));
            let endpoint = https(&format!("{region}.digitaloceanspaces.com"));
            return found(bucket, Some(region), endpoint);
        }
        for domain in [".backblazeb2.com", ".scw.cloud"] {
            if let Some(before) = host.strip_suffix(domain)
                && let Some((bucket, region)) = before.rsplit_once("s3.")
            {
                let endpoint = https(&format!("s3.{region}{domain}"));
                return found(bucket.trim_end_matches('.'), Some(region), endpoint);
            }
        }
        if let Some(bucket) = host.strip_suffix("s3.filebase.com") {
            return found(bucket.trim_end_matches('.'), None, https("s3.filebase.com"));
        }
        // `BUCKET.HOST:PORT`: somebody's own server.
        if host.contains(':') {
            let (bucket, rest) = host.split_once('.')?;
            let only = bucket.bytes().all(|byte| byte.is_ascii_digit());
            return match only {
                true => found("", None, None),
                false => found(bucket, None, Some(with_scheme(rest))),
            };
        }
        None
    }
}

pub(super) fn is_tigris(endpoint: &str) -> bool {
    let host = host_of(endpoint);
    host.ends_with(".tigris.dev") || host.ends_with("storage.dev")
}

fn host_of(endpoint: &str) -> &str {
    let host = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, host)| host);
    let host = host.split('/').next().unwrap_or_default();
    host.rsplit_once(':').map_or(host, |(host, _)| host)
}

/// An endpoint with its scheme: without one, `http` on this machine and its
/// neighbours, else `https`.
fn with_scheme(endpoint: &str) -> String {
    if endpoint.contains("://") {
        return endpoint.into();
    }
    let host = host_of(endpoint);
    let ip = host.parse::<std::net::Ipv4Addr>();
    let is_local = ip.is_ok_and(|ip| ip.is_loopback() || ip.is_private())
        || host == "localhost"
        || [".local", ".localhost", ".internal"]
            .iter()
            .any(|end| host.ends_with(end));
    let scheme = if is_local { "http" } else { "https" };
    format!("{scheme}://{endpoint}")
}

pub(super) fn checked(parts: &Parts, name: &str, endpoint: &str) -> Result<String> {
    let endpoint = with_scheme(endpoint.trim_end_matches('/'));
    let rest = ["https://", "http://"]
        .iter()
        .find_map(|scheme| endpoint.strip_prefix(scheme));
    let good = |rest: &&str| {
        let sound = |byte: u8| byte.is_ascii_graphic() && !b"@?#%\\".contains(&byte);
        !host_of(rest).is_empty() && rest.bytes().all(sound)
    };
    match rest.filter(good) {
        Some(_) => Ok(endpoint),
        None => Err(parts.refuse(format!(
            "{name} must be as https://HOST:PORT, without user, query or fragment"
        ))),
    }
}
