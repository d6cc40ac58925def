//! The schema that a file describes.

use rusqlite::Connection;

use super::annotation::{Annotations, without};
use super::normal::{Known, statement};
use super::{Error, Options, Result};
use crate::allowance::{Allowance, LossKind, Lost};
use crate::lint::allowed_names;
use crate::rebuild::Compiled;
use crate::schema::{Schema, stand_in_collations};
use crate::sql::{
    Cursor, Statement, TableText, TokenType as T, comments, same_name, split, tokens,
};

/// The schema that a file describes.
pub(super) struct Wanted {
    pub(super) schema: Schema,
    /// The text of each table for a migration, with the instructions in its comments.
    pub(super) tables: Vec<WantedTable>,
    /// Kind, name and text of everything else.
    others: Vec<(String, String, String)>,
    /// Virtual tables whose module only the app has.
    pub(super) app_virtual: Vec<AppVirtual>,
    pub(super) notes: Vec<String>,
    /// Which of its views and triggers work.
    pub(super) compiled: Compiled,
    pub(super) allowed: Vec<Allowance>,
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
        stand_in_collations(&conn).map_err(Error::doing("open a database in memory"))?;
        let mut allowed = options.allow_loss.clone();
        allowed.extend(allowed_names(&comments(text, &tokens(text)?)));
        let allowed = allowed.iter().map(|name| Allowance::new(name)).collect();
        let (mut tables, mut others) = (Vec::new(), Vec::new());
        let (mut app_virtual, mut notes) = (Vec::new(), Vec::new());
        for statement in split(text)? {
            let line = statement.line;
            let (kind, name) = match made(&conn, &statement)? {
                Made::Object(kind, name) => (kind, name),
                Made::Nothing => continue,
                Made::Setting => {
                    notes.push(format!(
                        "line {line} of the wanted schema: {} is not part of a schema and was left \
                         out; add it to the migration if it is wanted",
                        statement.sql.trim().trim_end_matches(';')
                    ));
                    continue;
                }
                Made::AppVirtual(table, message) => {
                    app_virtual.push(AppVirtual {
                        name: table,
                        sql: statement.sql.clone(),
                        line,
                        message,
                    });
                    continue;
                }
            };
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
                Err(_) => others.push((kind, name, text)),
            }
        }
        let schema = Schema::read(&conn).map_err(Error::doing("read the wanted schema"))?;
        Ok(Self {
            compiled: Compiled::all(&conn, &schema)
                .map_err(Error::doing("compile the wanted views and triggers"))?
                .without_indexes(),
            schema,
            tables,
            others,
            app_virtual,
            notes,
            allowed,
            any_order: options.any_order,
        })
    }

    /// Whether it describes nothing, not even what may be dropped.
    pub(super) fn is_empty(&self) -> bool {
        let makes_none = self.tables.is_empty() && self.others.is_empty();
        makes_none && self.app_virtual.is_empty() && self.allowed.is_empty()
    }

    pub(super) fn table(&self, name: &str) -> Option<&WantedTable> {
        self.tables
            .iter()
            .find(|table| same_name(&table.name, name))
    }

    /// `kind` in any case, as in `sqlite_schema`.
    pub(super) fn other(&self, kind: &str, name: &str) -> Option<&str> {
        let found = self
            .others
            .iter()
            .find(|(of, other, _)| same_name(of, kind) && same_name(other, name));
        found.map(|(_, _, text)| text.as_str())
    }

    /// Whether this table may be dropped.
    pub(super) fn allows_table(&self, table: &str) -> bool {
        self.allows(LossKind::Table, table, None)
    }

    /// Whether this column may be dropped, with its values.
    pub(super) fn allows_column(&self, table: &str, column: &str) -> bool {
        self.allows(LossKind::Column, table, Some(column))
    }

    fn allows(&self, kind: LossKind, table: &str, name: Option<&str>) -> bool {
        let lost = Lost {
            kind,
            table: Some(table),
            name,
            exactly: "",
        };
        self.allowed.iter().any(|by| by.covers("", lost))
    }
}

