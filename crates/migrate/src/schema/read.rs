//! Reads a schema through SQLite's own pragmas.

use std::collections::HashMap;

use rusqlite::{Connection, Result};

use super::{
    Affinity, Column, Entry, EntryKind, ForeignKey, Generated, Index, IndexColumn, IndexOrigin,
    Schema, Table, TableKind, Trigger, View, is_builtin_collation,
};
use crate::sql::{TokenType, index_words, name_key, quote_name, tokens};

impl Schema {
    /// Reads the schema `main`.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn read(conn: &Connection) -> Result<Self> {
        Self::read_from(conn, "main")
    }

    /// Reads the schema of the database attached as `database`.
    ///
    /// # Errors
    /// When SQLite cannot read it.
    pub fn read_from(conn: &Connection, database: &str) -> Result<Self> {
        Reader { conn, database }.schema()
    }
}

/// A row of `sqlite_schema`, with its text.
struct Row {
    entry: Entry,
    sql: Option<String>,
}

/// What `PRAGMA table_list` says of a table.
struct Listed {
    kind: TableKind,
    without_rowid: bool,
    strict: bool,
}

/// What `PRAGMA index_list` says of an index.
struct ListedIndex {
    name: String,
    unique: bool,
    origin: IndexOrigin,
    partial: bool,
}

struct Reader<'c> {
    conn: &'c Connection,
    database: &'c str,
}

