//! Which columns a statement reads, by its tokens: whether a new value is computed from the old one,
//! and whether a column that is dropped later was copied elsewhere before.

use std::collections::BTreeSet;

use super::definition_text::is_word;
use crate::sql::{Token, TokenType, same_name, tokens, unquote_name};

/// The columns of an `UPDATE` whose new value is computed from their old one, in lower case.
pub(super) fn computed_from_itself(sql: &str) -> BTreeSet<String> {
    let all = tokens(sql).unwrap_or_default();
    let Some(set) = all.iter().position(|token| token.kind == TokenType::TK_SET) else {
        return BTreeSet::new();
    };
    // The table's name, or the alias that stands for it.
    let table = all[..set].last().map(|token| unquote_name(token.text(sql)));
    let table = table.unwrap_or_default();
    let mut computed = BTreeSet::new();
    for (columns, value) in assignments(&all[set + 1..]) {
        // Names in a query of its own may be of any table.
        if value.iter().any(|token| token.kind == TokenType::TK_SELECT) {
            continue;
        }
        for column in columns.iter().filter(|token| is_word(sql, token)) {
            let column = unquote_name(column.text(sql));
            if names_column(sql, value, &column, &table) {
                computed.insert(column.to_ascii_lowercase());
            }
        }
    }
    computed
}

/// Whether the expression names the column, bare or behind `table`.
fn names_column(sql: &str, value: &[Token], column: &str, table: &str) -> bool {
    value.iter().enumerate().any(|(at, token)| {
        let before = |by: usize| at.checked_sub(by).and_then(|at| value.get(at));
        let is_ours = match before(1).filter(|token| token.kind == TokenType::TK_DOT) {
            None => true,
            Some(_) => before(2).is_some_and(|of| same_name(&unquote_name(of.text(sql)), table)),
        };
        is_word(sql, token) && is_ours && same_name(&unquote_name(token.text(sql)), column)
    })
}

/// The assignments after `SET`: the columns and the expression of each.
fn assignments(all: &[Token]) -> Vec<(&[Token], &[Token])> {
    let (mut depth, mut start) = (0_usize, 0);
    let mut ranges = Vec::new();
    for (at, token) in all.iter().enumerate() {
        match token.kind {
            TokenType::TK_LP => depth += 1,
            TokenType::TK_RP => depth = depth.saturating_sub(1),
            TokenType::TK_COMMA if depth == 0 => {
                ranges.push(start..at);
                start = at + 1;
            }
            TokenType::TK_WHERE
            | TokenType::TK_FROM
            | TokenType::TK_RETURNING
            | TokenType::TK_ORDER
            | TokenType::TK_LIMIT
            | TokenType::TK_SEMI
                if depth == 0 =>
            {
                ranges.push(start..at);
                start = all.len();
                break;
            }
            _ => {}
        }
    }
    ranges.push(start..all.len());
    let parts = ranges.into_iter().filter_map(|range| {
        let part = all.get(range)?;
        let equals = part
            .iter()
            .position(|token| token.kind == TokenType::TK_EQ)?;
        Some((&part[..equals], &part[equals + 1..]))
    });
    parts.collect()
}

/// The names that a statement which copies values reads, in lower case, and whether it reads all
/// columns (`*`). `None` if it copies none.
pub(super) fn names_read(sql: &str) -> Option<(BTreeSet<String>, bool)> {
    let all = tokens(sql).unwrap_or_default();
    let is = |kind| move |token: &Token| token.kind == kind;
    let update = all.first().is_some_and(is(TokenType::TK_UPDATE));
    let values: Vec<&Token> = match update {
        true => {
            let set = all.iter().position(is(TokenType::TK_SET))?;
            let values = assignments(&all[set + 1..]).into_iter();
            // With the name of the table that is read.
            values
                .flat_map(|(_, value)| value)
                .chain(&all[..set])
                .collect()
        }
        false => {
            let select = all.iter().position(is(TokenType::TK_SELECT))?;
            all[select..].iter().collect()
        }
    };
    let is_all = values.windows(2).any(|pair| {
        let ends = [TokenType::TK_SELECT, TokenType::TK_DOT, TokenType::TK_COMMA];
        pair[1].kind == TokenType::TK_STAR && ends.contains(&pair[0].kind)
    });
    let words = values.iter().filter(|token| is_word(sql, token));
    let names = words.map(|token| unquote_name(token.text(sql)).to_ascii_lowercase());
    Some((names.collect(), is_all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_computed_from_the_old_one_or_not() {
        for (sql, columns) in [
            ("UPDATE t SET a = upper(a), b = 'x', c = d", &["a"][..]),
            (
                "UPDATE t SET a = CASE a WHEN 1 THEN 2 ELSE a END WHERE a > 0",
                &["a"],
            ),
            (
                "UPDATE t AS u SET a = u.a + 1, \"B\" = [b] || 'x'",
                &["a", "b"],
            ),
            ("UPDATE t SET a = x.a FROM x", &[]),
            ("UPDATE t SET a = (SELECT a FROM x)", &[]),
            ("UPDATE t SET (a, b) = (b, a)", &["a", "b"]),
            ("UPDATE t SET a = NULL WHERE a = 1", &[]),
        ] {
            let expected = columns.iter().map(|one| (*one).to_owned()).collect();
            assert_eq!(computed_from_itself(sql), expected, "{sql}");
        }
    }

    #[test]
    fn what_is_copied_is_read_and_what_is_written_is_not() {
        let reads =
            |sql: &str, name: &str| names_read(sql).is_some_and(|(names, _)| names.contains(name));
        assert!(reads(
            "INSERT INTO n (id, bio) SELECT id, bio FROM users WHERE bio <> ''",
            "bio"
        ));
        assert!(!reads(
            "INSERT INTO n (id, bio) SELECT id, name FROM users",
            "bio"
        ));
        assert!(!reads("INSERT INTO n (bio) VALUES ('x')", "bio"));
        assert!(reads("UPDATE t SET b = a", "a") && !reads("UPDATE t SET b = a", "b"));
        assert!(reads("UPDATE t SET b = (SELECT x.c FROM x)", "c"));
        assert!(!reads("DELETE FROM t WHERE a = 1", "a"));
        assert!(names_read("INSERT INTO n SELECT * FROM t").unwrap().1);
        assert!(!names_read("INSERT INTO n SELECT a * 2 FROM t").unwrap().1);
    }
}
