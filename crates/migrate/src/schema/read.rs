use rusqlite::{Connection, Result};

use super::{
    Column, ForeignKey, Generated, Index, IndexColumn, Origin, Schema, Table, TableKind, Trigger,
    View,
};
use crate::sql::{TokenType, tokens};

impl Schema {
    /// Reads the schema `main`. A virtual table whose module this connection does
    /// not have is there without its columns.
    ///
    /// # Errors
    /// When SQLite cannot.
    pub fn read(conn: &Connection) -> Result<Self> {
        let mut schema = Self::default();
        for (kind, name, table, sql) in objects(conn)? {
            match (kind.as_str(), sql) {
                ("table", Some(sql)) if !name.starts_with("sqlite_") => {
                    schema.tables.push(self::table(conn, name, sql)?);
                }
                ("index", sql) => {
                    if let Some(index) = index(conn, name, table, sql)? {
                        schema.indexes.push(index);
                    }
                }
                ("trigger", Some(sql)) => schema.triggers.push(Trigger { name, table, sql }),
                ("view", Some(sql)) => schema.views.push(View { name, sql }),
                _ => {}
            }
        }
        Ok(schema)
    }
}

type Object = (String, String, String, Option<String>);

fn objects(conn: &Connection) -> Result<Vec<Object>> {
    let mut all =
        conn.prepare("SELECT type, name, tbl_name, sql FROM main.sqlite_schema ORDER BY rowid")?;
    let rows = all.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    rows.collect()
}

fn table(conn: &Connection, name: String, sql: String) -> Result<Table> {
    let of_list = "SELECT type, wr, strict FROM pragma_table_list(?1) WHERE schema = 'main'";
    let (kind, without_rowid, strict): (String, bool, bool) =
        conn.query_row(of_list, [&name], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let kind = match kind.as_str() {
        "virtual" => TableKind::Virtual,
        "shadow" => TableKind::Shadow,
        _ => TableKind::Ordinary,
    };
    let columns = match columns(conn, &name, &kind, without_rowid) {
        // Its module is the app's own, which only the app has.
        Err(_) if kind == TableKind::Virtual => Vec::new(),
        columns => columns?,
    };
    let autoincrement = kind == TableKind::Ordinary
        && tokens(&sql)
            .is_ok_and(|all| all.iter().any(|token| token.kind == TokenType::TK_AUTOINCR));
    Ok(Table {
        foreign_keys: foreign_keys(conn, &name)?,
        name,
        sql,
        kind,
        columns,
        strict,
        without_rowid,
        autoincrement,
    })
}

fn columns(
    conn: &Connection,
    table: &str,
    kind: &TableKind,
    without_rowid: bool,
) -> Result<Vec<Column>> {
    let mut all = conn.prepare(
        "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1, 'main')
         ORDER BY cid",
    )?;
    let rows = all.query_map([table], |row| {
        Ok(Column {
            name: row.get(0)?,
            type_: row.get(1)?,
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
        let (_, collation, ..) = conn.column_metadata(Some("main"), table, column.name.as_str())?;
        column.collation =
            collation.map_or("BINARY".into(), |name| name.to_string_lossy().into_owned());
    }
    if *kind == TableKind::Ordinary && !without_rowid && !has_key_index(conn, table)? {
        // A primary key that needs no index is the rowid itself.
        if let Some(key) = columns.iter_mut().find(|column| column.key > 0) {
            key.is_rowid = true;
        }
    }
    Ok(columns)
}

fn has_key_index(conn: &Connection, table: &str) -> Result<bool> {
    let sql = "SELECT count(*) FROM pragma_index_list(?1, 'main') WHERE origin = 'pk'";
    conn.query_row(sql, [table], |row| row.get::<_, i64>(0))
        .map(|count| count > 0)
}

fn foreign_keys(conn: &Connection, table: &str) -> Result<Vec<ForeignKey>> {
    let mut all = conn.prepare(
        "SELECT id, \"table\", \"from\", \"to\", on_update, on_delete
         FROM pragma_foreign_key_list(?1, 'main') ORDER BY id DESC, seq",
    )?;
    let mut rows = all.query([table])?;
    let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let pair = (row.get(2)?, row.get(3)?);
        match keys.last_mut().filter(|(last, _)| *last == id) {
            Some((_, key)) => key.columns.push(pair),
            None => keys.push((
                id,
                ForeignKey {
                    parent: row.get(1)?,
                    columns: vec![pair],
                    on_update: row.get(4)?,
                    on_delete: row.get(5)?,
                },
            )),
        }
    }
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

fn index(
    conn: &Connection,
    name: String,
    table: String,
    sql: Option<String>,
) -> Result<Option<Index>> {
    let of_list = "SELECT \"unique\", origin, partial FROM pragma_index_list(?1, 'main')
                   WHERE name = ?2 COLLATE NOCASE";
    let found = conn.query_row(of_list, [&table, &name], |row| {
        Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?))
    });
    let (unique, origin, partial) = match found {
        Err(rusqlite::Error::QueryReturnedNoRows) => return Ok(None),
        found => found?,
    };
    let mut all = conn.prepare(
        "SELECT name, \"desc\", coll FROM pragma_index_xinfo(?1, 'main') WHERE key ORDER BY seqno",
    )?;
    let columns = all.query_map([&name], |row| {
        Ok(IndexColumn {
            name: row.get(0)?,
            descending: row.get(1)?,
            collation: row.get(2)?,
        })
    })?;
    Ok(Some(Index {
        columns: columns.collect::<Result<_>>()?,
        name,
        table,
        sql,
        unique,
        partial,
        origin: match origin.as_str() {
            "pk" => Origin::PrimaryKey,
            "u" => Origin::Unique,
            _ => Origin::Statement,
        },
    }))
}
