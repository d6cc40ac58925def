//! What a visitor sent: cleaned, then judged.

use serde::{Deserialize, Serialize};

/// Limits in characters; `schema.sql` holds the same.
const NAME_MAX: usize = 40;
const COMMENT_MAX: usize = 1_000;
const TITLE_MAX: usize = 120;
const POST_MAX: usize = 10_000;

/// A comment as sent by the form.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CommentDraft {
    pub(crate) name: String,
    pub(crate) body: String,
}

/// A post as sent by the form.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PostDraft {
    pub(crate) title: String,
    pub(crate) body: String,
}

/// One message for each field that will not do.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Complaints {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
}

impl Complaints {
    pub(crate) fn is_empty(&self) -> bool {
        self == &Self::default()
    }
}

impl CommentDraft {
    pub(crate) fn clean(self) -> Self {
        Self {
            name: one_line(&self.name),
            body: many_lines(&self.body),
        }
    }

    pub(crate) fn complaints(&self) -> Complaints {
        Complaints {
            name: complaint(&self.name, NAME_MAX, "Please sign with a name"),
            body: complaint(&self.body, COMMENT_MAX, "Write something first"),
            title: None,
        }
    }
}

impl PostDraft {
    pub(crate) fn clean(self) -> Self {
        Self {
            title: one_line(&self.title),
            body: many_lines(&self.body),
        }
    }

    pub(crate) fn complaints(&self) -> Complaints {
        Complaints {
            title: complaint(&self.title, TITLE_MAX, "A post needs a title"),
            body: complaint(&self.body, POST_MAX, "A post needs a few words"),
            name: None,
        }
    }
}

fn complaint(text: &str, max: usize, empty: &str) -> Option<String> {
    if text.chars().all(invisible) {
        return Some(format!("{empty}."));
    }
    let count = text.chars().count();
    (count > max).then(|| format!("At most {max} characters, please; this is {count}."))
}

/// Nothing a reader would see.
fn invisible(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

fn one_line(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.trim().into()
}

/// Browsers send line ends as CRLF, and count them as one character.
fn many_lines(text: &str) -> String {
    let text: String = text
        .replace("\r\n", "\n")
        .replace('\r', "\n")
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    text.trim_end().trim_start_matches('\n').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(name: &str, body: &str) -> CommentDraft {
        CommentDraft {
            name: name.into(),
            body: body.into(),
        }
        .clean()
    }

    #[test]
    fn limits_are_in_characters() {
        assert!(
            draft(&"ä".repeat(40), &"ß".repeat(1000))
                .complaints()
                .is_empty()
        );
        let both = draft(&"a".repeat(41), &"b".repeat(1001)).complaints();
        assert!(both.name.is_some() && both.body.is_some());
        let lines = "x\r\n".repeat(499) + "xx";
        assert!(draft("a", &lines).complaints().is_empty());
    }

    #[test]
    fn the_invisible_is_empty() {
        let both = draft(" \t ", "\u{200b}\r\n").complaints();
        assert!(both.name.is_some() && both.body.is_some());
    }

    #[test]
    fn control_characters_are_dropped() {
        let clean = draft("a\0b\n", "\r\n    x\0\r\ny\u{1b}[1m  ");
        assert_eq!((&*clean.name, &*clean.body), ("a b", "    x\ny[1m"));
    }
}
