//! Conditions that hold whatever the row.

use sqlite3_parser::ast::{Expr, Literal, OneSelect, Operator, UnaryOperator};

use crate::sql::{same_name, unquote_name};

/// No WHERE, or one that is always true.
pub(super) fn is_all(condition: Option<&Expr<'_>>) -> bool {
    condition.is_none_or(|condition| is_always(condition, true, NESTED))
}

/// So deep a condition is looked into.
const NESTED: u32 = 32;

/// Whether `condition` comes to `truth` whatever the row, NULL aside.
fn is_always(condition: &Expr<'_>, truth: bool, depth: u32) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    let word = |word: &str| match truth {
        true => word.eq_ignore_ascii_case("true"),
        false => word.eq_ignore_ascii_case("false"),
    };
    match bare(condition) {
        Expr::Literal(Literal::Numeric(number)) => number
            .parse::<f64>()
            .is_ok_and(|number| (number != 0.0) == truth),
        Expr::Id(id) => word(id.0),
        Expr::Name(name) => word(name.0),
        Expr::Unary(UnaryOperator::Not, of) => is_always(of, !truth, depth),
        Expr::Binary(left, Operator::Or, right) => {
            let (left, right) = (
                is_always(left, truth, depth),
                is_always(right, truth, depth),
            );
            if truth { left || right } else { left && right }
        }
        Expr::Binary(left, Operator::And, right) => {
            let (left, right) = (
                is_always(left, truth, depth),
                is_always(right, truth, depth),
            );
            if truth { left && right } else { left || right }
        }
        Expr::Binary(left, Operator::Equals | Operator::Is, right) => {
            match (bare(left), bare(right)) {
                (Expr::Literal(left), Expr::Literal(right)) => (left == right) == truth,
                (left, right) => truth && is_same_column(left, right),
            }
        }
        Expr::Binary(left, Operator::NotEquals | Operator::IsNot, right) => {
            match (bare(left), bare(right)) {
                (Expr::Literal(left), Expr::Literal(right)) => (left != right) == truth,
                (left, right) => !truth && is_same_column(left, right),
            }
        }
        Expr::Exists(select) => {
            let from_nothing = match &select.body.select {
                OneSelect::Select {
                    from: None,
                    where_clause,
                    having: None,
                    ..
                } => where_clause.is_none_or(|of| is_always(of, true, depth)),
                OneSelect::Values(_) => true,
                OneSelect::Select { .. } => false,
            };
            truth && from_nothing && select.body.compounds.is_none() && select.limit.is_none()
        }
        _ => false,
    }
}

fn is_same_column(left: &Expr<'_>, right: &Expr<'_>) -> bool {
    let name = |of: &Expr<'_>| match of {
        Expr::Id(id) => Some(unquote_name(id.0)),
        Expr::Name(name) | Expr::Qualified(_, name) => Some(unquote_name(name.0)),
        _ => None,
    };
    match (name(left), name(right)) {
        (Some(left), Some(right)) => same_name(&left, &right),
        _ => false,
    }
}

/// Without parentheses. No recursion: there may be many.
pub(super) fn bare<'e, 'b>(mut expr: &'e Expr<'b>) -> &'e Expr<'b> {
    while let Expr::Parenthesized(all) = expr
        && let [inner] = all.as_slice()
    {
        expr = inner;
    }
    expr
}
