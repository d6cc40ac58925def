//! Tokens of SQL, by SQLite's rules.

use sqlite3_parser::lexer::Scanner;
use sqlite3_parser::lexer::sql::{Error as LexerError, Tokenizer};

pub use sqlite3_parser::dialect::TokenType;

use super::{Error, Result};

/// One token, by its bytes in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Its kind. A keyword may be used as a name, as in SQLite.
    pub kind: TokenType,
    /// Its first byte.
    pub start: usize,
    /// After its last byte.
    pub end: usize,
}

impl Token {
    /// Its text; `text` is what it was read from.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether it is this word, unquoted, in any case.
    #[must_use]
    pub fn is_word(&self, text: &str, word: &str) -> bool {
        self.text(text).eq_ignore_ascii_case(word)
    }
}

/// The tokens of a text. Spaces and comments are the gaps between them.
///
/// # Errors
/// When a quote or a comment is never closed, or bytes are not a token of SQL.
pub fn tokens(text: &str) -> Result<Vec<Token>> {
    // SQLite takes a byte order mark for a space.
    let skipped = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let bytes = text.get(skipped..).unwrap_or_default().as_bytes();
    let mut scanner = Scanner::new(Tokenizer::new());
    let mut found = Vec::new();
    loop {
        match scanner.scan(bytes) {
            Ok((_, None, _)) => return Ok(found),
            Ok((start, Some((_, kind)), end)) => found.push(Token {
                kind,
                start: start + skipped,
                end: end + skipped,
            }),
            Err(error) => {
                let at = scanner.position(bytes);
                return Err(Error::Token {
                    line: at.line,
                    column: at.column,
                    what: explained(&error).to_owned(),
                });
            }
        }
    }
}

fn explained(error: &LexerError) -> &'static str {
    match error {
        LexerError::UnterminatedLiteral(_) => "a quote that is never closed",
        LexerError::UnterminatedBracket(_) => "a [ that is never closed",
        LexerError::UnterminatedBlockComment(_) => "a comment that is never closed",
        LexerError::BadNumber(_) | LexerError::MalformedHexInteger(_) => "not a number",
        LexerError::MalformedBlobLiteral(_) => "not a blob: x'…' takes pairs of hex digits",
        LexerError::BadVariableName(_) => "not a parameter",
        LexerError::ExpectedEqualsSign(_) => "a = is expected after !",
        _ => "not a token of SQL",
    }
}

/// The line of a byte, from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// A position among the tokens of a text.
#[derive(Clone)]
pub(crate) struct Cursor<'t> {
    pub(crate) text: &'t str,
    pub(crate) tokens: &'t [Token],
    pub(crate) at: usize,
}

impl<'t> Cursor<'t> {
    pub(crate) fn new(text: &'t str, tokens: &'t [Token]) -> Self {
        Self {
            text,
            tokens,
            at: 0,
        }
    }

    pub(crate) fn peek(&self) -> Option<Token> {
        self.peek_by(0)
    }

    pub(crate) fn peek_by(&self, ahead: usize) -> Option<Token> {
        self.tokens.get(self.at + ahead).copied()
    }

    pub(crate) fn kind(&self) -> Option<TokenType> {
        self.peek().map(|token| token.kind)
    }

    pub(crate) fn kind_by(&self, ahead: usize) -> Option<TokenType> {
        self.peek_by(ahead).map(|token| token.kind)
    }

    pub(crate) fn next(&mut self) -> Option<Token> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    /// Takes the next token if it is of this kind.
    pub(crate) fn take(&mut self, kind: TokenType) -> Option<Token> {
        self.kind().filter(|next| *next == kind)?;
        self.next()
    }

