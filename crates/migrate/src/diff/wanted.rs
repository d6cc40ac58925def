use rusqlite::Connection;

use super::annotation::{Annotations, dropped, without};
use super::{Error, Options, Result};
use crate::schema::Schema;
use crate::sql::{Statement, TableText, comments, same_name, split, tokens};

/// The schema a file says.
pub(super) struct Wanted {
    pub(super) schema: Schema,
    /// The text of each table, as it goes into a migration, and its comments.
    pub(super) tables: Vec<WantedTable>,
    /// The text of everything else, by name.
    pub(super) others: Vec<(String, String)>,
    allowed: Vec<String>,
    pub(super) any_order: bool,
}

pub(super) struct WantedTable {
    pub(super) name: String,
    /// With its `;`.
    pub(super) text: String,
    pub(super) annotations: Annotations,
}

impl Wanted {
    pub(super) fn read(text: &str, options: &Options) -> Result<Self> {
        let conn =
            Connection::open_in_memory().map_err(Error::doing("open a database in memory"))?;
        conn.execute_batch("PRAGMA foreign_keys = OFF")
            .map_err(Error::doing("open a database in memory"))?;
        let mut allowed = options.allow_drop.clone();
        allowed.extend(dropped(&comments(text, &tokens(text)?)));
        let (mut tables, mut others) = (Vec::new(), Vec::new());
        for statement in split(text)? {
            let Some(name) = made(&conn, &statement)? else {
                continue;
            };
            let line = statement.line;
            let text = match statement.sql.trim_end() {
                sql if sql.ends_with(';') => without(sql),
                sql => format!("{};", without(sql)),
            };
            match TableText::parse(&statement.sql) {
                Ok(table) => {
                    let leading: Vec<_> = statement
                        .comments
                        .iter()
                        .filter(|comment| comment.line < line)
                        .cloned()
                        .collect();
                    tables.push(WantedTable {
                        name,
                        text,
                        annotations: Annotations::of(&leading, &table),
                    });
                }
                Err(_) => others.push((name, text)),
            }
        }
        Ok(Self {
            schema: Schema::read(&conn).map_err(Error::doing("read the wanted schema"))?,
            tables,
            others,
            allowed,
            any_order: options.any_order,
        })
    }

    pub(super) fn table(&self, name: &str) -> Option<&WantedTable> {
        self.tables
            .iter()
            .find(|table| same_name(&table.name, name))
    }

    pub(super) fn other(&self, name: &str) -> Option<&str> {
        let found = self.others.iter().find(|(other, _)| same_name(other, name));
        found.map(|(_, text)| text.as_str())
    }

    /// May this be dropped? `table` or `table.column`.
    pub(super) fn allows(&self, what: &str) -> bool {
        self.allowed.iter().any(|allowed| same_name(allowed, what))
    }
}

/// Runs a statement of the wanted schema; the name of what it has made, if that
/// is somebody's.
fn made(conn: &Connection, statement: &Statement) -> Result<Option<String>> {
    let mut words = statement.sql.split_whitespace();
    let first = words.next().unwrap_or_default().to_ascii_uppercase();
    let second = words.next().unwrap_or_default().to_ascii_uppercase();
    // What dumps and schema files begin and end with.
    let idle = ["PRAGMA", "BEGIN", "COMMIT", "ANALYZE"];
    if idle.contains(&first.trim_end_matches(';')) {
        return Ok(None);
    }
    let belongs = first == "CREATE" && !second.starts_with("TEMP");
    if !belongs {
        let words: Vec<&str> = statement.sql.split_whitespace().take(3).collect();
        return Err(Error::Statement {
            line: statement.line,
            statement: words.join(" "),
        });
    }
    let wanted = |source| Error::Wanted {
        line: statement.line,
        source,
    };
    let newest = "SELECT coalesce(max(rowid), 0) FROM main.sqlite_schema";
    let before: i64 = conn
        .query_row(newest, [], |row| row.get(0))
        .map_err(wanted)?;
    match conn.execute_batch(&statement.sql) {
        // In every schema that `.schema` prints.
        Err(error) if error.to_string().contains("reserved for internal use") => return Ok(None),
        run => run.map_err(wanted)?,
    }
    // The first is the thing itself; shadow tables and automatic indexes follow.
    // `IF NOT EXISTS` makes none.
    let made = conn.query_row(
        "SELECT name FROM main.sqlite_schema WHERE rowid > ?1 AND name NOT LIKE 'sqlite~_%' ESCAPE '~'
         ORDER BY type <> 'table' OR sql NOT LIKE 'CREATE VIRTUAL%', type = 'index', rowid LIMIT 1",
        [before],
        |row| row.get(0),
    );
    match made {
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        made => made.map(Some).map_err(wanted),
    }
}
