//! What one schema of a connection has, by SQLite's own pragmas: the tables,
//! and what hangs on them. Keys of the maps are names in lower case, as SQLite
//! compares them.

mod read;

use std::collections::BTreeMap;

use self::read::Listed;
use crate::text;
use monolite_migrate::schema::Affinity;
use monolite_migrate::sql::quote_name;

/// A name as SQLite compares it.
pub(super) fn key(name: &str) -> String {
    name.to_ascii_lowercase()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableKind {
    Ordinary,
    Virtual,
    /// What a virtual table keeps its own content in.
    Shadow,
}

#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) declared: String,
    pub(super) not_null: bool,
    pub(super) default: Option<String>,
    /// Computed from others.
    pub(super) generated: bool,
    /// Its place in the primary key, from 1.
    pub(super) primary: u32,
    /// How its text is compared.
    pub(super) collation: String,
}

impl Column {
    /// Whether only the app can compare its text as it is meant.
    pub(super) fn is_apps_own(&self) -> bool {
        is_apps_own(&self.collation)
    }
}

#[derive(Debug, Clone)]
pub(super) struct ForeignKey {
    /// Its number, as SQLite counts the table's.
    pub(super) id: i64,
    pub(super) from: Vec<String>,
    pub(super) table: String,
    /// Empty: the parent's primary key.
    pub(super) to: Vec<String>,
    pub(super) on_update: String,
    pub(super) on_delete: String,
}

#[derive(Debug, Clone)]
pub(super) struct Index {
    pub(super) name: String,
    pub(super) table: String,
    pub(super) unique: bool,
    /// Made by PRIMARY KEY.
    pub(super) is_primary: bool,
    /// What is indexed, one piece a column or expression, as [`text::words`].
    pub(super) pieces: Vec<Vec<String>>,
    /// The condition of a partial one.
    pub(super) condition: Option<Vec<String>>,
    pub(super) sql: Option<String>,
    /// Sorted by a collation that only the app has.
    pub(super) is_apps_own: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) kind: TableKind,
    /// The page its tree begins at; 0 for a virtual one.
    pub(super) root: u32,
    /// The number of its definition in the schema.
    pub(super) number: i64,
    pub(super) without_rowid: bool,
    pub(super) strict: bool,
    pub(super) sql: String,
    pub(super) columns: Vec<Column>,
    pub(super) foreign_keys: Vec<ForeignKey>,
}

impl Table {
    fn new(object: Object, root: u32, listed: Option<&Listed>) -> Self {
        let kind = match listed.map(|listed| listed.kind.as_str()) {
            Some("virtual") => TableKind::Virtual,
            Some("shadow") => TableKind::Shadow,
            // Its module is not known here.
            None if text::has_word(&object.sql, "VIRTUAL") => TableKind::Virtual,
            _ => TableKind::Ordinary,
        };
        Self {
            name: object.name,
            kind,
            root,
            number: 0,
            without_rowid: listed.is_some_and(|listed| listed.without_rowid),
            strict: listed.is_some_and(|listed| listed.strict),
            sql: object.sql,
            columns: Vec::new(),
            foreign_keys: Vec::new(),
        }
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        let mut all = self.columns.iter();
        all.find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// The columns of the primary key, in its order.
    pub(super) fn primary_key(&self) -> Vec<&str> {
        let mut columns: Vec<&Column> = self.columns.iter().filter(|c| c.primary > 0).collect();
        columns.sort_by_key(|column| column.primary);
        columns.iter().map(|column| column.name.as_str()).collect()
    }

    /// A name by which the rowid can be asked for, if it has one.
    pub(super) fn rowid(&self) -> Option<&'static str> {
        if self.without_rowid || self.kind == TableKind::Virtual {
            return None;
        }
        let names = ["rowid", "_rowid_", "oid"];
        names.into_iter().find(|name| self.column(name).is_none())
    }

    /// Whether its definition later on is the same but for columns that were
    /// added.
    pub(super) fn only_gained_columns(&self, later: &Self) -> bool {
        let (was, now) = (self.sql.as_bytes(), later.sql.as_bytes());
        // Columns are added in one place of the text.
        let begin = was.iter().zip(now).take_while(|(a, b)| a == b).count();
        let end = was.iter().rev().zip(now.iter().rev());
        let end = end.take_while(|(a, b)| a == b).count();
        match now.len().checked_sub(was.len()) {
            Some(0) => begin == was.len(),
            Some(longer) if begin + end >= was.len() => {
                let text = now.get(begin..begin + longer).unwrap_or_default();
                let text = text.trim_ascii();
                text.starts_with(b",") || text.ends_with(b",")
            }
            _ => false,
        }
    }

    /// How a column is converted to what it holds.
    pub(super) fn affinity(&self, column: &Column) -> Affinity {
        Affinity::of(&column.declared, self.strict)
    }

    pub(super) fn is_autoincrement(&self) -> bool {
        text::has_word(&self.sql, "AUTOINCREMENT")
    }
}

/// A trigger or a view.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) name: String,
    /// What a trigger is on.
    pub(super) table: String,
    pub(super) sql: String,
}

/// One row of the schema, whatever it is of.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// As SQLite calls it: `table`, `index`, `view`, `trigger`.
    pub(super) kind: String,
    pub(super) name: String,
    /// What it hangs on; a table on itself.
    pub(super) table: String,
    pub(super) number: i64,
    pub(super) root: u32,
    /// A statement made it, and no constraint.
    pub(super) is_made: bool,
}

impl Entry {
    pub(super) fn is_named_as(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name.eq_ignore_ascii_case(&other.name)
    }
}

#[derive(Debug, Default)]
pub(super) struct Facts {
    /// How often the schema was changed, as SQLite counts it.
    pub(super) version: i64,
    /// The whole schema.
    pub(super) entries: Vec<Entry>,
    pub(super) tables: BTreeMap<String, Table>,
    pub(super) indexes: Vec<Index>,
    pub(super) triggers: BTreeMap<String, Object>,
    pub(super) views: BTreeMap<String, Object>,
    /// Counters of AUTOINCREMENT, by table.
    pub(super) counters: BTreeMap<String, i64>,
}

impl Facts {
    pub(super) fn indexes_of<'f>(&'f self, table: &'f str) -> impl Iterator<Item = &'f Index> {
        let all = self.indexes.iter();
        all.filter(move |index| index.table.eq_ignore_ascii_case(table))
    }

    pub(super) fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(&key(name))
    }
}

fn is_apps_own(collation: &str) -> bool {
    let known = ["BINARY", "NOCASE", "RTRIM"];
    !known
        .iter()
        .any(|known| collation.eq_ignore_ascii_case(known))
}

/// `schema."name"`, for SQL.
pub(super) fn in_schema(schema: &str, name: &str) -> String {
    format!("{schema}.{}", quote_name(name))
}
