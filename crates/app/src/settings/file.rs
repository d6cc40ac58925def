//! `monolite.toml`: every key optional, an unknown one an error. Parsed once; each value keeps its
//! line.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::list::{SETTINGS, setting};
use super::processes::{self, ProcessSetting};
use super::valid::{Error, nearest};
use super::value::Kind;

/// The name looked for in the current directory.
pub const FILE_NAME: &str = "monolite.toml";

/// The key of the table of processes.
const PROCESSES: &str = "processes";

/// What a file sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct File {
    pub(super) path: PathBuf,
    pub(super) entries: Vec<Entry>,
    pub(super) processes: Vec<ProcessSetting>,
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: &'static str,
    pub(super) texts: Vec<String>,
    /// From 1.
    pub(super) line: usize,
}

impl File {
    /// Reads the file at `path`; without a path, [`FILE_NAME`] in the current directory, which need
    /// not exist.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has a key or a value that no setting has.
    pub fn read(path: Option<&Path>) -> Result<Self, Error> {
        let (path, is_required) = path.map_or((Path::new(FILE_NAME), false), |path| (path, true));
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == ErrorKind::NotFound && !is_required => {
                Ok(Self::default())
            }
            Err(error) => Err(Error::new(format!(
                "cannot read {}: {error}",
                path.display()
            ))),
        }
    }

    /// As [`File::read`], of what was read from `path`.
    ///
    /// # Errors
    /// As for [`File::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let wrong = |at: usize, what: &str| {
            let position = position(text, at);
            Error::new(format!("{}, {position}: {what}", path.display()))
        };
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            // Not what stands there, which may be a secret.
            wrong(at, error.message().trim_end())
        })?;
        let mut entries = Vec::new();
        let mut processes = Vec::new();
        for (key, value) in table.get_ref() {
            let at = key.span().start;
            let key = key.get_ref().as_ref();
            if key == PROCESSES {
                processes = processes::parse(value).map_err(|(at, what)| wrong(at, &what))?;
                continue;
            }
            let setting = setting(key).ok_or_else(|| wrong(at, &unknown(key)))?;
            let texts = texts(setting.kind, value).map_err(|what| wrong(at, what))?;
            for text in &texts {
                (setting.check)(text).map_err(|what| wrong(at, &what))?;
            }
            entries.push(Entry {
                key: setting.key,
                texts,
                line: line_number(text, at),
            });
        }
        Ok(Self {
            path: path.into(),
            entries,
            processes,
        })
    }
}

fn unknown(key: &str) -> String {
    let settings = SETTINGS.iter().map(|setting| setting.key);
    let keys: Vec<&str> = settings.chain([PROCESSES]).collect();
    match nearest(key, &keys) {
        Some(known) => format!("unknown key `{key}`; did you mean `{known}`?"),
        None => format!("unknown key `{key}`; the keys are: {}", keys.join(", ")),
    }
}

/// The value as a flag would have it.
fn texts(kind: Kind, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, &'static str> {
    let one = match (kind, value.get_ref()) {
        (Kind::Text | Kind::Word(_) | Kind::List, DeValue::String(text)) => text.to_string(),
        (Kind::Number, DeValue::Integer(number)) if number.radix() == 10 => {
            number.as_str().to_owned()
        }
        (Kind::Switch, DeValue::Boolean(yes)) => yes.to_string(),
        (Kind::List, DeValue::Array(values)) => {
            let texts = values.iter().map(|value| match value.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            });
            return texts
                .collect::<Option<_>>()
                .ok_or("expected a list of strings");
        }
        (Kind::Text | Kind::Word(_), _) => return Err("expected a string"),
        (Kind::Number, _) => return Err("expected a whole number"),
        (Kind::Switch, _) => return Err("expected true or false"),
        (Kind::List, _) => return Err("expected a string, or a list of strings"),
    };
    Ok(vec![one])
}

/// From 1.
fn line_number(text: &str, at: usize) -> usize {
    1 + text.get(..at).unwrap_or(text).matches('\n').count()
}

/// Which line, and which key; not the value, which may be a secret.
fn position(text: &str, at: usize) -> String {
    let number = line_number(text, at);
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let key = line.split('=').next().unwrap_or_default().trim();
    let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_';
    match line.contains('=') && key.chars().all(is_key) {
        true => format!("line {number}, {key}"),
        false => format!("line {number}"),
    }
}
