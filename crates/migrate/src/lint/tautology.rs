//! Conditions that are true for every row, such as `WHERE 1`.

use sqlite3_parser::ast::{
    Expr, Literal, Name, OneSelect, Operator, QualifiedName, ResultColumn, Select, SelectTable,
    UnaryOperator,
};

use crate::sql::{same_name, unquote_name};

/// The table whose rows a condition is evaluated for.
pub(super) struct Scope {
    /// Its name in the condition: the alias, if it has one.
    name: String,
    /// Its own name, if the condition is of a statement that names it.
    table: Option<String>,
    /// Whether it is the only table, so that a bare name can only be its column.
    is_alone: bool,
}

impl Scope {
    pub(super) fn of(table: &QualifiedName<'_>) -> Self {
        Self {
            table: Some(unquote_name(table.name.0)),
            ..Self::called(table.alias.as_ref().unwrap_or(&table.name))
        }
    }

    pub(super) fn called(name: &Name<'_>) -> Self {
        Self {
            name: unquote_name(name.0),
            table: None,
            is_alone: true,
        }
    }

    /// `has_others`: whether the statement reads other tables too.
    pub(super) fn with_other_tables(self, has_others: bool) -> Self {
        Self {
            is_alone: !has_others,
            ..self
        }
    }

    /// Whether there is no `WHERE`, or one that is always true.
    pub(super) fn is_all(&self, condition: Option<&Expr<'_>>) -> bool {
        condition.is_none_or(|condition| self.is_always(condition, true, CONDITION_DEPTH_MAX))
    }

    /// Whether `expr` is this column of the table.
    pub(super) fn is_column(&self, expr: &Expr<'_>, column: &str) -> bool {
        // SQLite refuses a name that two tables have.
        column_of(bare(expr)).is_some_and(|(table, name)| {
            same_name(&name, column) && table.is_none_or(|table| same_name(&table, &self.name))
        })
    }

    /// Whether `condition` is `truth` for every row, NULLs aside.
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
            Expr::InSelect { lhs, not, rhs } => {
                truth != *not && self.is_in_itself(bare(lhs), rhs, depth)
            }
            _ => false,
        }
    }

    /// `id IN (SELECT id FROM t)`, in a statement on `t` itself.
    fn is_in_itself(&self, column: &Expr<'_>, select: &Select<'_>, depth: u32) -> bool {
        let OneSelect::Select {
            columns: [ResultColumn::Expr(of, _)],
            from: Some(from),
            where_clause,
            having: None,
            ..
        } = &select.body.select
        else {
            return false;
        };
        let is_alone = from.joins.as_ref().is_none_or(|joins| joins.is_empty())
            && select.body.compounds.is_none()
            && select.limit.is_none();
        let Some(SelectTable::Table(table, _, _)) = from.select else {
            return false;
        };
        let is_ours =
            (self.table.as_ref()).is_some_and(|ours| same_name(ours, &unquote_name(table.name.0)));
        let (Some((_, one)), Some((_, other))) = (column_of(column), column_of(bare(of))) else {
            return false;
        };
        let is_all = where_clause.is_none_or(|of| self.is_always(of, true, depth));
        is_alone && is_ours && is_all && same_name(&one, &other)
    }

    /// The same column of the same table: `posts.id = b.id` matches rows instead.
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

/// How deeply nested a condition is examined; a deeper one counts as not always true.
const CONDITION_DEPTH_MAX: u32 = 32;

/// The table's name, if there is one, and the column's.
fn column_of(expr: &Expr<'_>) -> Option<(Option<String>, String)> {
    match expr {
        Expr::Id(id) => Some((None, unquote_name(id.0))),
        Expr::Name(name) => Some((None, unquote_name(name.0))),
        Expr::Qualified(table, name) => Some((Some(unquote_name(table.0)), unquote_name(name.0))),
        _ => None,
    }
}

/// Without surrounding parentheses. Without recursion, as there may be many.
pub(super) fn bare<'e, 'b>(mut expr: &'e Expr<'b>) -> &'e Expr<'b> {
    while let Expr::Parenthesized(all) = expr
        && let [inner] = all.as_slice()
    {
        expr = inner;
    }
    expr
}
