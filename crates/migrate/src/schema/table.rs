use crate::sql::same_name;

/// The names by which SQL reaches the rowid, where no column has them.
pub(crate) const ROWID_NAMES: [&str; 3] = ["rowid", "_rowid_", "oid"];

/// What a table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableKind {
    /// Rows in a tree of its own.
    Ordinary,
    /// Rows that a module makes.
    Virtual,
    /// Where a virtual table keeps what it knows.
    Shadow,
}

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its text.
    pub sql: String,
    /// What it is.
    pub kind: TableKind,
    /// Its columns, in order; hidden and generated ones too.
    pub columns: Vec<Column>,
    /// Its foreign keys.
    pub foreign_keys: Vec<ForeignKey>,
    /// Does it hold values to the types of its columns?
    pub strict: bool,
    /// Is the primary key the key of its tree?
    pub without_rowid: bool,
    /// Is a rowid never given twice?
    pub autoincrement: bool,
}

impl Table {
    /// The column of this name, in any case.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|one| same_name(&one.name, name))
    }

    /// The column that is another name of the rowid.
    #[must_use]
    pub fn rowid_column(&self) -> Option<&Column> {
        self.columns.iter().find(|one| one.is_rowid)
    }

    /// A name by which SQL reaches the rowid; none without one, and when
    /// columns have all three of its names. A column that is the rowid reaches it
    /// under any name.
    #[must_use]
    pub fn rowid_name(&self) -> Option<&'static str> {
        if self.without_rowid || self.kind != TableKind::Ordinary {
            return None;
        }
        ROWID_NAMES
            .into_iter()
            .find(|name| self.column(name).is_none())
    }
}

/// Who gives a column its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generated {
    /// Whoever writes the row.
    No,
    /// An expression, when it is read.
    Virtual,
    /// An expression, when the row is written.
    Stored,
    /// The module; `SELECT *` leaves it out.
    Hidden,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its declared type; empty without one.
    pub type_: String,
    /// Does it refuse NULL?
    pub not_null: bool,
    /// Its default, as an expression.
    pub default: Option<String>,
    /// Its place in the primary key, from 1; 0 if it is not in it.
    pub key: u32,
    /// Who gives it its values.
    pub generated: Generated,
    /// How text is compared.
    pub collation: String,
    /// Is it another name of the rowid?
    pub is_rowid: bool,
}

/// One foreign key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The table it names.
    pub parent: String,
    /// Its columns, and what they name; `None` is the primary key.
    pub columns: Vec<(String, Option<String>)>,
    /// `CASCADE`, `SET NULL`, `SET DEFAULT`, `RESTRICT` or `NO ACTION`.
    pub on_update: String,
    /// The same, for a deletion.
    pub on_delete: String,
}
