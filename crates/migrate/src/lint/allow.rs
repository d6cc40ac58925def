//! `-- monolite: allow RULE, RULE: reason`, in the comments of a statement.

use super::finding::Found;
use super::rules::{
    ALLOW_UNKNOWN, ALLOW_UNUSED, ALLOW_WITHOUT_REASON, FAILS, NOT_A_MIGRATION, RULES, Rule, rule,
};
use crate::sql::Comment;

/// What a statement's comments allow.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    all: Vec<Allow>,
    /// What is wrong with them, and on which line.
    pub(super) wrong: Vec<(usize, Found)>,
}

#[derive(Debug)]
struct Allow {
    rule: &'static Rule,
    reason: String,
    line: usize,
    used: bool,
}

/// Rules about `allow` itself, which none can allow, and what `up` refuses
/// whatever is said of it.
fn is_own(rule: &Rule) -> bool {
    rule.name.starts_with("allow-") || is_refused(rule)
}

fn is_refused(rule: &Rule) -> bool {
    rule == FAILS || rule == NOT_A_MIGRATION
}

impl Allowed {
    pub(super) fn by(comments: &[Comment]) -> Self {
        let mut allowed = Self::default();
        for comment in comments {
            for (below, text) in comment.text.lines().enumerate() {
                let text = text.trim().trim_start_matches('*').trim_start();
                let Some(rest) = text.strip_prefix("monolite:") else {
                    continue;
                };
                allowed.add(rest.trim_start(), comment.line + below);
            }
        }
        allowed
    }

    fn add(&mut self, text: &str, line: usize) {
        let mut wrong = |rule, what: String| self.wrong.push((line, Found::new(rule, what)));
        let Some(rest) = text.strip_prefix("allow") else {
            let word = text.split_whitespace().next().unwrap_or_default();
            wrong(
                ALLOW_UNKNOWN,
                format!("`monolite: {word}` is not `monolite: allow`"),
            );
            return;
        };
        let (names, reason) = match rest.split_once(':') {
            Some((names, reason)) => (names, reason.trim()),
            None => (rest, ""),
        };
        if reason.is_empty() {
            wrong(
                ALLOW_WITHOUT_REASON,
                format!("`monolite: allow{rest}` says no reason"),
            );
            return;
        }
        for name in names.split(',').map(str::trim) {
            match rule(name).filter(|rule| !is_own(rule)) {
                Some(rule) => self.all.push(Allow {
                    rule,
                    reason: reason.into(),
                    line,
                    used: false,
                }),
                None if rule(name).is_some_and(is_refused) => {
                    let what = format!(
                        "`{name}` cannot be allowed: `monolite migrate up` refuses it all the same"
                    );
                    self.wrong.push((line, Found::new(ALLOW_UNKNOWN, what)));
                }
                None => {
                    let hint = match nearest(name) {
                        Some(known) => format!("; did you mean `{known}`?"),
                        None => String::new(),
                    };
                    let what = format!("there is no rule `{name}` to allow{hint}");
                    self.wrong.push((line, Found::new(ALLOW_UNKNOWN, what)));
                }
            }
        }
    }

    /// Why the rule is allowed, if it is.
    pub(super) fn reason(&mut self, rule: &'static Rule) -> Option<String> {
        let allow = self.all.iter_mut().find(|allow| allow.rule == rule)?;
        allow.used = true;
        Some(allow.reason.clone())
    }

    /// Those that allowed nothing, and their lines.
    pub(super) fn unused(&self) -> impl Iterator<Item = (usize, Found)> {
        let unused = self.all.iter().filter(|allow| !allow.used);
        unused.map(|allow| {
            let what = format!("`{}` is allowed, and not found here", allow.rule.name);
            (allow.line, Found::new(ALLOW_UNUSED, what))
        })
    }
}

/// The rule whose name takes the fewest changes, if they are few.
fn nearest(name: &str) -> Option<&'static str> {
    let rules = RULES.iter().filter(|rule| !is_own(rule));
    let near = rules.map(|rule| (distance(name, rule.name), rule.name));
    let (changes, known) = near.min()?;
    (changes <= 3).then_some(known)
}

/// Letters to add, remove or change (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().take(64).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (to, known) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *known);
            diagonal = row[to + 1];
            row[to + 1] = changed.min(diagonal + 1).min(row[to] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::lint::rules::{DROP_COLUMN, DROP_TABLE};

    fn by(text: &str) -> Allowed {
        Allowed::by(&crate::sql::split(text).unwrap()[0].comments)
    }

    #[test]
    fn rules_are_allowed_by_name_and_with_a_reason() {
        let mut allowed =
            by("-- about it\n-- monolite: allow drop-column, drop-table: in 0007: gone\nSELECT 1;");
        assert_eq!(allowed.reason(DROP_COLUMN).unwrap(), "in 0007: gone");
        assert!(allowed.wrong.is_empty());
        let unused: Vec<_> = allowed.unused().collect();
        assert_eq!(unused.len(), 1);
        assert_eq!(unused[0].0, 2);
        assert!(unused[0].1.what.contains("drop-table"));
        assert!(allowed.reason(DROP_TABLE).is_some());
        assert_eq!(allowed.unused().count(), 0);
        // Inside, behind, and as a block.
        for text in [
            "SELECT 1 -- monolite: allow drop-table: x\n;",
            "SELECT 1; -- monolite: allow drop-table: x",
            "/* monolite: allow drop-table: x */ SELECT 1",
            "/*\n * monolite: allow drop-table: x\n */ SELECT 1",
        ] {
            assert!(by(text).reason(DROP_TABLE).is_some(), "{text}");
        }
        assert!(
            by("SELECT '-- monolite: allow drop-table: x'")
                .reason(DROP_TABLE)
                .is_none()
        );
    }

    #[test]
    fn what_is_wrong_with_it_is_said() {
        let wrong = |text: &str| {
            let allowed = by(&format!("{text}\nSELECT 1"));
            let (line, found) = allowed.wrong.first().cloned().unwrap();
            assert_eq!(line, 1);
            (found.rule.name, found.what)
        };
        let (rule, what) = wrong("-- monolite: allow drop-colum: x");
        assert_eq!(rule, "allow-unknown");
        assert!(what.ends_with("did you mean `drop-column`?"), "{what}");
        assert_eq!(
            wrong("-- monolite: allow drop-column").0,
            "allow-without-reason"
        );
        assert_eq!(
            wrong("-- monolite: allow drop-column: ").0,
            "allow-without-reason"
        );
        let (rule, what) = wrong("-- monolite: allow fails: x");
        assert_eq!(rule, "allow-unknown");
        assert!(what.contains("cannot be allowed"), "{what}");
        assert_eq!(wrong("-- monolite: allow zzz: x").0, "allow-unknown");
        assert_eq!(wrong("-- monolite: alow drop-column: x").0, "allow-unknown");
        assert_eq!(
            wrong("-- monolite: allow allow-unused: x").0,
            "allow-unknown"
        );
    }
}
