//! What a check found.

use serde::Serialize;

/// How bad a finding is. The worst is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Pass,
    /// Works, but look at it.
    Warn,
    /// Not fit: data would be lost, or the app would not work.
    Fail,
}

/// The answer of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name; stable, kebab-case.
    pub name: &'static str,
    /// Whether it is fit.
    pub level: Level,
    /// What was found, one line.
    pub what: String,
    /// Why it matters, one line.
    pub why: &'static str,
    /// What to do about it; empty on [`Level::Pass`].
    pub remedy: String,
}

/// The constant part of a check's findings.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
}

impl Check {
    pub(crate) fn pass(&self, what: impl Into<String>) -> Finding {
        self.finding(Level::Pass, what, "")
    }

    pub(crate) fn warn(&self, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Level::Warn, what, remedy)
    }

    pub(crate) fn fail(&self, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Level::Fail, what, remedy)
    }

    fn finding(&self, level: Level, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            name: self.name,
            level,
            what: what.into(),
            why: self.why,
            remedy: remedy.into(),
        }
    }
}