    /// Whether the next token is this word, a keyword or not.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.peek()
            .is_some_and(|token| token.is_word(self.text, word))
    }

    pub(crate) fn take_word(&mut self, word: &str) -> Option<Token> {
        self.peek().filter(|token| token.is_word(self.text, word))?;
        self.next()
    }

    pub(crate) fn want_word(&mut self, word: &str) -> Result<Token> {
        self.take_word(word).ok_or_else(|| self.expected(word))
    }

    /// Takes a name, with or without quotes; the value is without them.
    pub(crate) fn want_name(&mut self, what: &str) -> Result<(Token, String)> {
        let token = self.peek().filter(|token| is_name(token.kind));
        let token = token.ok_or_else(|| self.expected(what))?;
        self.at += 1;
        Ok((token, super::unquote_name(token.text(self.text))))
    }

    /// Takes a group in parentheses, which must be next; returns the closing one.
    pub(crate) fn group(&mut self) -> Result<Token> {
        if self.kind() != Some(TokenType::TK_LP) {
            return Err(self.expected("("));
        }
        let mut depth = 0_usize;
        while let Some(token) = self.next() {
            match token.kind {
                TokenType::TK_LP => depth += 1,
                TokenType::TK_RP => depth -= 1,
                _ => continue,
            }
            if depth == 0 {
                return Ok(token);
            }
        }
        Err(self.expected(")"))
    }

    pub(crate) fn expected(&self, wanted: &str) -> Error {
        let (line, position) = match self.peek() {
            Some(token) => (
                line_of(self.text, token.start),
                format!("before {:?}", token.text(self.text)),
            ),
            None => (line_of(self.text, self.text.len()), "at the end".to_owned()),
        };
        Error::Expected {
            line,
            wanted: wanted.to_owned(),
            position,
        }
    }
}

/// Whether a token of this kind may be a name. SQLite allows most keywords as names;
/// [`is_reserved`] lists those that it does not.
pub(crate) fn is_name(kind: TokenType) -> bool {
    use TokenType as T;
    kind == T::TK_ID || kind == T::TK_STRING || (is_keyword(kind) && !is_reserved(kind))
}

fn is_keyword(kind: TokenType) -> bool {
    kind.as_str().is_some_and(|word| {
        word.bytes()
            .all(|byte| byte.is_ascii_alphabetic() || byte == b'_')
    }) || matches!(
        kind,
        TokenType::TK_COLUMNKW
            | TokenType::TK_LIKE_KW
            | TokenType::TK_JOIN_KW
            | TokenType::TK_CTIME_KW
            | TokenType::TK_WINDOW
            | TokenType::TK_OVER
            | TokenType::TK_FILTER
    )
}

fn is_reserved(kind: TokenType) -> bool {
    use TokenType as T;
    matches!(
        kind,
        T::TK_ADD
            | T::TK_ALL
            | T::TK_ALTER
            | T::TK_AND
            | T::TK_AS
            | T::TK_AUTOINCR
            | T::TK_BETWEEN
            | T::TK_CASE
            | T::TK_CHECK
            | T::TK_COLLATE
            | T::TK_COMMIT
            | T::TK_CONSTRAINT
            | T::TK_CREATE
            | T::TK_DEFAULT
            | T::TK_DEFERRABLE
            | T::TK_DELETE
            | T::TK_DISTINCT
            | T::TK_DROP
            | T::TK_ELSE
            | T::TK_ESCAPE
            | T::TK_EXCEPT
            | T::TK_EXISTS
            | T::TK_FOREIGN
            | T::TK_FROM
            | T::TK_GROUP
            | T::TK_HAVING
            | T::TK_IN
            | T::TK_INDEX
            | T::TK_INSERT
            | T::TK_INTERSECT
            | T::TK_INTO
            | T::TK_IS
            | T::TK_ISNULL
            | T::TK_JOIN
            | T::TK_LIMIT
            | T::TK_NOT
            | T::TK_NOTHING
            | T::TK_NOTNULL
            | T::TK_NULL
            | T::TK_ON
            | T::TK_OR
            | T::TK_ORDER
            | T::TK_PRIMARY
            | T::TK_REFERENCES
            | T::TK_RETURNING
            | T::TK_SELECT
            | T::TK_SET
            | T::TK_TABLE
            | T::TK_THEN
            | T::TK_TO
            | T::TK_TRANSACTION
            | T::TK_UNION
            | T::TK_UNIQUE
            | T::TK_UPDATE
            | T::TK_USING
            | T::TK_VALUES
            | T::TK_WHEN
            | T::TK_WHERE
    )
}
