//! What was found in a migration.

use serde::{Serialize, Serializer};

use super::rules::{Level, Rule};

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Which rule.
    #[serde(serialize_with = "name")]
    pub rule: &'static Rule,
    /// How bad it is.
    pub level: Level,
    /// In which file.
    pub file: String,
    /// On which line, from 1.
    pub line: usize,
    /// The statement's first words.
    pub statement: String,
    /// What it does to this database.
    pub what: String,
    /// What to do instead.
    pub instead: &'static str,
    /// Why it is allowed, if it is.
    pub allowed: Option<String>,
}

fn name<S: Serializer>(rule: &&'static Rule, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(rule.name)
}

impl Finding {
    /// Whether it must be mended or allowed.
    pub fn is_error(&self) -> bool {
        self.level == Level::Error && self.allowed.is_none()
    }
}

/// A finding without its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) rule: &'static Rule,
    pub(super) what: String,
    /// What is gone, or new: the one is undone by the other.
    pub(super) about: Option<String>,
}

impl Found {
    pub(super) fn new(rule: &'static Rule, what: impl Into<String>) -> Self {
        Self {
            rule,
            what: what.into(),
            about: None,
        }
    }

    pub(super) fn about(mut self, what: String) -> Self {
        self.about = Some(what);
        self
    }
}
