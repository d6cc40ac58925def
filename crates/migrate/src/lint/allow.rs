//! Comments that allow what is lost: `-- monolite: allow NAME, NAME: reason`, each name as the guard
//! and the lint report it ([`allowance`](crate::allowance)).

use super::finding::Found;
use super::rules::{ALLOW_WRONG, RULES};
use crate::sql::{Comment, split};

/// What a statement's comments allow.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    all: Vec<Allow>,
    /// Errors in these comments, each with its line.
    pub(super) wrong: Vec<(usize, Found)>,
}

#[derive(Debug)]
struct Allow {
    name: String,
    reason: String,
}

/// All that the comments of a file allow, wherever they are in it.
#[must_use]
pub fn allowances(text: &str) -> Vec<String> {
    let statements = split(text).unwrap_or_default();
    let allowed = statements.iter().map(|of| Allowed::by(&of.comments));
    allowed
        .flat_map(|allowed| allowed.all)
        .map(|allow| allow.name)
        .collect()
}

/// The names in comments.
pub(crate) fn allowed_names(comments: &[Comment]) -> Vec<String> {
    let allowed = Allowed::by(comments).all.into_iter();
    allowed.map(|allow| allow.name).collect()
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
        let mut wrong = |what: String| self.wrong.push((line, Found::new(ALLOW_WRONG, what)));
        let Some(rest) = text.strip_prefix("allow") else {
            let word = text.split_whitespace().next().unwrap_or_default();
            return wrong(format!("`monolite: {word}` is not `monolite: allow`"));
        };
        // A name has a colon after its kind; the reason comes after a blank.
        let (names, reason) = match rest.split_once(": ") {
            Some((names, reason)) => (names, reason.trim()),
            None => (rest, ""),
        };
        if reason.is_empty() {
            return wrong(format!("`monolite: allow{rest}` gives no reason"));
        }
        for name in names.split(',').map(str::trim) {
            if name.is_empty() {
                wrong("`monolite: allow` names nothing".into());
            } else if RULES.iter().any(|rule| rule.name == name) {
                wrong(format!(
                    "`{name}` is a rule; name what is lost, as `column:posts.body` or `rows:comments`"
                ));
            } else {
                self.all.push(Allow {
                    name: name.into(),
                    reason: reason.into(),
                });
            }
        }
    }

    /// The reason for which something is allowed, if it is: in these comments, or by one of the
    /// `names` that hold for all files.
    pub(super) fn reason(&self, found: &Found, names: &[String]) -> Option<String> {
        let flags = names.iter().map(String::as_str);
        let comments = self.all.iter().map(|allow| allow.name.as_str());
        if !found.is_covered_by(comments.chain(flags)) {
            return None;
        }
        let alone = |allow: &&Allow| found.is_covered_by(std::iter::once(allow.name.as_str()));
        let comment = self.all.iter().find(alone).or(self.all.first());
        Some(match comment {
            Some(allow) => allow.reason.clone(),
            None => "--allow-loss".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allowance::LossKind as Kind;
    use crate::lint::finding::Loses;
    use crate::lint::rules::DROP_COLUMN;

    fn by(text: &str) -> Allowed {
        Allowed::by(&crate::sql::split(text).unwrap()[0].comments)
    }

    fn body() -> Found {
        Found::new(DROP_COLUMN, "x").loses([Loses::column(Kind::Column, "posts", "Body")])
    }

    #[test]
    fn losses_are_allowed_by_name_and_with_a_reason() {
        let reason = |text: &str| by(text).reason(&body(), &[]);
        for (text, why) in [
            (
                "-- about it\n-- monolite: allow tags, column:posts.body: in 0007: gone\nSELECT 1;",
                "in 0007: gone",
            ),
            ("-- monolite: allow posts.body: x\nSELECT 1", "x"),
            ("-- monolite: allow POSTS: x\nSELECT 1", "x"),
            (
                "-- monolite: allow column:app.sqlite3/posts.body=40: x\nSELECT 1",
                "x",
            ),
            // Inside the statement, after it, and as a block.
            ("SELECT 1 -- monolite: allow posts.body: x\n;", "x"),
            ("SELECT 1; -- monolite: allow posts.body: x", "x"),
            ("/* monolite: allow posts.body: x */ SELECT 1", "x"),
            ("/*\n * monolite: allow posts.body: x\n */ SELECT 1", "x"),
        ] {
            assert_eq!(reason(text).as_deref(), Some(why), "{text}");
        }
        for text in [
            "SELECT '-- monolite: allow posts.body: x'",
            "-- monolite: allow rows:posts: x\nSELECT 1",
            "-- monolite: allow posts.title: x\nSELECT 1",
            "-- monolite: allow body: x\nSELECT 1",
        ] {
            assert_eq!(reason(text), None, "{text}");
        }
        let flag = ["posts.body".to_owned()];
        assert_eq!(
            by("SELECT 1").reason(&body(), &flag).as_deref(),
            Some("--allow-loss")
        );
        let both = body().loses([Loses::of(Kind::Rows, "tags")]);
        let one = by("-- monolite: allow posts.body: x\nSELECT 1");
        assert_eq!(one.reason(&both, &[]), None, "not all of it");
        assert_eq!(one.reason(&both, &["tags".into()]).as_deref(), Some("x"));
    }

    #[test]
    fn a_wrong_comment_is_a_finding() {
        for (text, said) in [
            ("-- monolite: allow posts.body", "gives no reason"),
            ("-- monolite: allow column:posts.body", "gives no reason"),
            ("-- monolite: allow posts.body: ", "gives no reason"),
            (
                "-- monolite: allow drop-column: x",
                "is a rule; name what is lost",
            ),
            ("-- monolite: allow a,,b: x", "names nothing"),
            ("-- monolite: alow posts: x", "is not `monolite: allow`"),
        ] {
            let allowed = by(&format!("{text}\nSELECT 1"));
            let (line, found) = allowed.wrong.first().cloned().unwrap();
            assert_eq!((line, found.rule.name), (1, "allow-wrong"));
            assert!(found.what.contains(said), "{text}: {}", found.what);
        }
    }

    #[test]
    fn a_file_hands_on_all_that_it_allows() {
        let text = "-- monolite: allow rows:a=3, b.c: x\nDELETE FROM a; SELECT 1; -- monolite: allow t: y\n";
        assert_eq!(allowances(text), ["rows:a=3", "b.c", "t"]);
    }
}
