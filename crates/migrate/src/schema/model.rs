//! What a schema consists of.

use super::is_builtin_collation;
use crate::sql::same_name;

/// The names by which SQL reaches the rowid, where no column has them.
pub(crate) const ROWID_NAMES: [&str; 3] = ["rowid", "_rowid_", "oid"];

/// One schema of a connection (`main` or an attached database) at one moment.
///
/// Names of tables and columns are compared as SQLite compares them: the case of
/// ASCII letters does not matter.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Schema {
    /// `PRAGMA schema_version`: SQLite adds 1 at each change of the schema.
    pub version: i64,
    /// All rows of `sqlite_schema`, SQLite's own too, in order of their rowids.
    pub entries: Vec<Entry>,
    /// Tables of every kind, without SQLite's own (`sqlite_…`), in order of
    /// creation.
    pub tables: Vec<Table>,
    /// Indexes, those that constraints made too, in order of creation; last the
    /// primary keys of `WITHOUT ROWID` tables, which have no entry of their own.
    pub indexes: Vec<Index>,
    /// Triggers, in order of creation.
    pub triggers: Vec<Trigger>,
    /// Views, in order of creation.
    pub views: Vec<View>,
}

impl Schema {
    /// The table of this name.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|one| same_name(&one.name, name))
    }

    /// The view of this name.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<&View> {
        self.views.iter().find(|one| same_name(&one.name, name))
    }

    /// The trigger of this name.
    #[must_use]
    pub fn trigger(&self, name: &str) -> Option<&Trigger> {
        self.triggers.iter().find(|one| same_name(&one.name, name))
    }

    /// The index of this name.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<&Index> {
        self.indexes.iter().find(|one| same_name(&one.name, name))
    }

    /// The indexes of a table.
    pub fn indexes_of<'s>(&'s self, table: &'s str) -> impl Iterator<Item = &'s Index> {
        self.indexes
            .iter()
            .filter(move |one| same_name(&one.table, table))
    }

    /// The triggers on a table or view.
    pub fn triggers_of<'s>(&'s self, table: &'s str) -> impl Iterator<Item = &'s Trigger> {
        self.triggers
            .iter()
            .filter(move |one| same_name(&one.table, table))
    }

    /// The tables with a foreign key to this one; itself, if it has one.
    pub fn children_of<'s>(&'s self, parent: &'s str) -> impl Iterator<Item = &'s Table> {
        self.tables.iter().filter(move |one| {
            one.foreign_keys
                .iter()
                .any(|key| same_name(&key.parent, parent))
        })
    }
}

/// What a row of `sqlite_schema` describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A table, virtual ones too.
    Table,
    /// An index.
    Index,
    /// A view.
    View,
    /// A trigger.
    Trigger,
}

/// One row of `sqlite_schema`, whatever it describes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// What it describes.
    pub kind: EntryKind,
    /// The object's name.
    pub name: String,
    /// The table or view it belongs to; a table's and a view's own name.
    pub table: String,
    /// Its rowid in `sqlite_schema`. A new object gets the largest one plus 1.
    pub rowid: i64,
    /// The root page of its b-tree; 0 without one.
    pub root_page: u32,
    /// Whether a `CREATE` statement made it; a constraint's index has no text.
    pub has_sql: bool,
}

impl Entry {
    /// Whether both describe an object of the same kind and name.
    #[must_use]
    pub fn is_named_as(&self, other: &Self) -> bool {
        self.kind == other.kind && same_name(&self.name, &other.name)
    }
}

/// How a table stores its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableKind {
    /// In a b-tree of its own.
    Ordinary,
    /// `CREATE VIRTUAL TABLE`: a module makes its rows.
    Virtual,
    /// In a b-tree; a virtual table keeps its content there. Known as such only
    /// where the connection has the module.
    Shadow,
}

/// One table.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its `CREATE TABLE`, as `sqlite_schema` has it.
    pub sql: String,
    /// How it stores its rows.
    pub kind: TableKind,
    /// Its columns in order, generated and hidden ones too; none for a virtual
    /// table whose module the connection does not have.
    pub columns: Vec<Column>,
    /// Its foreign keys, in the order they are written in.
    pub foreign_keys: Vec<ForeignKey>,
    /// `STRICT`: a value must have the type of its column.
    pub strict: bool,
    /// `WITHOUT ROWID`: rows are stored in the order of the primary key.
    pub without_rowid: bool,
    /// `AUTOINCREMENT`: no rowid is given twice.
    pub autoincrement: bool,
    /// The largest rowid `AUTOINCREMENT` has given, from `sqlite_sequence`.
    pub sequence: Option<i64>,
    /// The root page of its b-tree; 0 for a virtual table.
    pub root_page: u32,
    /// The rowid of its entry in `sqlite_schema`.
    pub schema_rowid: i64,
}

impl Table {
    /// The column of this name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|one| same_name(&one.name, name))
    }

    /// The columns that `SELECT *` shows.
    pub fn visible_columns(&self) -> impl Iterator<Item = &Column> {
        let all = self.columns.iter();
        all.filter(|column| column.generated != Generated::Hidden)
    }

    /// The columns of the primary key, in its order; empty without one.
    #[must_use]
    pub fn primary_key(&self) -> Vec<&Column> {
        let mut key: Vec<_> = self.columns.iter().filter(|one| one.key > 0).collect();
        key.sort_by_key(|column| column.key);
        key
    }

    /// The column that is another name of the rowid (`INTEGER PRIMARY KEY`).
    #[must_use]
    pub fn rowid_column(&self) -> Option<&Column> {
        self.columns.iter().find(|one| one.is_rowid)
    }

    /// A name by which SQL reaches the rowid: `rowid`, `_rowid_` or `oid`. `None`
    /// if the table has no rowid, or columns have all three names. Also the
    /// column that is the rowid can be reached by it.
    #[must_use]
    pub fn rowid_name(&self) -> Option<&'static str> {
        if self.without_rowid || self.kind == TableKind::Virtual {
            return None;
        }
        ROWID_NAMES
            .into_iter()
            .find(|name| self.column(name).is_none())
    }
}

