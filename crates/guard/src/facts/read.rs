//! Facts, asked of SQLite.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Result, Row};

use super::super::text;
use super::{Column, Entry, Facts, ForeignKey, Index, Object, Table, TableKind, is_apps_own, key};

impl Facts {
    /// What there is in `schema`, as `main`.
    pub(crate) fn read(conn: &Connection, schema: &str) -> Result<Self> {
        let version = format!("PRAGMA {schema}.schema_version");
        let mut facts = Self {
            version: conn.query_row(&version, [], |row| row.get(0))?,
            ..Self::default()
        };
        let listed = listed(conn, schema)?;
        let mut definitions = BTreeMap::new();
        let sql = format!(
            "SELECT type, name, tbl_name, rootpage, sql, rowid FROM {schema}.sqlite_schema"
        );
        let mut statement = conn.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let kind: String = row.get(0)?;
            let object = Object {
                name: row.get(1)?,
                table: row.get(2)?,
                sql: row.get::<_, Option<String>>(4)?.unwrap_or_default(),
            };
            let root = row.get::<_, Option<u32>>(3)?.unwrap_or(0);
            facts.entries.push(Entry {
                kind: kind.clone(),
                name: object.name.clone(),
                table: object.table.clone(),
                number: row.get(5)?,
                root,
                is_made: !object.sql.is_empty(),
            });
            match kind.as_str() {
                // SQLite's own come and go as it likes.
                "table" if key(&object.name).starts_with("sqlite_") => {}
                "table" => {
                    let listed = listed.get(&object.name);
                    let mut table = Table::new(object, root, listed);
                    table.number = row.get(5)?;
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
}

/// What SQLite's list of tables tells of one.
pub(super) struct Listed {
    pub(super) kind: String,
    pub(super) without_rowid: bool,
    pub(super) strict: bool,
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
                collation: String::new(),
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
    let mut shown: Vec<Column> = shown.map(|(_, column)| column).collect();
    for column in &mut shown {
        let about = conn.column_metadata(Some(schema), table, column.name.as_str());
        let collation = about.ok().and_then(|(_, collation, ..)| collation);
        column.collation = collation.map_or("BINARY".into(), |name| {
            name.to_string_lossy().to_ascii_uppercase()
        });
    }
    Ok(shown)
}

fn foreign_keys(conn: &Connection, schema: &str, table: &str) -> Result<Vec<ForeignKey>> {
    let sql = "SELECT id, \"table\", \"from\", \"to\", on_update, on_delete
               FROM pragma_foreign_key_list(?1, ?2) ORDER BY id, seq";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([table, schema])?;
    let mut keys: BTreeMap<i64, ForeignKey> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let one = keys.entry(id).or_insert(ForeignKey {
            id,
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
            is_apps_own: false,
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
        index.is_apps_own = is_sorted_by_apps_own(conn, schema, &index.name)?;
    }
    Ok(all)
}

fn is_sorted_by_apps_own(conn: &Connection, schema: &str, index: &str) -> Result<bool> {
    let sql = "SELECT coll FROM pragma_index_xinfo(?1, ?2) WHERE coll NOT NULL";
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([index, schema])?;
    while let Some(row) = rows.next()? {
        if is_apps_own(&row.get::<_, String>(0)?) {
            return Ok(true);
        }
    }
    Ok(false)
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