impl Reader<'_> {
    fn schema(&self) -> Result<Schema> {
        let version = format!("PRAGMA {}.schema_version", quote_name(self.database));
        let mut schema = Schema {
            version: self.conn.query_row(&version, [], |row| row.get(0))?,
            ..Schema::default()
        };
        let rows = self.rows()?;
        let listed = self.listed()?;
        let sequences = self.sequences(&rows)?;
        // Indexes with text, and by table what pragma index_list says of all.
        let mut index_rows = Vec::new();
        let mut index_lists = HashMap::new();
        for Row { entry, sql } in rows {
            match (entry.kind, sql) {
                (EntryKind::Table, Some(sql)) if !is_sqlites_own(&entry.name) => {
                    let indexes = self.index_list(&entry.name)?;
                    let mut table = self.table(&entry, sql, &listed, &indexes)?;
                    let key = name_key(&entry.name);
                    table.sequence = sequences.get(&key).copied();
                    schema.tables.push(table);
                    index_lists.insert(key, indexes);
                }
                (EntryKind::Index, sql) => index_rows.push((entry.clone(), sql)),
                (EntryKind::Trigger, Some(sql)) => schema.triggers.push(Trigger {
                    name: entry.name.clone(),
                    table: entry.table.clone(),
                    sql,
                }),
                (EntryKind::View, Some(sql)) => schema.views.push(View {
                    name: entry.name.clone(),
                    sql,
                }),
                _ => {}
            }
            schema.entries.push(entry);
        }
        for (entry, sql) in index_rows {
            let list = index_lists.get_mut(&name_key(&entry.table));
            let taken = list.and_then(|list: &mut Vec<ListedIndex>| {
                let at = list.iter().position(|one| one.name == entry.name)?;
                Some(list.remove(at))
            });
            if let Some(listed) = taken {
                schema.indexes.push(self.index(listed, entry.table, sql)?);
            }
        }
        for table in &schema.tables {
            for listed in index_lists
                .remove(&name_key(&table.name))
                .unwrap_or_default()
            {
                let index = self.index(listed, table.name.clone(), None)?;
                schema.indexes.push(index);
            }
        }
        Ok(schema)
    }

    fn rows(&self) -> Result<Vec<Row>> {
        let sql = format!(
            "SELECT type, name, tbl_name, sql, rowid, rootpage FROM {}.sqlite_schema ORDER BY rowid",
            quote_name(self.database)
        );
        let mut all = self.conn.prepare(&sql)?;
        let mut rows = all.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let kind = match row.get::<_, String>(0)?.as_str() {
                "table" => EntryKind::Table,
                "index" => EntryKind::Index,
                "view" => EntryKind::View,
                "trigger" => EntryKind::Trigger,
                _ => continue,
            };
            let sql: Option<String> = row.get(3)?;
            found.push(Row {
                entry: Entry {
                    kind,
                    name: row.get(1)?,
                    table: row.get(2)?,
                    rowid: row.get(4)?,
                    root_page: row.get::<_, Option<u32>>(5)?.unwrap_or(0),
                    has_sql: sql.as_ref().is_some_and(|sql| !sql.is_empty()),
                },
                sql,
            });
        }
        Ok(found)
    }

    /// By name.
    fn listed(&self) -> Result<HashMap<String, Listed>> {
        let sql = "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = ?1";
        let mut all = self.conn.prepare(sql)?;
        let rows = all.query_map([self.database], |row| {
            let listed = Listed {
                kind: match row.get::<_, String>(1)?.as_str() {
                    "virtual" => TableKind::Virtual,
                    "shadow" => TableKind::Shadow,
                    _ => TableKind::Ordinary,
                },
                without_rowid: row.get(2)?,
                strict: row.get(3)?,
            };
            Ok((row.get(0)?, listed))
        })?;
        rows.collect()
    }

    /// The counters of `AUTOINCREMENT`, by table.
    fn sequences(&self, rows: &[Row]) -> Result<HashMap<String, i64>> {
        let mut found = HashMap::new();
        if !rows.iter().any(|row| row.entry.name == "sqlite_sequence") {
            return Ok(found);
        }
        let sql = format!(
            "SELECT name, seq FROM {}.sqlite_sequence",
            quote_name(self.database)
        );
        let mut all = self.conn.prepare(&sql)?;
        let mut rows = all.query([])?;
        while let Some(row) = rows.next()? {
            // Any app may write any values there.
            if let (Ok(name), Ok(last)) = (row.get::<_, String>(0), row.get(1)) {
                found.insert(name_key(&name), last);
            }
        }
        Ok(found)
    }

    fn table(
        &self,
        entry: &Entry,
        sql: String,
        listed: &HashMap<String, Listed>,
        indexes: &[ListedIndex],
    ) -> Result<Table> {
        let has = |wanted: TokenType| {
            tokens(&sql).is_ok_and(|all| all.iter().any(|token| token.kind == wanted))
        };
        let listed = listed.get(&entry.name);
        let kind = match listed.map(|listed| listed.kind) {
            Some(kind) => kind,
            // SQLite lists no virtual table whose module it does not have.
            None if has(TokenType::TK_VIRTUAL) => TableKind::Virtual,
            None => TableKind::Ordinary,
        };
        let without_rowid = listed.is_some_and(|listed| listed.without_rowid);
        let strict = listed.is_some_and(|listed| listed.strict);
        let mut columns = match self.columns(&entry.name, strict) {
            // Only the app has the module.
            Err(_) if kind == TableKind::Virtual => Vec::new(),
            columns => columns?,
        };
        let has_rowid = kind != TableKind::Virtual && !without_rowid;
        let has_key_index = indexes
            .iter()
            .any(|index| index.origin == IndexOrigin::PrimaryKey);
        if has_rowid && !has_key_index {
            // A primary key that needs no index is the rowid itself.
            if let Some(key) = columns.iter_mut().find(|column| column.key > 0) {
                key.is_rowid = true;
            }
        }
        Ok(Table {
            name: entry.name.clone(),
            kind,
            columns,
            foreign_keys: self.foreign_keys(&entry.name)?,
            strict,
            without_rowid,
            autoincrement: has_rowid && has(TokenType::TK_AUTOINCR),
            sequence: None,
            root_page: entry.root_page,
            schema_rowid: entry.rowid,
            sql,
        })
    }

    fn columns(&self, table: &str, strict: bool) -> Result<Vec<Column>> {
        let mut all = self.conn.prepare(
            "SELECT name, type, \"notnull\", dflt_value, pk, hidden
             FROM pragma_table_xinfo(?1, ?2) ORDER BY cid",
        )?;
        let rows = all.query_map([table, self.database], |row| {
            let declared_type = row.get::<_, Option<String>>(1)?.unwrap_or_default();
            Ok(Column {
                name: row.get(0)?,
                affinity: Affinity::of(&declared_type, strict),
                declared_type,
                not_null: row.get(2)?,
                default: row.get(3)?,
                key: row.get(4)?,
                generated: match row.get(5)? {
                    0 => Generated::No,
                    2 => Generated::Virtual,
                    3 => Generated::Stored,
                    _ => Generated::Hidden,
                },
                collation: String::new(),
                is_rowid: false,
            })
        })?;
        let mut columns = rows.collect::<Result<Vec<_>>>()?;
        for column in &mut columns {
            let name = column.name.as_str();
            let about = self
                .conn
                .column_metadata(Some(self.database), table, name)?;
            column.collation = about.1.map_or("BINARY".into(), |collation| {
                collation.to_string_lossy().into_owned()
            });
        }
        Ok(columns)
    }

    fn foreign_keys(&self, table: &str) -> Result<Vec<ForeignKey>> {
        // SQLite counts them from the last one.
        let mut all = self.conn.prepare(
            "SELECT id, \"table\", \"from\", \"to\", on_update, on_delete
             FROM pragma_foreign_key_list(?1, ?2) ORDER BY id DESC, seq",
        )?;
        let mut rows = all.query([table, self.database])?;
        let mut keys: Vec<ForeignKey> = Vec::new();
        while let Some(row) = rows.next()? {
            let id = row.get(0)?;
            let pair = (row.get(2)?, row.get(3)?);
            match keys.last_mut().filter(|last| last.id == id) {
                Some(key) => key.columns.push(pair),
                None => keys.push(ForeignKey {
                    id,
                    parent: row.get(1)?,
                    columns: vec![pair],
                    on_update: row.get(4)?,
                    on_delete: row.get(5)?,
                }),
            }
        }
        Ok(keys)
    }

    fn index_list(&self, table: &str) -> Result<Vec<ListedIndex>> {
        let sql = "SELECT name, \"unique\", origin, partial FROM pragma_index_list(?1, ?2)";
        let mut all = self.conn.prepare(sql)?;
        let rows = all.query_map([table, self.database], |row| {
            Ok(ListedIndex {
                name: row.get(0)?,
                unique: row.get(1)?,
                origin: match row.get::<_, String>(2)?.as_str() {
                    "pk" => IndexOrigin::PrimaryKey,
                    "u" => IndexOrigin::Unique,
                    _ => IndexOrigin::Statement,
                },
                partial: row.get(3)?,
            })
        })?;
        rows.collect()
    }

    fn index(&self, listed: ListedIndex, table: String, sql: Option<String>) -> Result<Index> {
        let mut all = self.conn.prepare(
            "SELECT name, \"desc\", coll, key FROM pragma_index_xinfo(?1, ?2) ORDER BY seqno",
        )?;
        let mut rows = all.query([listed.name.as_str(), self.database])?;
        let mut columns = Vec::new();
        let mut has_app_collation = false;
        while let Some(row) = rows.next()? {
            // None for the rowid.
            let collation = row.get::<_, Option<String>>(2)?;
            let collation = collation.unwrap_or_else(|| "BINARY".to_owned());
            has_app_collation |= !is_builtin_collation(&collation);
            if row.get(3)? {
                columns.push(IndexColumn {
                    name: row.get(0)?,
                    descending: row.get(1)?,
                    collation,
                });
            }
        }
        let sql = sql.filter(|sql| !sql.is_empty());
        let (terms, condition) = match &sql {
            Some(sql) => index_words(sql),
            None => {
                let names = columns.iter().map(|one| one.name.as_deref());
                let terms = names.map(|name| vec![name_key(name.unwrap_or_default())]);
                (terms.collect(), None)
            }
        };
        Ok(Index {
            name: listed.name,
            table,
            unique: listed.unique,
            origin: listed.origin,
            columns,
            terms,
            condition: listed.partial.then(|| condition.unwrap_or_default()),
            has_app_collation,
            sql,
        })
    }
}

