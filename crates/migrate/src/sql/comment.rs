//! Comments in SQL text.

use std::ops::Range;

use super::token::Token;

/// One comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Its text, without the marks and the spaces around it.
    pub text: String,
    /// The line it begins on, from 1.
    pub line: usize,
    /// Its bytes, marks included; without the line's end.
    pub span: Range<usize>,
}

/// The comments of `text`, which has nothing but comments and spaces and begins at
/// byte `offset` on line `line`.
pub(crate) fn comments_of_gap(text: &str, offset: usize, line: usize) -> Vec<Comment> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, line);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (length, inside) = if let Some(comment) = rest.strip_prefix("--") {
            let inside = comment.split('\n').next().unwrap_or_default();
            (inside.len() + 2, Some(inside))
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let inside = comment.split("*/").next().unwrap_or_default();
            ((inside.len() + 4).min(rest.len()), Some(inside))
        } else {
            (rest.chars().next().map_or(1, char::len_utf8), None)
        };
        if let Some(inside) = inside {
            found.push(Comment {
                text: inside.trim().to_owned(),
                line,
                span: offset + at..offset + at + length,
            });
        }
        line += rest.get(..length).unwrap_or_default().matches('\n').count();
        at += length;
    }
    found
}

/// All comments between the tokens of a text, and around them.
pub(crate) fn comments(text: &str, tokens: &[Token]) -> Vec<Comment> {
    let ends = std::iter::once(0).chain(tokens.iter().map(|token| token.end));
    let starts = tokens
        .iter()
        .map(|token| token.start)
        .chain(std::iter::once(text.len()));
    let mut found = Vec::new();
    let (mut line, mut counted) = (1, 0);
    for (start, end) in ends.zip(starts) {
        let gap = text.get(start..end).unwrap_or_default();
        if !gap.contains(['-', '/']) {
            continue;
        }
        line += text
            .get(counted..start)
            .unwrap_or_default()
            .matches('\n')
            .count();
        counted = start;
        found.extend(comments_of_gap(gap, start, line));
    }
    found
}

/// The length of the comments at the beginning of `gap` that end on its first line:
/// they belong to what is before them.
pub(crate) fn on_same_line(gap: &str) -> usize {
    let mut end = 0;
    for comment in comments_of_gap(gap, 0, 1) {
        let between = gap.get(end..comment.span.start).unwrap_or_default();
        if between.contains('\n') {
            break;
        }
        let text = gap.get(comment.span.clone()).unwrap_or_default();
        if text.contains('\n') {
            break;
        }
        end = comment.span.end;
    }
    end
}

/// Whether it ends with a `--` comment: text after it would become part of that.
pub(crate) fn is_open(gap: &str) -> bool {
    comments_of_gap(gap, 0, 1).last().is_some_and(|comment| {
        comment.span.end == gap.len()
            && gap
                .get(comment.span.clone())
                .is_some_and(|text| text.starts_with("--"))
    })
}
