//! What a `REBUILD TABLE` does, read from its tokens.

use super::Op;
use crate::lint::copy::words;
use crate::sql::{Cursor, TokenType, tokens, unquote_name};

/// The table and its renames: after the definition, and not in an expression.
pub(super) fn rebuild(sql: &str) -> Op {
    let all = tokens(sql).unwrap_or_default();
    let mut cursor = Cursor::new(sql, &all);
    let (mut table, mut pairs, mut depth) = (None, Vec::new(), 0_usize);
    let name = |cursor: &mut Cursor<'_>| cursor.next().map(|token| unquote_name(token.text(sql)));
    let _ = (cursor.take_word("REBUILD"), cursor.take_word("TABLE"));
    while let Some(token) = cursor.peek() {
        if table.is_none() {
            table = name(&mut cursor);
            if cursor.take(TokenType::TK_DOT).is_some() {
                table = name(&mut cursor);
            }
            continue;
        }
        cursor.next();
        match token.kind {
            TokenType::TK_LP => depth += 1,
            TokenType::TK_RP => depth = depth.saturating_sub(1),
            _ if depth == 0 && token.is_word(sql, "RENAME") => {
                if cursor.take_word("COLUMN").is_some()
                    && let Some(from) = name(&mut cursor)
                    && cursor.take_word("TO").is_some()
                    && let Some(to) = name(&mut cursor)
                {
                    pairs.push((from, to));
                }
            }
            _ => {}
        }
    }
    Op::RenameColumns {
        table: table.unwrap_or_default(),
        pairs,
        rebuild: true,
    }
}

/// Columns that a rebuild sets, and the names in what they are set to.
pub(in crate::lint) fn rebuild_sets(sql: &str) -> Vec<(String, Vec<String>)> {
    let all = tokens(sql).unwrap_or_default();
    let (mut depth, mut sets, mut at) = (0_usize, Vec::new(), 0);
    let ends = |at: usize| {
        let mut clauses = ["SET", "RENAME", "DROP"].iter();
        all.get(at)
            .is_none_or(|token| clauses.any(|word| token.is_word(sql, word)))
    };
    while let Some(token) = all.get(at) {
        at += 1;
        match token.kind {
            TokenType::TK_LP => depth += 1,
            TokenType::TK_RP => depth = depth.saturating_sub(1),
            _ if depth == 0 && token.is_word(sql, "SET") => {
                let Some(column) = all.get(at) else {
                    break;
                };
                let begin = (at + 2).min(all.len());
                at = begin;
                while depth > 0 || !ends(at) {
                    match all.get(at).map(|token| token.kind) {
                        None => break,
                        Some(TokenType::TK_LP) => depth += 1,
                        Some(TokenType::TK_RP) => depth = depth.saturating_sub(1),
                        Some(_) => {}
                    }
                    at += 1;
                }
                sets.push((unquote_name(column.text(sql)), words(sql, &all[begin..at])));
            }
            _ => {}
        }
    }
    sets
}