/// A virtual table whose module only the app has: only its text can be compared.
#[derive(Debug, Clone)]
pub(super) struct AppVirtual {
    pub(super) name: String,
    pub(super) sql: String,
    /// Its line in the wanted schema, from 1.
    pub(super) line: usize,
    /// SQLite's message.
    pub(super) message: String,
}

impl AppVirtual {
    pub(super) fn find<'f>(all: &'f [Self], name: &str) -> Option<&'f Self> {
        all.iter().find(|one| same_name(&one.name, name))
    }

    pub(super) fn words(&self) -> Vec<String> {
        statement(&self.sql, &Known::default())
    }
}

/// What a statement of the wanted schema created.
enum Made {
    /// Kind and name.
    Object(String, String),
    Nothing,
    /// A setting that is not part of the schema.
    Setting,
    /// A virtual table that cannot be created here: its name, and SQLite's message.
    AppVirtual(String, String),
}

/// Runs a statement of the wanted schema.
fn made(conn: &Connection, statement: &Statement) -> Result<Made> {
    let all = tokens(&statement.sql)?;
    let word = |at: usize| {
        all.get(at).map_or(String::new(), |token| {
            token.text(&statement.sql).to_ascii_uppercase()
        })
    };
    // Statements at the beginning and end of dumps and schema files.
    let ignored = ["PRAGMA", "BEGIN", "COMMIT", "ANALYZE"];
    if ignored.contains(&word(0).as_str()) {
        let is = |names: [&str; 2]| (0..all.len()).any(|at| names.contains(&word(at).as_str()));
        return Ok(
            match is(["USER_VERSION", "APPLICATION_ID"]) && is(["=", "("]) {
                true => Made::Setting,
                false => Made::Nothing,
            },
        );
    }
    if word(0) != "CREATE" || word(1).starts_with("TEMP") {
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
        // `.schema` prints SQLite's own tables too.
        Err(error) if error.to_string().contains("reserved for internal use") => {
            return Ok(Made::Nothing);
        }
        Err(error) if word(1) == "VIRTUAL" && is_no_module(&error) => {
            let (name, _) = named(&statement.sql);
            return Ok(Made::AppVirtual(name, error.to_string()));
        }
        run => run.map_err(wanted)?,
    }
    // The first is the object itself; shadow tables and automatic indexes follow. None if
    // it existed (`IF NOT EXISTS`).
    let made = conn.query_row(
        "SELECT type, name, sql FROM main.sqlite_schema WHERE rowid > ?1 AND name NOT LIKE 'sqlite~_%' ESCAPE '~'
         ORDER BY type <> 'table' OR sql NOT LIKE 'CREATE VIRTUAL%', type = 'index', rowid LIMIT 1",
        [before],
        |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?)),
    );
    match made {
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(Made::Nothing),
        Err(source) => Err(wanted(source)),
        Ok((_, table, sql)) if word(1) == "TABLE" && named(&statement.sql).1 => {
            Err(Error::AsSelect {
                line: statement.line,
                table,
                sql,
            })
        }
        Ok((kind, name, _)) => Ok(Made::Object(kind, name)),
    }
}

/// Whether the module is missing here.
pub(super) fn is_no_module(error: &rusqlite::Error) -> bool {
    error.to_string().contains("no such module")
}

/// The name a `CREATE … TABLE` gives, and whether `AS` follows it.
fn named(sql: &str) -> (String, bool) {
    let all = tokens(sql).unwrap_or_default();
    let mut cursor = Cursor::new(sql, &all);
    while cursor.peek().is_some() && cursor.take(T::TK_TABLE).is_none() {
        cursor.next();
    }
    if cursor.take(T::TK_IF).is_some() {
        cursor.at += 2;
    }
    if cursor.kind_by(1) == Some(T::TK_DOT) {
        cursor.at += 2;
    }
    let name = cursor.want_name("the name of a table");
    let is_select = cursor.kind() == Some(T::TK_AS);
    (name.map_or(String::new(), |(_, name)| name), is_select)
}
