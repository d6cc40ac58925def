/// What made an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `CREATE INDEX`.
    Statement,
    /// A `UNIQUE` of the table.
    Unique,
    /// The `PRIMARY KEY` of the table.
    PrimaryKey,
}

/// One index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// The table it is on.
    pub table: String,
    /// Its text; none if a constraint made it.
    pub sql: Option<String>,
    /// Does it forbid two of the same?
    pub unique: bool,
    /// Has it a `WHERE`?
    pub partial: bool,
    /// What made it.
    pub origin: Origin,
    /// What it sorts by.
    pub columns: Vec<IndexColumn>,
}

/// One column of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexColumn {
    /// The table's column; none for an expression and for the rowid.
    pub name: Option<String>,
    /// From the greatest to the least?
    pub descending: bool,
    /// How text is compared.
    pub collation: String,
}
