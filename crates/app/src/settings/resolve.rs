//! Which value a setting has: a flag wins over its variable, that over the file, that over the
//! default.

use super::{File, Group, Kind, Setting, Settings, Source};
use crate::Environment;

/// A setting that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

/// What a flag was given: the key of its setting, and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The key of the setting.
    pub key: &'static str,
    /// Its values; several for a list.
    pub texts: Vec<String>,
}

impl Settings {
    /// The settings of a verb that takes `flags`. Of variables only those of the settings `keys`,
    /// which the verb takes as flags, are read; of the file all.
    ///
    /// A text of nothing is no value, wherever it is given.
    ///
    /// # Errors
    /// A value is wrong: the error says where it was set, and what would be right.
    pub fn resolve(
        keys: &[&str],
        flags: &[Flag],
        environment: &Environment,
        file: &File,
    ) -> Result<Self, Error> {
        let mut settings = Self::default();
        for entry in &file.entries {
            let source = Source::File {
                path: file.path.clone(),
                line: entry.line,
            };
            let texts: Vec<&str> = entry.texts.iter().map(String::as_str).collect();
            settings.set(entry.key, &texts, source)?;
        }
        for setting in keys.iter().filter_map(|key| Setting::of(key)) {
            let text = setting.variable().and_then(|name| environment.text(&name));
            if let Some(text) = text {
                settings.set(setting.key, &split(setting, &text), Source::Variable)?;
            }
        }
        for flag in flags {
            let texts: Vec<&str> = flag.texts.iter().map(String::as_str).collect();
            settings.set(flag.key, &texts, Source::Flag)?;
        }
        Ok(settings)
    }

    /// Sets one setting, unless there is nothing but blanks in `texts`.
    ///
    /// # Errors
    /// No setting has this key, or it cannot have this value.
    pub fn set(&mut self, key: &str, texts: &[&str], source: Source) -> Result<(), Error> {
        let Some(setting) = Setting::of(key) else {
            return Err(Error::new(format!("there is no setting `{key}`")));
        };
        let mut texts = texts.to_vec();
        if setting.kind == Kind::List && setting.group != Group::File {
            texts = texts.iter().map(|text| text.trim()).collect();
            texts.retain(|text| !text.is_empty());
        }
        if texts.iter().all(|text| text.trim().is_empty()) {
            return Ok(());
        }
        for text in &texts {
            (setting.check)(text).map_err(|what| wrong(setting, &source, &what))?;
        }
        let put = self.put(setting.key, &texts);
        put.map_err(|what| wrong(setting, &source, &what))?;
        self.sources.insert(setting.key, source);
        Ok(())
    }

    /// Where the value of the setting `key` comes from.
    pub fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }
}

fn split<'t>(setting: &Setting, text: &'t str) -> Vec<&'t str> {
    match setting.kind {
        Kind::List => text.split(',').collect(),
        _ => vec![text],
    }
}

/// The value is not shown: it may be a secret.
fn wrong(setting: &Setting, source: &Source, what: &str) -> Error {
    let at = match source {
        Source::Default => setting.key.into(),
        Source::File { path, line } => {
            format!("{}, line {line}, {}", path.display(), setting.key)
        }
        Source::Variable => setting.variable().unwrap_or_default(),
        Source::Flag => setting.name(),
    };
    Error::new(format!("{at}: {what}"))
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

/// What a type allows, but no setting can be.
pub(super) mod valid {
    use std::time::Duration;

    use monolite_volume::CHECKS;

    type Valid = Result<(), String>;

    const SYNC_INTERVAL_MIN: Duration = Duration::from_millis(50);
    const SNAPSHOT_INTERVAL_MIN: Duration = Duration::from_secs(60);

    pub(in super::super) fn url_path(path: &Option<String>) -> Valid {
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

    pub(in super::super) fn host(host: &str) -> Valid {
        match host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            true => Err(format!("the health host {host:?} is not a host name")),
            false => Ok(()),
        }
    }

    /// A misspelt name would allow nothing, without a word.
    pub(in super::super) fn checks(names: &[String]) -> Valid {
        let unknown = |name: &&String| !name.is_empty() && !CHECKS.contains(&name.as_str());
        let Some(name) = names.iter().find(unknown) else {
            return Ok(());
        };
        let hint = match super::nearest(name, &CHECKS) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("the checks are: {}", CHECKS.join(", ")),
        };
        Err(format!("there is no check `{name}` to allow; {hint}"))
    }

    pub(in super::super) fn sync_interval(time: &Duration) -> Valid {
        at_least(*time, SYNC_INTERVAL_MIN)
    }

    pub(in super::super) fn snapshot_interval(time: &Duration) -> Valid {
        at_least(*time, SNAPSHOT_INTERVAL_MIN)
    }

    fn at_least(time: Duration, min: Duration) -> Valid {
        match time < min {
            true => Err(format!("it is {time:?}; it must be {min:?} or longer")),
            false => Ok(()),
        }
    }

    pub(in super::super) fn http_url(url: &Option<String>) -> Valid {
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
}
