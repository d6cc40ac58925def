//! Helpers: runs a diff as a migration file, and compares what two schemas have.

use monolite_migrate::diff::{Options, diff};
use monolite_migrate::rebuild::Rebuild;
use monolite_migrate::sql::{Kind, split};
use rusqlite::Connection;

use crate::corpus::{self, database, query};

pub(crate) const POSTS: &str = "CREATE TABLE posts (id INTEGER PRIMARY KEY, name TEXT, price INT, count INT); INSERT INTO posts VALUES (1, 'a', 2, 3); CREATE INDEX posts_name ON posts (name); CREATE VIEW v AS SELECT name FROM posts;";

pub(crate) fn options(drop: &[&str]) -> Options {
    Options::new().allow_loss(drop.iter().copied())
}

/// As the runner of files does it.
pub(crate) fn apply(conn: &Connection, sql: &str) {
    conn.execute_batch("PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE")
        .unwrap();
    for statement in split(sql).unwrap() {
        match statement.kind {
            Kind::Sqlite => conn
                .execute_batch(&statement.sql)
                .unwrap_or_else(|error| panic!("{sql}: {error}")),
            Kind::Rebuild => drop(
                Rebuild::parse(&statement.sql)
                    .and_then(|rebuild| rebuild.run(conn))
                    .unwrap_or_else(|error| panic!("{sql}: {error}")),
            ),
        }
    }
    conn.execute_batch("COMMIT; PRAGMA foreign_keys = ON")
        .unwrap();
}

/// The migration, after it was applied and nothing is left to do.
#[track_caller]
pub(crate) fn way(live: &str, wanted: &str, drop: &[&str]) -> String {
    let conn = database(live);
    let found = diff(&conn, wanted, &options(drop)).unwrap_or_else(|error| panic!("{error}"));
    apply(&conn, &found.sql);
    let again = diff(&conn, wanted, &Options::default()).unwrap();
    assert_eq!(again.sql, "", "something is left");
    assert_eq!(
        facts(&conn),
        facts(&database(&ddl(wanted))),
        "{}",
        found.sql
    );
    found.sql
}

/// What SQLite itself says of a schema, tables by their columns.
pub(crate) fn facts(conn: &Connection) -> String {
    let mut out = String::new();
    for (table, _) in schema(conn, "type IN ('table', 'view')") {
        out += &format!("== {table}\n");
        let name = table.replace('\'', "''");
        if conn
            .prepare(&format!("SELECT * FROM \"{}\"", table.replace('"', "\"\"")))
            .is_err()
        {
            continue;
        }
        out += &query(conn, &format!("SELECT * FROM pragma_table_xinfo('{name}')"));
        out += &query(
            conn,
            &format!(
                "SELECT \"from\", lower(\"table\"), lower(\"to\"), on_delete, on_update FROM pragma_foreign_key_list('{name}') ORDER BY 1, 2, 3, 4, 5"
            ),
        );
        out += &query(
            conn,
            &format!(
                "SELECT il.\"unique\", il.partial, group_concat(ii.name || ii.\"desc\" || ii.coll) FROM pragma_index_list('{name}') il, pragma_index_xinfo(il.name) ii GROUP BY il.name ORDER BY 1, 2, 3"
            ),
        );
        out += &query(
            conn,
            &format!("SELECT type, wr, strict FROM pragma_table_list('{name}')"),
        );
    }
    for (name, sql) in schema(conn, "type <> 'table' AND sql IS NOT NULL") {
        out += &format!("{name}: {}\n", spelled(&sql));
    }
    for (name, sql) in schema(conn, "type = 'table'") {
        // Columns that were added stand behind the constraints.
        let sql = spelled(&sql);
        let (head, rest) = sql.split_once('(').unwrap_or((&sql, ""));
        let (inside, tail) = rest.rsplit_once(')').unwrap_or((rest, ""));
        let mut parts = top_level(inside);
        parts.sort();
        let head = head
            .trim_start_matches("createtable")
            .trim_start_matches("createvirtualtable");
        out += &format!("{name}: {head} {parts:?} {tail}\n");
    }
    out
}

/// A text without comments, spaces, quotes of names and the case of anything but
/// text; by its characters, for the code under test reads tokens.
pub(crate) fn spelled(sql: &str) -> String {
    let (mut out, mut chars) = (String::new(), sql.chars().peekable());
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\'', _) => {
                out.push(c);
                for c in chars.by_ref() {
                    out.push(c);
                    if c == '\'' {
                        break;
                    }
                }
            }
            ('-', Some('-')) => while chars.next().is_some_and(|c| c != '\n') {},
            ('/', Some('*')) => {
                let mut last = ' ';
                for c in chars.by_ref().skip(1) {
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
            }
            ('"' | '`' | '[' | ']', _) => {}
            (c, _) if c.is_whitespace() => {}
            (c, _) => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}

pub(crate) fn top_level(list: &str) -> Vec<String> {
    let (mut depth, mut text, mut parts) = (0, false, vec![String::new()]);
    for c in list.chars() {
        match c {
            '\'' => text = !text,
            '(' if !text => depth += 1,
            ')' if !text => depth -= 1,
            ',' if !text && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    parts
}

pub(crate) fn schema(conn: &Connection, which: &str) -> Vec<(String, String)> {
    let sql = format!(
        "SELECT name, sql FROM main.sqlite_schema WHERE ({which}) AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY type, lower(name)"
    );
    let mut all = conn.prepare(&sql).unwrap();
    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// The statements that make a schema, as a file has them.
pub(crate) fn ddl(sql: &str) -> String {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    corpus::fill(&conn, sql);
    let shadows = corpus::tables(&conn, &["shadow"]);
    let mut all = conn
        .prepare("SELECT name, sql FROM main.sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY rowid")
        .unwrap();
    let rows = all.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    });
    rows.unwrap()
        .map(Result::unwrap)
        .filter(|(name, _)| !shadows.contains(name))
        .map(|(_, sql)| format!("{sql};\n"))
        .collect()
}

pub(crate) fn columns(conn: &Connection, table: &str) -> Vec<(String, String)> {
    let mut all = conn
        .prepare("SELECT name, type FROM pragma_table_xinfo(?1)")
        .unwrap();
    let rows = all.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}
