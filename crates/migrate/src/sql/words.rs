//! SQL text as a list of words, for comparing two texts: its tokens without
//! spaces, comments and quotes, names and keywords in lower case. Two texts that
//! differ in nothing else have the same words.

use super::token::{Token, TokenType, tokens};
use super::{name_key, unquote_name};

/// The words of a text; the text itself if it does not consist of tokens of SQL.
#[must_use]
pub fn words(sql: &str) -> Vec<String> {
    match tokens(sql) {
        Ok(all) => all.iter().map(|token| word(sql, token)).collect(),
        Err(_) => vec![sql.to_owned()],
    }
}

fn word(sql: &str, token: &Token) -> String {
    let text = token.text(sql);
    match token.kind {
        TokenType::TK_STRING | TokenType::TK_BLOB => text.into(),
        _ => name_key(&unquote_name(text)),
    }
}

/// Those of the words that may be names of columns, with their positions in the
/// list: not those of functions (before a parenthesis) and collations.
pub fn possible_columns(words: &[String]) -> impl Iterator<Item = (usize, &String)> {
    words.iter().enumerate().filter(|(at, _)| {
        let before = at.checked_sub(1).and_then(|at| words.get(at));
        let after = words.get(at + 1);
        before.is_none_or(|word| word != "collate") && after.is_none_or(|word| word != "(")
    })
}

/// A column's default as a literal that has the same value in any statement;
/// `None` for NULL and for expressions. A bare name as a default is text.
#[must_use]
pub fn literal_default(default: &str) -> Option<String> {
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
            TokenType::TK_ID => {
                let text = unquote_name(one.text(default));
                Some(format!("'{}'", text.replace('\'', "''")))
            }
            _ => None,
        },
        _ => None,
    }
}

/// The words of the expression of each `CHECK` of a `CREATE TABLE`, in order.
#[must_use]
pub fn check_words(sql: &str) -> Vec<Vec<String>> {
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

/// The tokens between the parenthesis that begins here and the one that closes it.
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

/// The words of a `CREATE INDEX`: one list for each column or expression that it
/// is on, and its `WHERE`. `ASC` is left out, as it says nothing.
#[must_use]
pub fn index_words(sql: &str) -> (Vec<Vec<String>>, Option<Vec<String>>) {
    let all = tokens(sql).unwrap_or_default();
    let begins = all.iter().position(|token| token.kind == TokenType::TK_LP);
    let Some(begins) = begins else {
        return (Vec::new(), None);
    };
    let inside = group(&all[begins..]);
    let mut depth = 0;
    let mut terms = vec![Vec::new()];
    for token in inside {
        match token.kind {
            TokenType::TK_LP => depth += 1,
            TokenType::TK_RP => depth -= 1,
            TokenType::TK_COMMA if depth == 0 => {
                terms.push(Vec::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = terms.last_mut() {
            last.push(word(sql, token));
        }
    }
    for term in &mut terms {
        if term.last().is_some_and(|word| word == "asc") {
            term.pop();
        }
    }
    let rest = all.get(begins + inside.len() + 2..).unwrap_or_default();
    let condition = match rest.first() {
        Some(token) if token.is_word(sql, "WHERE") => {
            Some(rest[1..].iter().map(|token| word(sql, token)).collect())
        }
        _ => None,
    };
    (terms, condition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_found_wherever_they_are() {
        let sql = "CREATE TABLE t (a INT CHECK (a > 0), \"check\" TEXT -- CHECK (no)
            , c TEXT DEFAULT 'CHECK (no)', CONSTRAINT x CHECK ((a + 1) < length(\"C\")))";
        let found = check_words(sql);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].join(" "), "a > 0");
        assert_eq!(found[1].join(" "), "( a + 1 ) < length ( c )");
        assert!(check_words("CREATE TABLE t (a").is_empty());
        assert!(
            check_words("CREATE TABLE t (a CHECK")
                .iter()
                .all(Vec::is_empty)
        );
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
            assert_eq!(literal_default(default).as_deref(), Some(is), "{default}");
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
            assert_eq!(literal_default(default), None, "{default}");
        }
    }

    #[test]
    fn spaces_quotes_and_case_do_not_matter() {
        assert_eq!(words("SELECT \"A\" , [b]"), words("select a,B -- c"));
        assert_ne!(words("SELECT 'A'"), words("SELECT 'a'"));
        assert_eq!(words("'"), ["'"]);
    }

    #[test]
    fn an_index_has_terms_and_a_condition() {
        let (terms, condition) =
            index_words("CREATE UNIQUE INDEX i ON t (a ASC, lower(b, 1) DESC) WHERE a IS NOT NULL");
        let terms: Vec<String> = terms.iter().map(|term| term.join(" ")).collect();
        assert_eq!(terms, ["a", "lower ( b , 1 ) desc"]);
        assert_eq!(condition.unwrap().join(" "), "a is not null");
        assert_eq!(index_words("CREATE INDEX i ON t(a)").1, None);
    }
}
