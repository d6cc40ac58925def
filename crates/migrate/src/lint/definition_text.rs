//! Texts of definitions (triggers, views, indexes, `CHECK`), made comparable.

use std::collections::BTreeMap;

use crate::schema::Table;
use crate::sql::{ConstraintKind, TableText, Token, TokenType, tokens, unquote_name};

/// The text without differences in spaces, quotes of names, and case.
fn normal<'t>(sql: &str, words: impl Iterator<Item = &'t Token>) -> String {
    let words = words.map(|token| match token.kind {
        TokenType::TK_STRING | TokenType::TK_BLOB => token.text(sql).to_owned(),
        _ => unquote_name(token.text(sql)).to_ascii_lowercase(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A trigger's or view's text without its name.
pub(super) fn body(sql: &str) -> String {
    let all = tokens(sql).unwrap_or_default();
    let is_kind =
        |token: &&Token| !matches!(token.kind, TokenType::TK_TRIGGER | TokenType::TK_VIEW);
    let mut rest: Vec<&Token> = all.iter().skip_while(is_kind).skip(1).collect();
    if rest
        .first()
        .is_some_and(|token| token.kind == TokenType::TK_IF)
    {
        rest.drain(..rest.len().min(3));
    }
    let has_schema = rest
        .get(1)
        .is_some_and(|token| token.kind == TokenType::TK_DOT);
    let name = if has_schema { 3 } else { 1 };
    normal(sql, rest.into_iter().skip(name))
}

/// The table and columns of a `CREATE INDEX`, without the index's own name.
pub(super) fn on(sql: &str) -> String {
    let all = tokens(sql).unwrap_or_default();
    let after = all
        .iter()
        .skip_while(|token| token.kind != TokenType::TK_ON)
        .skip(1);
    normal(sql, after)
}

/// Each `CHECK` of the table, and of those of its columns that are `wanted`: the
/// comparable text, and the text to show.
pub(super) fn check_texts(
    table: &Table,
    wanted: &dyn Fn(&str) -> bool,
) -> BTreeMap<String, String> {
    let Ok(text) = TableText::parse(&table.sql) else {
        return BTreeMap::new();
    };
    let mut all = BTreeMap::new();
    let mut add = |text: &str| {
        let words = tokens(text).unwrap_or_default();
        // Without `CONSTRAINT name`: a name changes nothing.
        let check = (words.iter()).skip_while(|token| token.kind != TokenType::TK_CHECK);
        let check = check.map(|token| check_word(text, token, table));
        let shown: Vec<&str> = words.iter().map(|token| token.text(text)).collect();
        all.insert(check.collect::<Vec<_>>().join(" "), shown.join(" "));
    };
    for (item, constraint) in text.constraints().unwrap_or_default() {
        if constraint.kind == ConstraintKind::Check {
            add(&item);
        }
    }
    let names = text.columns().filter(|name| wanted(name));
    for name in names.map(str::to_owned).collect::<Vec<_>>() {
        let Some(column) = text.column(&name) else {
            continue;
        };
        for constraint in column.constraints() {
            if constraint.kind == ConstraintKind::Check {
                add(column.text_of(constraint));
            }
        }
    }
    all
}

/// A word in double quotes is text unless a column has that name.
fn check_word(sql: &str, token: &Token, table: &Table) -> String {
    let word = token.text(sql);
    let name = unquote_name(word);
    let is_text = match token.kind {
        TokenType::TK_STRING | TokenType::TK_BLOB => true,
        _ => word.starts_with('"') && table.column(&name).is_none(),
    };
    match is_text {
        true => word.to_owned(),
        false => name.to_ascii_lowercase(),
    }
}
