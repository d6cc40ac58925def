//! Splits a file into its statements.

use std::ops::Range;

use super::comment::{Comment, comments, on_same_line};
use super::token::{Token, TokenType, line_of, tokens};
use super::{Error, Result};

/// Most parentheses that may be open at once. SQLite's parser gives up at 2,500 by
/// default (`SQLITE_MAX_PARSER_DEPTH`).
const NESTING_MAX: usize = 2_500;

/// What runs a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SQLite.
    Sqlite,
    /// Monolite: `REBUILD TABLE`, see [`crate::rebuild`].
    Rebuild,
}

/// One statement of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What runs it.
    pub kind: Kind,
    /// Its bytes in the file, from the comments before it to its `;` and a comment
    /// on the same line after that.
    pub span: Range<usize>,
    /// The line of its first word, from 1.
    pub line: usize,
    /// The bytes of `span`.
    pub text: String,
    /// The statement alone, from its first word, with its `;` if it has one.
    pub sql: String,
    /// The comments before it, in it, and after its end on the same line; their
    /// lines are counted in the file.
    pub comments: Vec<Comment>,
}

/// Splits a file into its statements. A comment belongs to the statement after it,
/// or to the one that ends before it on the same line; comments after the last
/// statement belong to none. The last `;` may be missing.
///
/// # Errors
/// When a quote or a comment is never closed, a trigger has no `END`, or
/// parentheses are nested more than 2,500 deep.
pub fn split(text: &str) -> Result<Vec<Statement>> {
    let tokens = tokens(text)?;
    check_nesting(text, &tokens)?;
    let comments = comments(text, &tokens);
    let mut unread = comments.as_slice();
    let mut statements = Vec::new();
    let mut rest = tokens.as_slice();
    let (mut line, mut counted) = (1, 0);
    let mut pending = Vec::new();
    while let Some(first) = rest.first() {
        let length = length(text, rest)?;
        let (own, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        let last = own.last().unwrap_or(first);
        let next = rest.first().map_or(text.len(), |token| token.start);
        let end = last.end + on_same_line(text.get(last.end..next).unwrap_or_default());
        let count = unread.partition_point(|comment| comment.span.start < end);
        let (mine, later) = unread.split_at(count);
        unread = later;
        pending.extend_from_slice(mine);
        // An empty statement: its comments belong to the next one.
        if first.kind == TokenType::TK_SEMI {
            continue;
        }
        let between = text.get(counted..first.start).unwrap_or_default();
        line += between.bytes().filter(|byte| *byte == b'\n').count();
        counted = first.start;
        let comments = std::mem::take(&mut pending);
        // Blank lines before the first comment belong to no statement.
        let begin = comments
            .first()
            .map_or(first.start, |comment| comment.span.start.min(first.start));
        statements.push(Statement {
            kind: kind(text, own),
            span: begin..end,
            line,
            text: text.get(begin..end).unwrap_or_default().to_owned(),
            sql: text
                .get(first.start..last.end)
                .unwrap_or_default()
                .to_owned(),
            comments,
        });
    }
    Ok(statements)
}

/// What parses a statement later recurses into parentheses, and would overflow its
/// stack.
fn check_nesting(text: &str, tokens: &[Token]) -> Result<()> {
    let mut depth = 0_usize;
    for token in tokens {
        match token.kind {
            TokenType::TK_LP => depth += 1,
            TokenType::TK_RP => depth = depth.saturating_sub(1),
            TokenType::TK_SEMI => depth = 0,
            _ => {}
        }
        if depth > NESTING_MAX {
            let before = text.get(..token.start).unwrap_or_default();
            let line_start = before.rfind('\n').map_or(0, |end| end + 1);
            return Err(Error::Nesting {
                line: line_of(text, token.start),
                column: token.start - line_start + 1,
                max: NESTING_MAX,
            });
        }
    }
    Ok(())
}

fn kind(text: &str, own: &[Token]) -> Kind {
    match own {
        [first, second, ..]
            if first.is_word(text, "REBUILD") && second.kind == TokenType::TK_TABLE =>
        {
            Kind::Rebuild
        }
        _ => Kind::Sqlite,
    }
}

/// The number of tokens of the first statement. A trigger ends only with `; END ;`.
fn length(text: &str, tokens: &[Token]) -> Result<usize> {
    if !is_trigger(text, tokens) {
        let end = tokens
            .iter()
            .position(|token| token.kind == TokenType::TK_SEMI);
        return Ok(end.map_or(tokens.len(), |end| end + 1));
    }
    for at in 2..tokens.len() {
        let kind = |back: usize| tokens.get(at - back).map(|token| token.kind);
        let closed = kind(2) == Some(TokenType::TK_SEMI) && kind(1) == Some(TokenType::TK_END);
        if closed && kind(0) == Some(TokenType::TK_SEMI) {
            return Ok(at + 1);
        }
    }
    match tokens {
        [.., semi, end] if semi.kind == TokenType::TK_SEMI && end.kind == TokenType::TK_END => {
            Ok(tokens.len())
        }
        _ => Err(Error::UnfinishedTrigger {
            line: tokens.first().map_or(1, |token| line_of(text, token.start)),
        }),
    }
}

fn is_trigger(text: &str, tokens: &[Token]) -> bool {
    let mut words = tokens
        .iter()
        .map(|token| token.text(text).to_ascii_uppercase());
    let mut word = words.next();
    if word.as_deref() == Some("EXPLAIN") {
        word = words.next();
        if word.as_deref() == Some("QUERY") {
            words.next();
            word = words.next();
        }
    }
    if word.as_deref() != Some("CREATE") {
        return false;
    }
    word = words.next();
    if matches!(word.as_deref(), Some("TEMP" | "TEMPORARY")) {
        word = words.next();
    }
    word.as_deref() == Some("TRIGGER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_belong_to_the_statement_they_are_next_to() {
        let text = "-- one\nSELECT 1; -- same line\n\n/* two */ ; -- two, too\nSELECT ';' -- in\n;\n-- none";
        let all = split(text).unwrap();
        let seen: Vec<_> = all
            .iter()
            .map(|one| {
                let comments = one.comments.iter().map(|comment| comment.text.as_str());
                (one.line, one.sql.as_str(), comments.collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(
            seen,
            [
                (2, "SELECT 1;", vec!["one", "same line"]),
                (5, "SELECT ';' -- in\n;", vec!["two", "two, too", "in"]),
            ]
        );
    }

    #[test]
    fn a_trigger_is_one_statement() {
        let text = "CREATE TRIGGER t AFTER INSERT ON x BEGIN SELECT CASE 1 WHEN 1 THEN 2 END; END; SELECT 1";
        assert_eq!(split(text).unwrap().len(), 2);
        let error = split("SELECT 1;\nCREATE TEMP TRIGGER t AFTER INSERT ON x BEGIN SELECT 1;");
        assert_eq!(error, Err(Error::UnfinishedTrigger { line: 2 }));
    }

    #[test]
    fn nesting_has_a_bound_and_its_error_a_position() {
        let nested = |depth: usize| {
            format!(
                "SELECT 1;\nSELECT {}1{}",
                "(".repeat(depth),
                ")".repeat(depth)
            )
        };
        assert_eq!(split(&nested(NESTING_MAX)).unwrap().len(), 2);
        let error = split(&nested(NESTING_MAX + 1)).unwrap_err();
        let max = NESTING_MAX;
        assert_eq!(
            error,
            Error::Nesting {
                line: 2,
                column: 8 + max,
                max
            },
        );
        // What is nested is counted, not what follows one another.
        assert!(split(&"SELECT (1);".repeat(3 * max)).is_ok());
    }
}
