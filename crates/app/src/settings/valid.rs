//! What the type of a setting allows, but the setting cannot be; and the error for it.

use std::time::Duration;

use monolite_gate::TrustedProxies;
use monolite_volume::CHECKS;

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// The name of `known` that `word` is most like, if it is like any.
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|known| (strsim::jaro_winkler(word, known), *known))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

type Valid = Result<(), String>;

const SYNC_INTERVAL_MIN: Duration = Duration::from_millis(50);
const SNAPSHOT_INTERVAL_MIN: Duration = Duration::from_secs(60);

pub(super) fn url_path(path: &Option<String>) -> Valid {
    let Some(path) = path else { return Ok(()) };
    if !path.starts_with('/') {
        return Err(format!("the health path is `{path}`; it must begin with /"));
    }
    if path.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!(
            "the health path {path:?} holds a space; write it as %20"
        ));
    }
    Ok(())
}

pub(super) fn host(host: &str) -> Valid {
    match host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        true => Err(format!("the health host {host:?} is not a host name")),
        false => Ok(()),
    }
}

pub(super) fn proxies(words: &[String]) -> Valid {
    let mut proxies = TrustedProxies::none();
    let all = words.iter().try_for_each(|word| proxies.add(word));
    all.map_err(|error| format!("--trust-forwarded: {error}"))
}

/// A misspelt name would allow nothing, without a word.
pub(super) fn checks(names: &[String]) -> Valid {
    let unknown = |name: &&String| !name.is_empty() && !CHECKS.contains(&name.as_str());
    let Some(name) = names.iter().find(unknown) else {
        return Ok(());
    };
    let hint = match nearest(name, &CHECKS) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("the checks are: {}", CHECKS.join(", ")),
    };
    Err(format!("there is no check `{name}` to allow; {hint}"))
}

pub(super) fn sync_interval(time: &Duration) -> Valid {
    at_least(*time, SYNC_INTERVAL_MIN)
}

pub(super) fn snapshot_interval(time: &Duration) -> Valid {
    at_least(*time, SNAPSHOT_INTERVAL_MIN)
}

fn at_least(time: Duration, min: Duration) -> Valid {
    match time < min {
        true => Err(format!("it is {time:?}; it must be {min:?} or longer")),
        false => Ok(()),
    }
}

pub(super) fn http_url(url: &Option<String>) -> Valid {
    let is_http = |url: &str| {
        let parsed = reqwest::Url::parse(url);
        parsed.is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
    };
    match url.as_deref() {
        Some(url) if !is_http(url) => {
            Err("it is not a URL that begins with https:// or http://".into())
        }
        _ => Ok(()),
    }
}
