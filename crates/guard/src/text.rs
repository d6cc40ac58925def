//! What only the text of a definition tells, read by SQLite's tokenizer:
//! CHECK constraints, and what an index is on.
//!
//! Texts are compared as lists of words: tokens without spaces, comments and
//! quotes, names and keywords in lower case. Two texts that differ in nothing
//! else are the same.

use monolite_migrate::sql::{Token, TokenType, tokens, unquote_name};

/// The words of a text; none if it is no SQL.
pub(super) fn words(sql: &str) -> Vec<String> {
    let all = tokens(sql).unwrap_or_default();
    all.iter().map(|token| word(sql, token)).collect()
}

fn word(sql: &str, token: &Token) -> String {
    let text = token.text(sql);
    match token.kind {
        TokenType::TK_STRING | TokenType::TK_BLOB => text.into(),
        _ => unquote_name(text).to_ascii_lowercase(),
    }
}

/// Whether this keyword is in the text, outside quotes and comments.
pub(super) fn has_word(sql: &str, keyword: &str) -> bool {
    let all = tokens(sql).unwrap_or_default();
    all.iter().any(|token| token.is_word(sql, keyword))
}

/// Those of the words that may name columns, by their places: no functions and
/// no collations, whatever they are called.
pub(super) fn names(words: &[String]) -> impl Iterator<Item = (usize, &String)> {
    words.iter().enumerate().filter(|(at, _)| {
        let before = at.checked_sub(1).and_then(|at| words.get(at));
        let after = words.get(at + 1);
        before.is_none_or(|word| word != "collate") && after.is_none_or(|word| word != "(")
    })
}

/// A column's default as a literal that may stand in any statement; none, if it
/// is an expression that may be anything at any time, or NULL.
pub(super) fn literal(default: &str) -> Option<String> {
    let all = tokens(default).ok()?;
    let mut all = all.as_slice();
    while let [first, inside @ .., last] = all
        && (first.kind, last.kind) == (TokenType::TK_LP, TokenType::TK_RP)
    {
        all = inside;
    }
    let is_number =
        |token: &Token| matches!(token.kind, TokenType::TK_INTEGER | TokenType::TK_FLOAT);
    match all {
        [sign, one] if is_number(one) && ["-", "+"].contains(&sign.text(default)) => {
            Some(format!("{}{}", sign.text(default), one.text(default)))
        }
        [one] => match one.kind {
            TokenType::TK_STRING | TokenType::TK_BLOB => Some(one.text(default).into()),
            _ if is_number(one) => Some(one.text(default).into()),
            _ if one.is_word(default, "true") || one.is_word(default, "false") => {
                Some(one.text(default).into())
            }
            // As a default, a name is a text.
            TokenType::TK_ID => {
                let text = unquote_name(one.text(default));
                Some(format!("'{}'", text.replace('\'', "''")))
            }
            _ => None,
        },
        _ => None,
    }
}

/// The expressions of all CHECK constraints of a CREATE TABLE, in order.
pub(super) fn checks(sql: &str) -> Vec<Vec<String>> {
    let all = tokens(sql).unwrap_or_default();
    let mut found = Vec::new();
    let mut at = 0;
    while at < all.len() {
        at += 1;
        if all[at - 1].kind != TokenType::TK_CHECK {
            continue;
        }
        let inside = group(&all[at..]);
        found.push(inside.iter().map(|token| word(sql, token)).collect());
        at += inside.len();
    }
    found
}

/// What stands in the parentheses that begin here.
fn group(tokens: &[Token]) -> &[Token] {
    if tokens.first().map(|token| token.kind) != Some(TokenType::TK_LP) {
        return &[];
    }
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            TokenType::TK_LP => depth += 1,
            TokenType::TK_RP => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &tokens[1..at];
        }
    }
    &[]
}

/// What an index is on, a piece each, and its condition.
pub(super) fn index(sql: &str) -> (Vec<Vec<String>>, Option<Vec<String>>) {
    let all = tokens(sql).unwrap_or_default();
    let begins = all.iter().position(|token| token.kind == TokenType::TK_LP);
    let Some(begins) = begins else {
        return (Vec::new(), None);
    };
    let inside = group(&all[begins..]);
    let mut depth = 0;
    let mut pieces = vec![Vec::new()];
    for token in inside {
        match token.kind {
            TokenType::TK_LP => depth += 1,
            TokenType::TK_RP => depth -= 1,
            TokenType::TK_COMMA if depth == 0 => {
                pieces.push(Vec::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = pieces.last_mut() {
            last.push(word(sql, token));
        }
    }
    for piece in &mut pieces {
        // As if it were not said.
        if piece.last().is_some_and(|word| word == "asc") {
            piece.pop();
        }
    }
    let rest = all.get(begins + inside.len() + 2..).unwrap_or_default();
    let condition = match rest.first() {
        Some(token) if token.is_word(sql, "WHERE") => {
            Some(rest[1..].iter().map(|token| word(sql, token)).collect())
        }
        _ => None,
    };
    (pieces, condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_found_wherever_they_are() {
        let sql = "CREATE TABLE t (a INT CHECK (a > 0), \"check\" TEXT -- CHECK (no)
            , c TEXT DEFAULT 'CHECK (no)', CONSTRAINT x CHECK ((a + 1) < length(\"C\")))";
        let found = checks(sql);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].join(" "), "a > 0");
        assert_eq!(found[1].join(" "), "( a + 1 ) < length ( c )");
        assert!(checks("CREATE TABLE t (a").is_empty());
        assert!(checks("CREATE TABLE t (a CHECK").iter().all(Vec::is_empty));
    }

    #[test]
    fn a_default_is_a_literal_or_nothing() {
        for (default, is) in [
            ("7", "7"),
            ("-1.5", "-1.5"),
            ("((0))", "0"),
            ("'it''s'", "'it''s'"),
            ("x'00'", "x'00'"),
            ("TRUE", "TRUE"),
            ("\"a'b\"", "'a''b'"),
            ("draft", "'draft'"),
        ] {
            assert_eq!(literal(default).as_deref(), Some(is), "{default}");
        }
        for default in [
            "NULL",
            "CURRENT_TIMESTAMP",
            "(1 + 1)",
            "abs(1)",
            "",
            "()",
            "(a)(b)",
        ] {
            assert_eq!(literal(default), None, "{default}");
        }
    }

    #[test]
    fn spaces_quotes_and_case_do_not_matter() {
        assert_eq!(words("SELECT \"A\" , [b]"), words("select a,B -- c"));
        assert_ne!(words("SELECT 'A'"), words("SELECT 'a'"));
        assert!(words("'").is_empty());
    }

    #[test]
    fn an_index_is_on_pieces_under_a_condition() {
        let (pieces, condition) =
            index("CREATE UNIQUE INDEX i ON t (a ASC, lower(b, 1) DESC) WHERE a IS NOT NULL");
        let pieces: Vec<String> = pieces.iter().map(|piece| piece.join(" ")).collect();
        assert_eq!(pieces, ["a", "lower ( b , 1 ) desc"]);
        assert_eq!(condition.unwrap().join(" "), "a is not null");
        assert_eq!(index("CREATE INDEX i ON t(a)").1, None);
    }
}
