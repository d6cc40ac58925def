//! Conditions that hold whatever the row.

use sqlite3_parser::ast::{Expr, Literal, Name, OneSelect, Operator, QualifiedName, UnaryOperator};

use crate::sql::{same_name, unquote_name};

/// The table whose rows are asked.
pub(super) struct Scope {
    /// As it is called there: by its alias, if it has one.
    name: String,
    /// No other table's columns can be meant by a name without a table.
    is_alone: bool,
}

impl Scope {
    pub(super) fn of(table: &QualifiedName<'_>) -> Self {
        Self::called(table.alias.as_ref().unwrap_or(&table.name))
    }

    pub(super) fn called(name: &Name<'_>) -> Self {
        Self {
            name: unquote_name(name.0),
            is_alone: true,
        }
    }

    /// Beside others, if `are_others`.
    pub(super) fn beside(self, are_others: bool) -> Self {
        Self {
            is_alone: !are_others,
            ..self
        }
    }

    /// No WHERE, or one that is always true.
    pub(super) fn is_all(&self, condition: Option<&Expr<'_>>) -> bool {
        condition.is_none_or(|condition| self.is_always(condition, true, NESTED))
    }

    /// Whether `expr` is this column of the table.
    pub(super) fn is_column(&self, expr: &Expr<'_>, column: &str) -> bool {
        // A name that could be of two tables SQLite refuses.
        column_of(bare(expr)).is_some_and(|(table, name)| {
            same_name(&name, column) && table.is_none_or(|table| same_name(&table, &self.name))
        })
    }

    /// Whether `condition` comes to `truth` whatever the row, NULL aside.
    fn is_always(&self, condition: &Expr<'_>, truth: bool, depth: u32) -> bool {
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
            Expr::Unary(UnaryOperator::Not, of) => self.is_always(of, !truth, depth),
            Expr::Binary(left, Operator::Or, right) => {
                let (left, right) = (
                    self.is_always(left, truth, depth),
                    self.is_always(right, truth, depth),
                );
                if truth { left || right } else { left && right }
            }
            Expr::Binary(left, Operator::And, right) => {
                let (left, right) = (
                    self.is_always(left, truth, depth),
                    self.is_always(right, truth, depth),
                );
                if truth { left && right } else { left || right }
            }
            Expr::Binary(left, Operator::Equals | Operator::Is, right) => {
                match (bare(left), bare(right)) {
                    (Expr::Literal(left), Expr::Literal(right)) => (left == right) == truth,
                    (left, right) => truth && self.is_same_column(left, right),
                }
            }
            Expr::Binary(left, Operator::NotEquals | Operator::IsNot, right) => {
                match (bare(left), bare(right)) {
                    (Expr::Literal(left), Expr::Literal(right)) => (left != right) == truth,
                    (left, right) => !truth && self.is_same_column(left, right),
                }
            }
            Expr::Exists(select) => {
                let from_nothing = match &select.body.select {
                    OneSelect::Select {
                        from: None,
                        where_clause,
                        having: None,
                        ..
                    } => where_clause.is_none_or(|of| self.is_always(of, true, depth)),
                    OneSelect::Values(_) => true,
                    OneSelect::Select { .. } => false,
                };
                truth && from_nothing && select.body.compounds.is_none() && select.limit.is_none()
            }
            _ => false,
        }
    }

    /// The tables that the two are of must be the same, too: `posts.id = b.id`
    /// is how rows are matched.
    fn is_same_column(&self, left: &Expr<'_>, right: &Expr<'_>) -> bool {
        let (Some((left, one)), Some((right, other))) = (column_of(left), column_of(right)) else {
            return false;
        };
        let is_ours = |table: &Option<String>| {
            let named = table.as_deref();
            named.is_none_or(|name| same_name(name, &self.name))
        };
        let is_same_table = match (&left, &right) {
            (None, None) => true,
            (Some(left), Some(right)) => same_name(left, right),
            _ => self.is_alone && is_ours(&left) && is_ours(&right),
        };
        same_name(&one, &other) && is_same_table
    }
}

/// So deep a condition is looked into.
const NESTED: u32 = 32;

/// Of which table, if that is said, and its name.
fn column_of(expr: &Expr<'_>) -> Option<(Option<String>, String)> {
    match expr {
        Expr::Id(id) => Some((None, unquote_name(id.0))),
        Expr::Name(name) => Some((None, unquote_name(name.0))),
        Expr::Qualified(table, name) => Some((Some(unquote_name(table.0)), unquote_name(name.0))),
        _ => None,
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
