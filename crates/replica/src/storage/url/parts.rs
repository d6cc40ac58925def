//! A URL taken apart.

use super::super::error::{Result, StorageError};

/// The parts of `scheme://user:password@host/path?key=value`, decoded.
pub(super) struct Parts {
    pub(super) scheme: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    /// What may be shown.
    pub(super) shown: String,
}

impl Parts {
    pub(super) fn parse(url: &str, scheme: &str, rest: &str) -> Result<Self> {
        let shown = shown(url);
        split(scheme, rest, &shown).map_err(|why| StorageError::setting(shown, why))
    }

    /// A bucket known by its name.
    pub(super) fn of_bucket(bucket: &str, prefix: &str) -> Result<Self, String> {
        if bucket.contains(['/', ':', '?', '#', '@', '%']) {
            return Err("it must be the name of a bucket alone".into());
        }
        split("s3", &format!("{bucket}/{prefix}"), "BUCKET_NAME")
    }

    pub(super) fn refuse(&self, why: impl Into<String>) -> StorageError {
        StorageError::setting(&self.shown, why)
    }
}

/// A URL without what may be secret: who asks, and the query.
pub(super) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match (url.split_once("://"), url.rsplit_once('@')) {
        // A key with a slash may make the host look short, so the last `@`.
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://***@{rest}"),
        _ => url.into(),
    }
}

/// What of a query may be shown, without dashes and in small letters.
const SHOWN_KEYS: [&str; 9] = [
    "endpoint",
    "region",
    "forcepathstyle",
    "skipverify",
    "signpayload",
    "storageclass",
    "partsize",
    "concurrency",
    "credentials",
];

/// A URL as it can be given again, without what may be secret: those parts come from
/// variables then. `None`: without them it is not the same.
pub(super) fn again(url: &str) -> Option<String> {
    let shown = shown(url);
    if shown.contains('@') {
        return None;
    }
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let is_shown = |pair: &&str| {
        let key = pair.split('=').next().unwrap_or_default();
        let letters = key.chars().filter(|c| !['-', '_'].contains(c));
        let key: String = letters.flat_map(char::to_lowercase).collect();
        SHOWN_KEYS.contains(&key.as_str()) && !pair.contains('@')
    };
    let query: Vec<&str> = query.split('&').filter(is_shown).collect();
    Some(match query.is_empty() {
        true => shown,
        false => format!("{shown}?{}", query.join("&")),
    })
}

fn split(scheme: &str, rest: &str, shown: &str) -> Result<Parts, String> {
    if rest.contains('#') {
        return Err("a fragment means nothing here; write # as %23".into());
    }
    let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = location.split_once('/').unwrap_or((location, ""));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if user.is_none() && location.contains('@') {
        return Err("an @ in it must be written %40, and a / in a key %2F".into());
    }
    let decoded = |text: &str| {
        percent_decode(text).ok_or("its percent signs are wrong; write % as %25".to_owned())
    };
    let (user, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
        None => (None, None),
        Some((user, password)) => (Some(decoded(user)?), Some(decoded(password)?)),
    };
    let path = decoded(path)?;
    let segments = path.split('/').filter(|part| !["", "."].contains(part));
    let segments: Vec<_> = segments.collect();
    if segments.contains(&"..") || path.chars().any(char::is_control) {
        return Err("its path has a part that no object can be called by".into());
    }
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        // As forms do, which is how people's tools write it.
        pairs.push((decoded(key)?, decoded(&value.replace('+', " "))?));
    }
    Ok(Parts {
        scheme: scheme.into(),
        user: user.filter(|user| !user.is_empty()),
        password: password.filter(|password| !password.is_empty()),
        host: host.into(),
        path: segments.join("/"),
        query: pairs,
        shown: shown.into(),
    })
}

/// `%2F` and the like; `None` if they are not, or do not give UTF-8.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? << 4 | digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