/// Names that begin with `sqlite_` are reserved.
fn is_sqlites_own(name: &str) -> bool {
    name_key(name).starts_with("sqlite_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> Schema {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(sql).unwrap();
        Schema::read(&conn).unwrap()
    }

    #[test]
    fn columns_have_a_declared_type_and_an_affinity() {
        let schema = read(
            "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, name VARCHAR(50) COLLATE NOCASE,
             any, twice AS (id * 2), UNIQUE (name)); INSERT INTO t (name) VALUES ('x'), ('y')",
        );
        let table = schema.table("T").unwrap();
        let types: Vec<_> = table
            .columns
            .iter()
            .map(|one| (one.declared_type.as_str(), one.affinity))
            .collect();
        assert_eq!(
            types,
            [
                ("INTEGER", Affinity::Integer),
                ("VARCHAR(50)", Affinity::Text),
                ("", Affinity::Blob),
                ("", Affinity::Blob),
            ]
        );
        assert!(table.columns[0].is_rowid && table.columns[3].is_generated());
        assert_eq!((table.autoincrement, table.sequence), (true, Some(2)));
        let entry = schema.entries.iter().find(|one| one.name == "t").unwrap();
        assert_eq!(
            (table.root_page, table.schema_rowid),
            (entry.root_page, entry.rowid)
        );
        assert!(
            schema
                .entries
                .iter()
                .any(|one| one.name == "sqlite_sequence")
        );
        assert_eq!(schema.tables.len(), 1);
        let [unique] = schema.indexes.as_slice() else {
            panic!("{:?}", schema.indexes);
        };
        assert_eq!(unique.terms, [["name"]]);
        assert!(!unique.has_app_collation && unique.sql.is_none());
    }

    #[test]
    fn a_primary_key_without_rowid_is_an_index_too() {
        let schema = read(
            "CREATE TABLE w (a, b, PRIMARY KEY (b, a)) WITHOUT ROWID;
             CREATE INDEX i ON w (lower(a) DESC) WHERE b > 1;
             CREATE TABLE r (k TEXT PRIMARY KEY);
             CREATE TABLE d (k INTEGER PRIMARY KEY DESC)",
        );
        let names = |table| -> Vec<_> {
            let all = schema.indexes_of(table);
            all.map(|one| (one.origin, one.terms.concat().join(" ")))
                .collect()
        };
        assert_eq!(
            names("w"),
            [
                (IndexOrigin::Statement, "lower ( a ) desc".to_owned()),
                (IndexOrigin::PrimaryKey, "b a".to_owned()),
            ]
        );
        let index = schema.index("I").unwrap();
        assert_eq!(index.condition.as_deref().unwrap().join(" "), "b > 1");
        assert!(index.columns[0].name.is_none() && index.columns[0].descending);
        let key = schema.table("w").unwrap().primary_key();
        assert_eq!([&key[0].name, &key[1].name], ["b", "a"]);
        // `DESC` makes it a column like any other, a quirk that SQLite documents.
        assert!(schema.table("d").unwrap().rowid_column().is_none());
        assert_eq!(names("d").len(), 1);
        assert_eq!(names("r"), [(IndexOrigin::PrimaryKey, "k".to_owned())]);
    }

    #[test]
    fn an_attached_database_is_read_by_its_name() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE t (a INTEGER PRIMARY KEY, x);
             ATTACH ':memory:' AS before;
             CREATE TABLE before.p (id INTEGER PRIMARY KEY);
             CREATE TABLE before.t (a, b COLLATE nocase, c,
                 FOREIGN KEY (a) REFERENCES p, FOREIGN KEY (b, c) REFERENCES t (a, b));
             CREATE INDEX before.i ON t (b)",
        )
        .unwrap();
        let before = Schema::read_from(&conn, "before").unwrap();
        let table = before.table("t").unwrap();
        assert!(table.primary_key().is_empty());
        assert_eq!(table.columns[1].collation, "nocase");
        let keys: Vec<_> = table
            .foreign_keys
            .iter()
            .map(|key| (key.id, key.parent.as_str(), key.from().len(), key.to()))
            .collect();
        assert_eq!(keys, [(1, "p", 1, vec![]), (0, "t", 2, vec!["a", "b"])]);
        assert_eq!(before.indexes_of("t").count(), 1);
        let main = Schema::read(&conn).unwrap();
        assert_eq!(main.table("t").unwrap().columns.len(), 2);
        assert!(main.indexes.is_empty());
    }

    #[test]
    fn a_virtual_table_of_an_unknown_module_has_no_columns() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "PRAGMA writable_schema = ON;
             INSERT INTO sqlite_schema (type, name, tbl_name, rootpage, sql)
             VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING apps_own (a, b)');
             PRAGMA writable_schema = RESET",
        )
        .unwrap();
        let schema = Schema::read(&conn).unwrap();
        let table = schema.table("v").unwrap();
        assert_eq!(table.kind, TableKind::Virtual);
        assert!(table.columns.is_empty() && table.rowid_name().is_none());
    }

    #[test]
    fn an_index_says_whether_only_the_app_can_sort_it() {
        let conn = Connection::open_in_memory().unwrap();
        conn.create_collation("icu", |a: &str, b: &str| a.cmp(b))
            .unwrap();
        conn.execute_batch(
            "CREATE TABLE w (k TEXT COLLATE icu PRIMARY KEY, v TEXT) WITHOUT ROWID;
             CREATE INDEX by_v ON w (v); CREATE TABLE r (v TEXT); CREATE INDEX r_v ON r (v)",
        )
        .unwrap();
        let schema = Schema::read(&conn).unwrap();
        // Its entries end with the primary key.
        assert!(schema.index("by_v").unwrap().has_app_collation);
        assert!(!schema.index("r_v").unwrap().has_app_collation);
        assert!(schema.table("w").unwrap().columns[0].has_app_collation());
    }
}