/// Where a column's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Generated {
    /// From the statement that writes the row.
    No,
    /// From an expression, computed at each read.
    Virtual,
    /// From an expression, computed at each write.
    Stored,
    /// A hidden column of a virtual table: `SELECT *` leaves it out.
    Hidden,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its declared type as written, such as `VARCHAR(50)`; empty without one.
    /// SQLite only uses the [`affinity`](Self::affinity) that follows from it.
    pub declared_type: String,
    /// How SQLite converts values stored in it.
    pub affinity: Affinity,
    /// `NOT NULL`.
    pub not_null: bool,
    /// Its `DEFAULT`, as SQL text.
    pub default: Option<String>,
    /// Its position in the primary key, from 1; 0 if it is not part of it.
    pub key: u32,
    /// Where its value comes from.
    pub generated: Generated,
    /// The collation that compares its text, as written; `BINARY` by default.
    pub collation: String,
    /// Whether it is another name of the rowid (`INTEGER PRIMARY KEY`).
    pub is_rowid: bool,
}

impl Column {
    /// `GENERATED ALWAYS AS`, virtual or stored.
    #[must_use]
    pub fn is_generated(&self) -> bool {
        matches!(self.generated, Generated::Virtual | Generated::Stored)
    }

    /// Whether its collation is not one of SQLite's own: only the app that
    /// defines it compares its text as it is meant.
    #[must_use]
    pub fn has_app_collation(&self) -> bool {
        !is_builtin_collation(&self.collation)
    }
}

/// The type that SQLite converts a column's values to, where it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Affinity {
    /// Whole numbers.
    Integer,
    /// Text.
    Text,
    /// No conversion.
    Blob,
    /// Floating point.
    Real,
    /// Whole numbers, else floating point.
    Numeric,
}

impl Affinity {
    /// Of a declared type, by SQLite's rules; `strict` is the table's.
    #[must_use]
    pub fn of(declared_type: &str, strict: bool) -> Self {
        let declared = declared_type.to_ascii_uppercase();
        let has = |part: &str| declared.contains(part);
        if strict && declared == "ANY" || declared.is_empty() {
            Self::Blob
        } else if has("INT") {
            Self::Integer
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Self::Text
        } else if has("BLOB") {
            Self::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Self::Real
        } else {
            Self::Numeric
        }
    }
}

/// One foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignKey {
    /// Its number within the table, as in `PRAGMA foreign_key_list` and
    /// `PRAGMA foreign_key_check`.
    pub id: i64,
    /// The table it refers to.
    pub parent: String,
    /// Its columns, each with the parent's column; `None` stands for the parent's
    /// primary key.
    pub columns: Vec<(String, Option<String>)>,
    /// `CASCADE`, `SET NULL`, `SET DEFAULT`, `RESTRICT` or `NO ACTION`.
    pub on_update: String,
    /// The same, for a deletion.
    pub on_delete: String,
}

impl ForeignKey {
    /// Its columns in the child.
    pub fn from(&self) -> impl ExactSizeIterator<Item = &str> {
        self.columns.iter().map(|(from, _)| from.as_str())
    }

    /// Its columns in the parent; empty if it refers to the primary key without
    /// naming it.
    #[must_use]
    pub fn to(&self) -> Vec<&str> {
        let named = self.columns.iter().filter_map(|(_, to)| to.as_deref());
        named.collect()
    }
}

/// What made an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexOrigin {
    /// `CREATE INDEX`.
    Statement,
    /// A `UNIQUE` of the table.
    Unique,
    /// The `PRIMARY KEY` of the table.
    PrimaryKey,
}

/// One index.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Index {
    /// Its name.
    pub name: String,
    /// The table it is on.
    pub table: String,
    /// Its `CREATE INDEX`; `None` if a constraint made it.
    pub sql: Option<String>,
    /// Whether no two rows may have the same key.
    pub unique: bool,
    /// What made it.
    pub origin: IndexOrigin,
    /// What its entries are sorted by.
    pub columns: Vec<IndexColumn>,
    /// The same as [`words`](crate::sql::words), one list for each column or
    /// expression with its `COLLATE` and `DESC`; for comparing two indexes.
    pub terms: Vec<Vec<String>>,
    /// The `WHERE` of a partial index, as [`words`](crate::sql::words).
    pub condition: Option<Vec<String>>,
    /// Whether it is sorted by a collation that is not one of SQLite's own, also
    /// in the columns that SQLite adds at the end of each entry.
    pub has_app_collation: bool,
}

impl Index {
    /// Whether it holds only the rows that meet a `WHERE`.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.condition.is_some()
    }
}

/// One column of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexColumn {
    /// The table's column; `None` for an expression and for the rowid.
    pub name: Option<String>,
    /// `DESC`.
    pub descending: bool,
    /// The collation that compares its text.
    pub collation: String,
}

/// One trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// The table or view it is on.
    pub table: String,
    /// Its `CREATE TRIGGER`.
    pub sql: String,
}

/// One view.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct View {
    /// Its name.
    pub name: String,
    /// Its `CREATE VIEW`.
    pub sql: String,
}
