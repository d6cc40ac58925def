//! Edits of a table's definition.

use crate::sql::{self, ConstraintKind as Kind, TableText, same_name, unquote_name};

/// One edit of a table's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    Column(String, ColumnEdit),
    AddColumn(String),
    Strict(bool),
    ForeignKey(String),
    DropForeignKey(Vec<String>),
    Order(Vec<String>),
}

/// Edits of one column's definition; everything else stays as it is written, comments
/// too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnEdit {
    type_: Option<String>,
    constraints: Vec<(Kind, Option<String>)>,
}

impl ColumnEdit {
    /// No edit yet.
    pub(super) fn none() -> Self {
        Self {
            type_: None,
            constraints: Vec::new(),
        }
    }

    /// Sets the declared type; empty for none.
    #[must_use]
    pub fn type_(mut self, type_: &str) -> Self {
        self.type_ = Some(type_.to_owned());
        self
    }

    /// Adds or removes `NOT NULL`.
    #[must_use]
    pub fn not_null(self, not_null: bool) -> Self {
        self.constraint(Kind::NotNull, not_null.then(|| "NOT NULL".to_owned()))
    }

    /// Sets the default, as SQL: `''`, `0`, `(datetime('now'))`.
    #[must_use]
    pub fn default(self, expression: &str) -> Self {
        self.constraint(Kind::Default, Some(format!("DEFAULT {expression}")))
    }

    /// Sets the collation: `NOCASE`, `BINARY`, `RTRIM` or one of the app's.
    #[must_use]
    pub fn collate(self, collation: &str) -> Self {
        self.constraint(Kind::Collate, Some(format!("COLLATE {collation}")))
    }

    /// Sets its only `CHECK`; the expression without parentheses around it.
    #[must_use]
    pub fn check(self, expression: &str) -> Self {
        self.constraint(Kind::Check, Some(format!("CHECK ({expression})")))
    }

    /// Removes its `CHECK`.
    #[must_use]
    pub fn no_check(self) -> Self {
        self.constraint(Kind::Check, None)
    }

    fn constraint(mut self, kind: Kind, text: Option<String>) -> Self {
        self.constraints.push((kind, text));
        self
    }
}

impl Edit {
    /// `false` if the definition does not have what is to be changed.
    pub(super) fn apply(&self, text: &mut TableText) -> sql::Result<bool> {
        match self {
            Self::Column(name, edit) => {
                let Some(mut column) = text.column(name) else {
                    return Ok(false);
                };
                if let Some(type_) = &edit.type_ {
                    column.set_type(type_)?;
                }
                for (kind, constraint) in &edit.constraints {
                    // It may be there with a name or a conflict clause.
                    let adds_not_null = *kind == Kind::NotNull && constraint.is_some();
                    if adds_not_null && column.has(Kind::NotNull) {
                        continue;
                    }
                    column.set(*kind, constraint.as_deref())?;
                }
                Ok(text.set_column(name, &column))
            }
            Self::AddColumn(definition) => text.add_column(definition).map(|()| true),
            Self::Strict(strict) => text.set_strict(*strict).map(|()| true),
            Self::ForeignKey(constraint) => {
                text.add_constraint(constraint);
                Ok(true)
            }
            Self::DropForeignKey(columns) => drop_foreign_key(text, columns),
            Self::Order(columns) => Ok(order(text, columns)),
        }
    }

    /// What the definition does not have, for an error.
    pub(super) fn misses(&self) -> String {
        match self {
            Self::Column(name, _) => format!("it has no column {name}"),
            Self::DropForeignKey(columns) => {
                format!("it has no foreign key of ({})", columns.join(", "))
            }
            Self::Order(columns) => format!("it does not have the columns {}", columns.join(", ")),
            Self::AddColumn(text) | Self::ForeignKey(text) => text.clone(),
            Self::Strict(_) => String::new(),
        }
    }
}

fn drop_foreign_key(text: &mut TableText, columns: &[String]) -> sql::Result<bool> {
    if let [name] = columns
        && let Some(mut column) = text.column(name)
        && column.has(Kind::References)
    {
        column.set(Kind::References, None)?;
        return Ok(text.set_column(name, &column));
    }
    for at in 0..text.items.len() {
        let Some(item) = text.items.get(at).filter(|item| item.column.is_none()) else {
            continue;
        };
        let constraints = sql::constraints_of(&item.body)?;
        for constraint in &constraints {
            let body = item.body.get(constraint.body.clone()).unwrap_or_default();
            if constraint.kind != Kind::References || !same_columns(body, columns)? {
                continue;
            }
            if constraints.len() == 1 {
                text.remove(at);
            } else if let Some(item) = text.items.get_mut(at) {
                item.body.replace_range(constraint.span.clone(), "");
                item.body = item.body.trim().to_owned();
            }
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether `FOREIGN KEY (…) …` is of these columns.
fn same_columns(body: &str, columns: &[String]) -> sql::Result<bool> {
    let all = sql::tokens(body)?;
    let inside = all
        .iter()
        .skip_while(|token| token.kind != sql::TokenType::TK_LP)
        .skip(1)
        .take_while(|token| token.kind != sql::TokenType::TK_RP)
        .filter(|token| token.kind != sql::TokenType::TK_COMMA);
    let names: Vec<String> = inside.map(|token| unquote_name(token.text(body))).collect();
    Ok(names.len() == columns.len()
        && names
            .iter()
            .zip(columns)
            .all(|(one, other)| same_name(one, other)))
}

fn order(text: &mut TableText, columns: &[String]) -> bool {
    let position = |item: &sql::Item| {
        let name = item.column.as_deref()?;
        columns.iter().position(|column| same_name(column, name))
    };
    if text.items.iter().filter_map(position).count() != columns.len() {
        return false;
    }
    // Comments move with their columns; the end of the last one stays in place.
    let ends: Vec<String> = text.items.iter().map(|item| item.after.clone()).collect();
    let mut items: Vec<_> = text.items.iter().cloned().enumerate().collect();
    items.sort_by_key(|(at, item)| match (position(item), &item.column) {
        (Some(position), _) => (0, position),
        (None, Some(_)) => (1, *at),
        (None, None) => (2, *at),
    });
    let last = items.len() - 1;
    let count = ends.len();
    text.items = items
        .into_iter()
        .enumerate()
        .map(|(at, (was, mut item))| {
            if was + 1 == count && at != last {
                // It was last: a comment on its line moves after its new comma.
                let cut = sql::on_same_line(&item.after);
                item.trailing = item.after.get(..cut).unwrap_or_default().to_owned();
                item.after = String::new();
            } else if at == last && was + 1 != count {
                let end = ends.last().map_or("", String::as_str);
                let cut = sql::on_same_line(end);
                item.after.push_str(&std::mem::take(&mut item.trailing));
                item.after.push_str(end.get(cut..).unwrap_or_default());
            }
            item
        })
        .collect();
    text.end_line_comments();
    true
}
