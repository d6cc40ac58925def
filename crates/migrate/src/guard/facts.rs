//! What one schema of a connection has, by SQLite's own pragmas: the tables,
//! and what hangs on them. Keys of the maps are names in lower case, as SQLite
//! compares them.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Result, Row};

use super::text;
use crate::sql::quote_name;

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
}

#[derive(Debug, Clone)]
pub(super) struct ForeignKey {
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
}

#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) kind: TableKind,
    /// The page its tree begins at; 0 for a virtual one.
    pub(super) root: u32,
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

#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) tables: BTreeMap<String, Table>,
    pub(super) indexes: Vec<Index>,
    pub(super) triggers: BTreeMap<String, Object>,
    pub(super) views: BTreeMap<String, Object>,
    /// Counters of AUTOINCREMENT, by table.
    pub(super) counters: BTreeMap<String, i64>,
}

impl Facts {
    /// What there is in `schema`, as `main`.
    pub(super) fn read(conn: &Connection, schema: &str) -> Result<Self> {
        let mut facts = Self::default();
        let listed = listed(conn, schema)?;
        let mut definitions = BTreeMap::new();
        let sql = format!("SELECT type, name, tbl_name, rootpage, sql FROM {schema}.sqlite_schema");
        let mut statement = conn.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let kind: String = row.get(0)?;
            let object = Object {
                name: row.get(1)?,
                table: row.get(2)?,
                sql: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
            };
            match kind.as_str() {
                // SQLite's own come and go as it likes.
                "table" if key(&object.name).starts_with("sqlite_") => {}
                "table" => {
                    let root = row.get::<_, Option<u32>>(3)?.unwrap_or(0);
                    let listed = listed.get(&object.name);
                    let table = Table::new(object, root, listed);
                    facts.tables.insert(key(&table.name), table);
                }
                "index" => drop(definitions.insert(object.name, object.sql)),
                "trigger" => drop(facts.triggers.insert(key(&object.name), object)),
                "view" => drop(facts.views.insert(key(&object.name), object)),
                _ => {}
            }
        }
        for table in facts.tables.values_mut() {
            table.columns = columns(conn, schema, &table.name)?;
            if table.kind != TableKind::Virtual {
                table.foreign_keys = foreign_keys(conn, schema, &table.name)?;
                let made = indexes(conn, schema, &table.name, &definitions)?;
                facts.indexes.extend(made);
            }
        }
        facts.counters = counters(conn, schema)?;
        Ok(facts)
    }

    pub(super) fn indexes_of<'f>(&'f self, table: &'f str) -> impl Iterator<Item = &'f Index> {
        let all = self.indexes.iter();
        all.filter(move |index| index.table.eq_ignore_ascii_case(table))
    }

    pub(super) fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(&key(name))
    }
}

/// What SQLite's list of tables tells of one.
struct Listed {
    kind: String,
    without_rowid: bool,
    strict: bool,
}

fn listed(conn: &Connection, schema: &str) -> Result<HashMap<String, Listed>> {
    let sql = "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = ?1";
    let mut statement = conn.prepare(sql)?;
    let all = statement.query_map([schema], |row| {
        let listed = Listed {
            kind: row.get(1)?,
            without_rowid: row.get(2)?,
            strict: row.get(3)?,
        };
        Ok((row.get(0)?, listed))
    })?;
    all.collect()
}

fn columns(conn: &Connection, schema: &str, table: &str) -> Result<Vec<Column>> {
    let sql = "SELECT name, type, \"notnull\", dflt_value, pk, hidden
               FROM pragma_table_xinfo(?1, ?2) ORDER BY cid";
    let read = |row: &Row<'_>| {
        let hidden: u32 = row.get(5)?;
        Ok((
            hidden,
            Column {
                name: row.get(0)?,
                declared: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
                not_null: row.get(2)?,
                default: row.get(3)?,
                primary: row.get(4)?,
                generated: hidden > 1,
            },
        ))
    };
    let Ok(mut statement) = conn.prepare(sql) else {
        return Ok(Vec::new());
    };
    let all = statement.query_map([table, schema], read)?;
    let all: Result<Vec<_>> = all.collect();
    // A virtual table of a module that is not known here has none to show.
    let all = all.unwrap_or_default();
    let shown = all.into_iter().filter(|(hidden, _)| *hidden != 1);
    Ok(shown.map(|(_, column)| column).collect())
}

fn foreign_keys(conn: &Connection, schema: &str, table: &str) -> Result<Vec<ForeignKey>> {
    let sql = "SELECT id, \"table\", \"from\", \"to\", on_update, on_delete
               FROM pragma_foreign_key_list(?1, ?2) ORDER BY id, seq";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([table, schema])?;
    let mut keys: BTreeMap<i64, ForeignKey> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let one = keys.entry(row.get(0)?).or_insert(ForeignKey {
            from: Vec::new(),
            table: row.get(1)?,
            to: Vec::new(),
            on_update: row.get(4)?,
            on_delete: row.get(5)?,
        });
        one.from.push(row.get(2)?);
        one.to.extend(row.get::<_, Option<String>>(3)?);
    }
    Ok(keys.into_values().collect())
}

fn indexes(
    conn: &Connection,
    schema: &str,
    table: &str,
    definitions: &BTreeMap<String, String>,
) -> Result<Vec<Index>> {
    let sql = "SELECT name, \"unique\", origin FROM pragma_index_list(?1, ?2)";
    let mut statement = conn.prepare(sql)?;
    let read = |row: &Row<'_>| {
        let name: String = row.get(0)?;
        let origin: String = row.get(2)?;
        let sql = definitions.get(&name).filter(|sql| !sql.is_empty());
        Ok(Index {
            table: table.into(),
            unique: row.get(1)?,
            is_primary: origin == "pk",
            pieces: Vec::new(),
            condition: None,
            sql: sql.cloned(),
            name,
        })
    };
    let all = statement.query_map([table, schema], read)?;
    let mut all: Vec<Index> = all.collect::<Result<_>>()?;
    for index in &mut all {
        match &index.sql {
            Some(sql) => (index.pieces, index.condition) = text::index(sql),
            None => index.pieces = indexed_columns(conn, schema, &index.name)?,
        }
    }
    Ok(all)
}

/// Of an index that a constraint made: columns only.
fn indexed_columns(conn: &Connection, schema: &str, index: &str) -> Result<Vec<Vec<String>>> {
    let sql = "SELECT coalesce(name, '') FROM pragma_index_info(?1, ?2) ORDER BY seqno";
    let mut statement = conn.prepare(sql)?;
    let names = statement.query_map([index, schema], |row| row.get::<_, String>(0))?;
    names.map(|name| Ok(vec![key(&name?)])).collect()
}

fn counters(conn: &Connection, schema: &str) -> Result<BTreeMap<String, i64>> {
    let there =
        format!("SELECT count(*) FROM {schema}.sqlite_schema WHERE name = 'sqlite_sequence'");
    if conn.query_row(&there, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(BTreeMap::new());
    }
    let sql = format!("SELECT name, seq FROM {schema}.sqlite_sequence");
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut counters = BTreeMap::new();
    while let Some(row) = rows.next()? {
        // Anybody may write anything there.
        if let (Ok(name), Ok(seq)) = (row.get::<_, String>(0), row.get::<_, i64>(1)) {
            counters.insert(key(&name), seq);
        }
    }
    Ok(counters)
}

/// `schema."name"`, for SQL.
pub(super) fn in_schema(schema: &str, name: &str) -> String {
    format!("{schema}.{}", quote_name(name))
}
