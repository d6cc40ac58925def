//! Definitions in a form in which spelling does not matter.

use std::collections::{HashMap, HashSet};

use crate::schema::Schema;
use crate::sql::{
    self, ColumnText, ConstraintKind as Kind, Cursor, TableText, Token, TokenType as T, same_name,
    tokens, unquote_name,
};

/// The words of a text as SQLite understands it: without comments, spaces, quotes of names,
/// and the case of anything but text.
///
/// To SQLite, a word in double quotes is a name if something has that name, and text
/// otherwise; `is_name` decides. (That is the difference to [`sql::words`].)
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

/// Whether SQLite takes this word as text.
fn is_text(own: &str, before: Option<T>, is_name: impl Fn(&str) -> bool) -> bool {
    let is_boolean = ["true", "false"].iter().any(|word| same_name(own, word));
    match before {
        // Every word is text in a default.
        Some(T::TK_DEFAULT) => !is_boolean,
        Some(T::TK_COLLATE | T::TK_CONSTRAINT | T::TK_REFERENCES | T::TK_DOT) => false,
        _ => own.starts_with('"') && !is_name(&unquote_name(own)),
    }
}

/// One column, independent of the order of its constraints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NormalColumn {
    pub(super) name: String,
    type_: Vec<String>,
    constraints: Vec<Vec<String>>,
}

/// A table, independent of the order of its constraints.
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

    /// Whether they are the same apart from the order of columns.
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
            // It has no effect.
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

/// Only expressions have texts.
fn constraint_words(text: &str, kind: Kind, is_name: impl Fn(&str) -> bool) -> Vec<String> {
    let has_text = matches!(kind, Kind::Check | Kind::Default | Kind::Generated);
    words(text, |name| !has_text || is_name(name))
}

/// The names in two schemas that are compared. A name of one counts as a name in both, so
/// that equal texts stay equal.
#[derive(Default)]
pub(super) struct Known {
    views: HashSet<String>,
    /// Tables with their columns.
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

/// The words of a `CREATE` statement from its name on: `IF NOT EXISTS` and a schema before
/// the name do not matter.
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
    // The tables it names, with their columns.
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

/// A view, trigger or index.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) sql: String,
    /// Its definition, independent of spelling.
    words: Vec<String>,
    /// The table it is on.
    pub(super) on: Option<String>,
}

/// Two objects with the same identity are the same.
pub(super) type Identity = (&'static str, String, Vec<String>);

pub(super) fn objects(schema: &Schema, known: &Known) -> Vec<Object> {
    let triggers = schema.triggers.iter().map(|one| Object {
        kind: "TRIGGER",
        name: one.name.clone(),
        sql: one.sql.clone(),
        words: statement(&one.sql, known),
        on: Some(one.table.clone()),
    });
    let views = schema.views.iter().map(|one| Object {
        kind: "VIEW",
        name: one.name.clone(),
        sql: one.sql.clone(),
        words: statement(&one.sql, known),
        on: None,
    });
    let indexes = schema.indexes.iter().filter_map(|one| {
        Some(Object {
            kind: "INDEX",
            name: one.name.clone(),
            sql: one.sql.clone()?,
            words: statement(one.sql.as_deref()?, known),
            on: Some(one.table.clone()),
        })
    });
    triggers.chain(views).chain(indexes).collect()
}

impl Object {
    pub(super) fn identity(&self) -> Identity {
        let name = self.name.to_ascii_lowercase();
        (self.kind, name, self.words.clone())
    }
}

pub(super) fn identities(schema: &Schema, known: &Known) -> HashSet<Identity> {
    let all = objects(schema, known);
    all.iter().map(Object::identity).collect()
}

/// Views and triggers that are the same in both schemas, under the names that [`Compiled`]
/// gives them.
///
/// [`Compiled`]: crate::rebuild::Compiled
pub(super) fn unchanged(one: &Schema, other: &Schema) -> HashSet<String> {
    let known = Known::of([one, other]);
    let there = identities(one, &known);
    objects(other, &known)
        .iter()
        .filter(|object| there.contains(&object.identity()))
        .map(|object| format!("the {} {}", object.kind.to_ascii_lowercase(), object.name))
        .collect()
}
