//! A finding: one rule that matches one statement.

use serde::{Serialize, Serializer};

use super::rules::{Level, Rule};

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The rule.
    #[serde(serialize_with = "name")]
    pub rule: &'static Rule,
    /// How bad it is.
    pub level: Level,
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The statement's first words.
    pub statement: String,
    /// What the statement does to this database.
    pub what: String,
    /// What to do instead.
    pub instead: &'static str,
    /// The reason a comment gives for allowing it.
    pub allowed: Option<String>,
}

fn name<S: Serializer>(rule: &&'static Rule, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(rule.name)
}

impl Finding {
    /// Whether it fails a check: an error that no comment allows.
    pub fn is_error(&self) -> bool {
        self.level == Level::Error && self.allowed.is_none()
    }
}

/// A finding before its file and line are added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) rule: &'static Rule,
    pub(super) what: String,
    /// The object that is dropped or created: a drop and a creation of the same
    /// object in one file cancel each other.
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
