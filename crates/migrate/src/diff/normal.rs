use std::collections::{HashMap, HashSet};

use crate::schema::Schema;
use crate::sql::{
    self, ColumnText, ConstraintKind as Kind, Cursor, TableText, Token, TokenType as T, same_name,
    tokens, unquote_name,
};

/// A text as SQLite understands it: without comments, spaces, quotes of names
/// and the case of anything but text.
///
/// What stands in double quotes is a name to SQLite if something has that name,
/// and text otherwise; `is_name` says which.
fn words(text: &str, is_name: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(tokens) = tokens(text) else {
        return vec![text.to_owned()];
    };
    let mut before = None;
    let word = |token: &Token| {
        let before = before.replace(token.kind);
        let own = token.text(text);
        match token.kind {
            T::TK_STRING | T::TK_BLOB => own.to_owned(),
            T::TK_ID if is_text(own, before, &is_name) => own.to_owned(),
            T::TK_ID => unquote_name(own).to_ascii_lowercase(),
            _ => own.to_ascii_lowercase(),
        }
    };
    tokens
        .iter()
        .filter(|token| token.kind != T::TK_SEMI || token.end < text.trim_end().len())
        .map(word)
        .collect()
}

/// May SQLite take this word for text?
fn is_text(own: &str, before: Option<T>, is_name: impl Fn(&str) -> bool) -> bool {
    let is_boolean = ["true", "false"].iter().any(|word| same_name(own, word));
    match before {
        // There every word is.
        Some(T::TK_DEFAULT) => !is_boolean,
        Some(T::TK_COLLATE | T::TK_CONSTRAINT | T::TK_REFERENCES | T::TK_DOT) => false,
        _ => own.starts_with('"') && !is_name(&unquote_name(own)),
    }
}

/// One column, whatever the order of its constraints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NormalColumn {
    pub(super) name: String,
    type_: Vec<String>,
    constraints: Vec<Vec<String>>,
}

/// A table, whatever the order of its constraints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NormalTable {
    pub(super) columns: Vec<NormalColumn>,
    pub(super) constraints: Vec<Vec<String>>,
    pub(super) options: (bool, bool),
}

impl NormalTable {
    pub(super) fn of(text: &str) -> sql::Result<Self> {
        let text = TableText::parse(text)?;
        let is_name = |name: &str| {
            same_name(name, text.name()) || text.columns().any(|column| same_name(column, name))
        };
        let mut columns = Vec::new();
        for item in text.items.iter().filter(|item| item.column.is_some()) {
            columns.push(NormalColumn::of(&ColumnText::parse(&item.body)?, is_name));
        }
        let mut constraints: Vec<_> = text
            .constraints()?
            .iter()
            .map(|(text, constraint)| constraint_words(text, constraint.kind, is_name))
            .collect();
        constraints.sort();
        Ok(Self {
            columns,
            constraints,
            options: (text.is_strict(), text.is_without_rowid()),
        })
    }

    pub(super) fn column(&self, name: &str) -> Option<&NormalColumn> {
        let name = name.to_ascii_lowercase();
        self.columns.iter().find(|column| column.name == name)
    }

    /// The same but for the order of the columns?
    pub(super) fn same_set(&self, other: &Self) -> bool {
        self.constraints == other.constraints
            && self.options == other.options
            && self.columns.len() == other.columns.len()
            && self
                .columns
                .iter()
                .all(|column| other.columns.contains(column))
    }
}

impl NormalColumn {
    fn of(column: &ColumnText, is_name: impl Fn(&str) -> bool) -> Self {
        let mut constraints: Vec<_> = column
            .constraints()
            .iter()
            .map(|one| constraint_words(column.text_of(one), one.kind, &is_name))
            // It says nothing.
            .filter(|words| *words != ["null"])
            .collect();
        constraints.sort();
        Self {
            name: column.name().to_ascii_lowercase(),
            type_: words(column.type_(), |_| true),
            constraints,
        }
    }
}

/// Only expressions hold text.
fn constraint_words(text: &str, kind: Kind, is_name: impl Fn(&str) -> bool) -> Vec<String> {
    let has_text = matches!(kind, Kind::Check | Kind::Default | Kind::Generated);
    words(text, |name| !has_text || is_name(name))
}

/// The names of two schemas whose texts are compared: what is a name in one is so
/// in both, or the same text would not be the same.
#[derive(Default)]
pub(super) struct Known {
    views: HashSet<String>,
    /// With their columns.
    tables: HashMap<String, HashSet<String>>,
}

impl Known {
    pub(super) fn of(schemas: [&Schema; 2]) -> Self {
        let mut known = Self::default();
        for schema in schemas {
            known
                .views
                .extend(schema.views.iter().map(|one| lower(&one.name)));
            for table in &schema.tables {
                let columns = table.columns.iter().map(|column| lower(&column.name));
                let known = known.tables.entry(lower(&table.name)).or_default();
                known.extend(columns);
            }
        }
        known
    }
}

fn lower(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// The words of a statement from its name on: `CREATE … name …` says the same
/// with `IF NOT EXISTS` and a schema.
pub(super) fn statement(text: &str, known: &Known) -> Vec<String> {
    let Ok(all) = tokens(text) else {
        return vec![text.to_owned()];
    };
    let mut cursor = Cursor::new(text, &all);
    let unique = all.iter().take(2).any(|token| token.kind == T::TK_UNIQUE);
    while let Some(token) = cursor.next() {
        if matches!(
            token.kind,
            T::TK_INDEX | T::TK_TRIGGER | T::TK_VIEW | T::TK_TABLE
        ) {
            break;
        }
    }
    if cursor.take(T::TK_IF).is_some() {
        cursor.at += 2;
    }
    if cursor.kind_by(1) == Some(T::TK_DOT) {
        cursor.at += 2;
    }
    let from = cursor.peek().map_or(0, |token| token.start);
    let name = cursor.peek().map(|token| unquote_name(token.text(text)));
    // The tables it speaks of, and their columns.
    let tables: Vec<_> = all
        .iter()
        .filter_map(|token| known.tables.get(&lower(&unquote_name(token.text(text)))))
        .collect();
    let is_name = |word: &str| {
        let word = lower(word);
        name.as_deref().is_some_and(|name| same_name(name, &word))
            || known.views.contains(&word)
            || known.tables.contains_key(&word)
            || tables.iter().any(|columns| columns.contains(&word))
    };
    let mut words = words(text.get(from..).unwrap_or_default(), is_name);
    words.insert(0, unique.to_string());
    words
}
