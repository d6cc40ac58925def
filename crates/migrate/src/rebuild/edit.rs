use super::names::Names;
use super::{Error, Rebuild, Result};
use crate::sql::{self, ConstraintKind as Kind, TableText, same_name, unquote_name};

/// One change of the present text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    Column(String, ColumnEdit),
    AddColumn(String),
    Strict(bool),
    ForeignKey(String),
    DropForeignKey(Vec<String>),
    Order(Vec<String>),
}

/// What becomes of one column's definition; what is not named stays as it is
/// written, comments too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnEdit {
    type_: Option<String>,
    constraints: Vec<(Kind, Option<String>)>,
}

impl ColumnEdit {
    /// Another type; empty for none.
    #[must_use]
    pub fn type_(mut self, type_: &str) -> Self {
        self.type_ = Some(type_.to_owned());
        self
    }

    /// `NOT NULL`, or not.
    #[must_use]
    pub fn not_null(self, not_null: bool) -> Self {
        self.constraint(Kind::NotNull, not_null.then(|| "NOT NULL".to_owned()))
    }

    /// The default, as SQL: `''`, `0`, `(datetime('now'))`.
    #[must_use]
    pub fn default(self, expression: &str) -> Self {
        self.constraint(Kind::Default, Some(format!("DEFAULT {expression}")))
    }

    /// How its text is compared: `NOCASE`, `BINARY`, `RTRIM` or the app's own.
    #[must_use]
    pub fn collate(self, collation: &str) -> Self {
        self.constraint(Kind::Collate, Some(format!("COLLATE {collation}")))
    }

    /// Its only `CHECK`, without the parentheses around it.
    #[must_use]
    pub fn check(self, expression: &str) -> Self {
        self.constraint(Kind::Check, Some(format!("CHECK ({expression})")))
    }

    /// No `CHECK` of its own.
    #[must_use]
    pub fn no_check(self) -> Self {
        self.constraint(Kind::Check, None)
    }

    fn constraint(mut self, kind: Kind, text: Option<String>) -> Self {
        self.constraints.push((kind, text));
        self
    }
}

impl Rebuild {
    /// Changes the definition of one column.
    #[must_use]
    pub fn column(mut self, name: &str, edit: impl FnOnce(ColumnEdit) -> ColumnEdit) -> Self {
        let edit = edit(ColumnEdit {
            type_: None,
            constraints: Vec::new(),
        });
        self.edits.push(Edit::Column(name.to_owned(), edit));
        self
    }

    /// One more column, behind the others.
    #[must_use]
    pub fn add_column(mut self, definition: &str) -> Self {
        self.edits.push(Edit::AddColumn(definition.to_owned()));
        self
    }

    /// Makes the table `STRICT`, or not.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.edits.push(Edit::Strict(strict));
        self
    }

    /// Adds a foreign key: `FOREIGN KEY (user_id) REFERENCES users ON DELETE
    /// CASCADE`.
    #[must_use]
    pub fn foreign_key(mut self, constraint: &str) -> Self {
        self.edits.push(Edit::ForeignKey(constraint.to_owned()));
        self
    }

    /// Takes the foreign key of these columns away.
    #[must_use]
    pub fn drop_foreign_key(mut self, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        self.edits.push(Edit::DropForeignKey(columns));
        self
    }

    /// These columns first, in this order, then the others.
    #[must_use]
    pub fn order(mut self, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&name| name.to_owned()).collect();
        self.edits.push(Edit::Order(columns));
        self
    }

    /// The wanted `CREATE TABLE`, made of the present one.
    pub(super) fn wanted(&self, present: &str, names: &Names) -> Result<TableText> {
        let text = self.definition.as_deref().unwrap_or(present);
        let unread = |source| Error::Text {
            table: self.table.clone(),
            source,
        };
        let mut text = TableText::parse(text).map_err(unread)?;
        if self.definition.is_none() {
            // Under the name it had: another column may have that now.
            let dropped = |now: &str| {
                let was = names.by_now(now).map_or(now, |name| &name.was);
                self.drops.iter().any(|drop| same_name(drop, was))
            };
            let is_dropped = |item: &sql::Item| item.column.as_deref().is_some_and(dropped);
            while let Some(at) = text.items.iter().position(is_dropped) {
                text.remove(at);
            }
        }
        for edit in &self.edits {
            if !edit.apply(&mut text).map_err(unread)? {
                return Err(Error::clause(&self.table, edit.misses()));
            }
        }
        Ok(text)
    }
}

impl Edit {
    /// Says whether there was something to change.
    fn apply(&self, text: &mut TableText) -> sql::Result<bool> {
        match self {
            Self::Column(name, edit) => {
                let Some(mut column) = text.column(name) else {
                    return Ok(false);
                };
                if let Some(type_) = &edit.type_ {
                    column.set_type(type_)?;
                }
                for (kind, constraint) in &edit.constraints {
                    // It says that already, perhaps with a name or a conflict clause.
                    let says = *kind == Kind::NotNull && constraint.is_some();
                    if says && column.has(Kind::NotNull) {
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

    fn misses(&self) -> String {
        match self {
            Self::Column(name, _) => format!("it has no column {name}"),
            Self::DropForeignKey(columns) => {
                format!("it has no foreign key of ({})", columns.join(", "))
            }
            Self::Order(columns) => format!("it has not the columns {}", columns.join(", ")),
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

/// Is `FOREIGN KEY (…) …` of these columns?
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
    let place = |item: &sql::Item| {
        let name = item.column.as_deref()?;
        columns.iter().position(|column| same_name(column, name))
    };
    if text.items.iter().filter_map(place).count() != columns.len() {
        return false;
    }
    // Comments go with their columns; how the last one ends stays where it is.
    let ends: Vec<String> = text.items.iter().map(|item| item.after.clone()).collect();
    let mut items: Vec<_> = text.items.iter().cloned().enumerate().collect();
    items.sort_by_key(|(at, item)| match (place(item), &item.column) {
        (Some(place), _) => (0, place),
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
                // It was last: what stands beside it goes behind its comma.
                let beside = sql::on_same_line(&item.after);
                item.trailing = item.after.get(..beside).unwrap_or_default().to_owned();
                item.after = String::new();
            } else if at == last && was + 1 != count {
                let end = ends.last().map_or("", String::as_str);
                let beside = sql::on_same_line(end);
                item.after.push_str(&std::mem::take(&mut item.trailing));
                item.after.push_str(end.get(beside..).unwrap_or_default());
            }
            item
        })
        .collect();
    text.end_line_comments();
    true
}
