//! Comments that allow findings: `-- monolite: allow RULE, RULE: reason`.

use super::finding::Found;
use super::rules::{
    ALLOW_UNKNOWN, ALLOW_UNUSED, ALLOW_WITHOUT_REASON, FAILS, NOT_A_MIGRATION, RULES, Rule, rule,
};
use crate::sql::Comment;

/// The rules that a statement's comments allow.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    all: Vec<Allow>,
    /// Errors in these comments, each with its line.
    pub(super) wrong: Vec<(usize, Found)>,
}

#[derive(Debug)]
struct Allow {
    rule: &'static Rule,
    reason: String,
    line: usize,
    used: bool,
}

/// Rules that cannot be allowed: those about `allow` itself, and those of
/// statements that `migrate up` refuses.
fn cannot_be_allowed(rule: &Rule) -> bool {
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
                format!("`monolite: allow{rest}` gives no reason"),
            );
            return;
        }
        for name in names.split(',').map(str::trim) {
            match rule(name).filter(|rule| !cannot_be_allowed(rule)) {
                Some(rule) => self.all.push(Allow {
                    rule,
                    reason: reason.into(),
                    line,
                    used: false,
                }),
                None if rule(name).is_some_and(is_refused) => {
                    let what = format!(
                        "`{name}` cannot be allowed: `monolite migrate up` refuses the statement anyway"
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

    /// The reason for which the rule is allowed, if it is.
    pub(super) fn reason(&mut self, rule: &'static Rule) -> Option<String> {
        let allow = self.all.iter_mut().find(|allow| allow.rule == rule)?;
        allow.used = true;
        Some(allow.reason.clone())
    }

    /// Rules that are allowed and were not found, with the lines of the comments.
    pub(super) fn unused(&self) -> impl Iterator<Item = (usize, Found)> {
        let unused = self.all.iter().filter(|allow| !allow.used);
        unused.map(|allow| {
            let what = format!("`{}` is allowed, but not found here", allow.rule.name);
            (allow.line, Found::new(ALLOW_UNUSED, what))
        })
    }
}

/// Most letters that a misspelt name may differ in to be hinted at.
const HINT_EDITS_MAX: usize = 3;

/// The rule with the most similar name, for a hint.
fn nearest(name: &str) -> Option<&'static str> {
    let rules = RULES.iter().filter(|rule| !cannot_be_allowed(rule));
    let close = rules.map(|rule| (strsim::levenshtein(name, rule.name), rule.name));
    let (edits, known) = close.min()?;
    (edits <= HINT_EDITS_MAX).then_some(known)
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
        // Inside the statement, after it, and as a block.
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
    fn a_wrong_comment_is_a_finding() {
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
