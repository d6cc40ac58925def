//! Which value a setting has: a flag wins over its variable, that over the file, that over the
//! default.

use super::declaration::{Group, Setting, Source};
use super::file::File;
use super::list::{Settings, setting};
use super::valid::Error;
use super::value::Kind;
use crate::Environment;

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
        let mut settings = Self {
            processes: file.processes.clone(),
            ..Self::default()
        };
        for entry in &file.entries {
            let source = Source::File {
                path: file.path.clone(),
                line: entry.line,
            };
            let texts: Vec<&str> = entry.texts.iter().map(String::as_str).collect();
            settings.set(entry.key, &texts, source)?;
        }
        for setting in keys.iter().copied().filter_map(setting) {
            let Some(name) = setting.variable() else {
                continue;
            };
            // A path may be any bytes.
            if setting.key == "data"
                && let Some(path) = environment.get(&name)
                && path.to_str().is_none()
            {
                settings.data = Some(path.into());
                settings.sources.insert(setting.key, Source::Variable);
                continue;
            }
            if let Some(text) = environment.text(&name)? {
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
        let Some(setting) = setting(key) else {
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
