use std::ops::Range;

use super::comment::{Comment, beside, comments};
use super::token::{Token, TokenType, line_of, tokens};
use super::{Error, Result};

/// What runs a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SQLite.
    Sqlite,
    /// Ours: `REBUILD TABLE`, see [`crate::rebuild`].
    Rebuild,
}

/// One statement of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What runs it.
    pub kind: Kind,
    /// Its bytes in the file, from the comments before it to its `;`, and the
    /// comment beside that.
    pub span: Range<usize>,
    /// The line of its first word, from 1.
    pub line: usize,
    /// The bytes of `span`.
    pub text: String,
    /// The statement alone, from its first word, with its `;` if it has one.
    pub sql: String,
    /// The comments before it, in it and beside its end; lines are the file's.
    pub comments: Vec<Comment>,
}

/// Cuts a file into its statements. A comment belongs to the statement after
/// it, unless it stands beside the end of one; comments after the last one
/// belong to none. The last `;` may be missing.
///
/// # Errors
/// When a quote or a comment is never closed, or a trigger has no end.
pub fn split(text: &str) -> Result<Vec<Statement>> {
    let tokens = tokens(text)?;
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
        let end = last.end + beside(text.get(last.end..next).unwrap_or_default());
        let count = unread.partition_point(|comment| comment.span.start < end);
        let (mine, others) = unread.split_at(count);
        unread = others;
        pending.extend_from_slice(mine);
        // An empty statement; its comments go to the next one.
        if first.kind == TokenType::TK_SEMI {
            continue;
        }
        let between = text.get(counted..first.start).unwrap_or_default();
        line += between.bytes().filter(|byte| *byte == b'\n').count();
        counted = first.start;
        let comments = std::mem::take(&mut pending);
        // Blank lines before the first comment are nobody's.
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

/// How many tokens the first statement has. Inside a trigger a `;` ends
/// nothing unless `END` stands before it and a `;` before that.
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
