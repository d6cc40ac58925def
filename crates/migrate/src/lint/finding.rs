//! A finding: one rule that matches one statement.

use serde::{Serialize, Serializer};

use super::rules::{ALLOW_WRONG, DROP_DEFINITION, FAILS, Level, NOT_A_MIGRATION, Rule};
use crate::allowance::{Allowance, LossKind, Lost};

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The rule.
    #[serde(serialize_with = "name")]
    pub rule: &'static Rule,
    /// How severe it is.
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
    /// What to write after `-- monolite: allow`, or to give to `--allow-loss`, if it is meant.
    pub allow: Option<String>,
    /// The reason a comment gives for allowing it.
    pub allowed: Option<String>,
    /// The statement names what it drops.
    #[serde(skip)]
    pub(super) is_by_name: bool,
}

fn name<S: Serializer>(rule: &&'static Rule, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(rule.name)
}

impl Finding {
    /// Whether it fails a check: an error that nothing allows.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.level == Level::Error && self.allowed.is_none()
    }

    /// Whether `up` begins none of the files because of it: a loss, or a wrong allowance. A
    /// statement that fails changes nothing, and `up` reports it better.
    #[must_use]
    pub fn stops_up(&self) -> bool {
        self.is_error() && self.rule != FAILS && self.rule != NOT_A_MIGRATION
    }

    /// The losses that the statement says itself: a view or a trigger that it drops by name, a
    /// constraint that a `REBUILD TABLE` has no more. They are meant.
    #[must_use]
    pub fn implied_allowances(&self) -> Vec<String> {
        let is_implied = self.rule == DROP_DEFINITION && self.is_by_name;
        let names = self.allow.iter().filter(|_| is_implied);
        names
            .flat_map(|names| names.split(", "))
            .map(str::to_owned)
            .collect()
    }
}

/// Something that is lost, by its name in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loses {
    kind: LossKind,
    table: Option<String>,
    name: Option<String>,
}

impl Loses {
    pub(super) fn of(kind: LossKind, table: &str) -> Self {
        Self {
            kind,
            table: Some(table.into()),
            name: None,
        }
    }

    pub(super) fn column(kind: LossKind, table: &str, name: &str) -> Self {
        Self {
            kind,
            table: Some(table.into()),
            name: Some(name.into()),
        }
    }

    pub(super) fn named(kind: LossKind, name: &str) -> Self {
        Self {
            kind,
            table: None,
            name: Some(name.into()),
        }
    }

    pub(super) fn is_of(&self, kind: LossKind) -> bool {
        self.kind == kind
    }

    fn as_lost(&self) -> Lost<'_> {
        Lost {
            kind: self.kind,
            table: self.table.as_deref(),
            name: self.name.as_deref(),
            exactly: "",
        }
    }

    /// How much is lost the guard sees, not the lint; and a file is of one database.
    fn is_covered(&self, by: &str) -> bool {
        let of_any_number = match by.split_once(':') {
            Some(_) => by.rsplit_once('=').map_or(by, |(name, _)| name),
            None => by,
        };
        let by = Allowance::new(of_any_number);
        let database = by
            .name()
            .rsplit_once('/')
            .map_or("", |(database, _)| database);
        by.covers(database, self.as_lost())
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
    /// Instead of the rule's.
    pub(super) level: Option<Level>,
    /// Nobody has said it: a rebuild by hand has left it out.
    pub(super) is_forgotten: bool,
    instead: Option<&'static str>,
    loses: Vec<Loses>,
}

impl Found {
    pub(super) fn new(rule: &'static Rule, what: impl Into<String>) -> Self {
        Self {
            rule,
            what: what.into(),
            about: None,
            level: None,
            is_forgotten: false,
            instead: None,
            loses: Vec::new(),
        }
    }

    pub(super) fn about(mut self, what: String) -> Self {
        self.about = Some(what);
        self
    }

    pub(super) fn level(mut self, level: Level) -> Self {
        self.level = Some(level);
        self
    }

    /// It is an error to forget what nobody has dropped by name.
    pub(super) fn forgotten(mut self) -> Self {
        self.is_forgotten = true;
        self.level(Level::Error)
    }

    /// What to do, where the rule's own words are too general.
    pub(super) fn instead(mut self, instead: &'static str) -> Self {
        self.instead = Some(instead);
        self
    }

    pub(super) fn loses(mut self, loses: impl IntoIterator<Item = Loses>) -> Self {
        self.loses.extend(loses);
        self
    }

    /// The one column that is lost, with its table.
    pub(super) fn lost_column(&self) -> Option<(&str, &str)> {
        match self.loses.as_slice() {
            [one] => one.table.as_deref().zip(one.name.as_deref()),
            _ => None,
        }
    }

    pub(super) fn advice(&self) -> &'static str {
        self.instead.unwrap_or(self.rule.instead)
    }

    /// The words that allow it, if it can be allowed.
    pub(super) fn allowance(&self) -> Option<String> {
        let names = self
            .loses
            .iter()
            .map(|loses| loses.as_lost().allowance(None));
        let names: Vec<String> = names.collect();
        (!names.is_empty() && self.rule != ALLOW_WRONG).then(|| names.join(", "))
    }

    /// Whether all that is lost is covered by one of these.
    pub(super) fn is_covered_by<'n>(&self, names: impl Iterator<Item = &'n str> + Clone) -> bool {
        let is_covered = |loses: &Loses| names.clone().any(|by| loses.is_covered(by));
        !self.loses.is_empty() && self.loses.iter().all(is_covered)
    }
}
