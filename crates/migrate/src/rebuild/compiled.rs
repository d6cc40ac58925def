//! Which views, triggers and full-text indexes work, before and after a change.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::fulltext::FullText;
use super::move_aside::main_name;
use crate::schema::{Generated, Schema, Table, Trigger};
use crate::sql::{TokenType as T, quote_name, tokens};

/// Which views and triggers SQLite can compile, and which full-text indexes fit their
/// content tables; for the others, SQLite's message.
///
/// Views and triggers are compiled twice: once as SQLite does by default, and once so
/// that a name in double quotes that is no column is an error instead of text, as it
/// may have been a column before. Triggers are compiled with all that they fire; where
/// that fails, each also alone, so that one that failed before hides no other.
///
/// Where a statement has a text in double quotes already, the second compilation
/// always fails; there the texts in the compiled statements are compared.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    all: BTreeMap<Key, Option<String>>,
    /// Texts of statements with texts in double quotes, in lower case.
    texts: BTreeMap<Key, BTreeSet<String>>,
    /// Tables and their columns, in lower case.
    columns: BTreeSet<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    what: String,
    /// The event of a trigger, or the check of a full-text index; else empty.
    event: &'static str,
    exact: bool,
}

/// The change that is checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) table: &'a str,
    /// Whether values or rowids may change.
    pub(super) values: bool,
}

/// Checks of a full-text index: it can be read; it has exactly the table's rows.
const READ: &str = "read";
const WHOLE: &str = "whole";

impl Compiled {
    /// Everything in the schema.
    pub(crate) fn all(conn: &Connection, schema: &Schema) -> rusqlite::Result<Self> {
        Self::of(conn, schema, None)
    }

    /// Everything in the schema; of full-text indexes those over the changed table, and
    /// their rows only if values may change, as that reads the whole table.
    pub(super) fn of(
        conn: &Connection,
        schema: &Schema,
        about: Option<About<'_>>,
    ) -> rusqlite::Result<Self> {
        let mut compiled = Self {
            columns: columns_of(schema),
            ..Self::default()
        };
        compiled.add(conn, schema, false)?;
        let failed = without_quoted_text(conn, || compiled.add(conn, schema, true))?;
        for (key, sql) in failed {
            let loose = Key {
                exact: false,
                ..key.clone()
            };
            if matches!(compiled.all.get(&loose), Some(None)) {
                compiled.texts.insert(key, texts(conn, &sql)?);
            }
        }
        for index in FullText::over(schema, about.map(|about| about.table)) {
            let what = format!("the full-text index {}", index.name);
            compiled.put(what.clone(), READ, false, index.unreadable(conn));
            if about.is_none_or(|about| about.values) {
                compiled.put(what, WHOLE, false, index.differs(conn));
            }
        }
        Ok(compiled)
    }

    /// Returns what SQLite cannot compile.
    fn add(
        &mut self,
        conn: &Connection,
        schema: &Schema,
        exact: bool,
    ) -> rusqlite::Result<Vec<(Key, String)>> {
        let mut failed = Vec::new();
        for view in &schema.views {
            let sql = format!("SELECT * FROM {}", main_name(&view.name));
            let what = format!("the view {}", view.name);
            let key = self.put(what, "", exact, error(conn, &sql));
            failed.extend(key.map(|key| (key, sql)));
        }
        let on = |trigger: &Trigger| trigger.table.to_ascii_lowercase();
        let mut tables: Vec<String> = schema.triggers.iter().map(on).collect();
        tables.sort_unstable();
        tables.dedup();
        let mut unclear = Vec::new();
        for table in &tables {
            for firing in firings(conn, schema, table) {
                let message = error(conn, &firing.sql);
                let what = format!("a trigger on {}", named(&firing, table));
                let key = self.put(what, firing.event, exact, message.clone());
                failed.extend(key.map(|key| (key, firing.sql.clone())));
                if message.is_some() && schema.triggers.len() > 1 {
                    unclear.push(firing);
                    continue;
                }
                for trigger in &firing.triggers {
                    self.put_trigger(trigger, firing.event, exact, message.clone());
                }
            }
        }
        for (trigger, event, message) in alone(conn, schema, &unclear)? {
            self.put_trigger(trigger, event, exact, message);
        }
        Ok(failed)
    }

    fn put_trigger(
        &mut self,
        trigger: &Trigger,
        event: &'static str,
        exact: bool,
        message: Option<String>,
    ) {
        let what = format!("the trigger {}", trigger.name);
        self.put(what, event, exact, message);
    }

    /// Returns the key if there is a message.
    fn put(
        &mut self,
        what: String,
        event: &'static str,
        exact: bool,
        message: Option<String>,
    ) -> Option<Key> {
        let key = Key { what, event, exact };
        let failed = message.is_some().then(|| key.clone());
        self.all.insert(key, message);
        failed
    }

    /// Without full-text indexes.
    pub(crate) fn without_indexes(mut self) -> Self {
        let index = |key: &Key| [READ, WHOLE].contains(&key.event);
        self.all.retain(|key, _| !index(key));
        self
    }

    /// Of what does not work, keeps that for which `which` is true; it gets the object
    /// and SQLite's message.
    pub(crate) fn failing_where(mut self, which: impl Fn(&str, &str) -> bool) -> Self {
        self.all.retain(|key, message| {
            let message = message.as_deref();
            message.is_none_or(|message| which(&key.what, message))
        });
        self
    }

    /// The first object that worked before and does not now, with SQLite's message. One
    /// that does not work in `meant` either is ignored.
    pub(crate) fn broken(&self, now: &Self, meant: &Self) -> Option<(String, String)> {
        let fails = now.all.iter().find_map(|(key, message)| {
            let message = message.clone()?;
            let worked = matches!(self.all.get(key), Some(None));
            let is_meant = matches!(meant.all.get(key), Some(Some(_)));
            (worked && !is_meant).then(|| (key.what.clone(), message))
        });
        fails.or_else(|| {
            let gone = |text: &&String| {
                let mut gone = self.columns.difference(&now.columns);
                gone.any(|(_, column)| column == *text)
            };
            self.texts.iter().find_map(|(key, were)| {
                let text = now.texts.get(key)?.difference(were).find(gone)?;
                Some((
                    key.what.clone(),
                    format!("\"{text}\" was a column and would be text"),
                ))
            })
        })
    }
}

fn columns_of(schema: &Schema) -> BTreeSet<(String, String)> {
    let of = |table: &Table| {
        let name = table.name.to_ascii_lowercase();
        let columns = table.columns.iter();
        let all = columns.map(|column| (name.clone(), column.name.to_ascii_lowercase()));
        all.collect::<Vec<_>>()
    };
    schema.tables.iter().flat_map(of).collect()
}

/// The texts in a compiled statement and the triggers it fires.
fn texts(conn: &Connection, sql: &str) -> rusqlite::Result<BTreeSet<String>> {
    let mut explained = conn.prepare(&format!("EXPLAIN {sql}"))?;
    let mut rows = explained.query([])?;
    let mut texts = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let opcode: String = row.get("opcode")?;
        if opcode.starts_with("String")
            && let Ok(text) = row.get::<_, String>("p4")
        {
            texts.insert(text.to_ascii_lowercase());
        }
    }
    Ok(texts)
}

/// Runs `job` while an unknown name in double quotes is an error instead of text.
pub(super) fn without_quoted_text<R>(
    conn: &Connection,
    job: impl FnOnce() -> rusqlite::Result<R>,
) -> rusqlite::Result<R> {
    let settings = [
        DbConfig::SQLITE_DBCONFIG_DQS_DML,
        DbConfig::SQLITE_DBCONFIG_DQS_DDL,
    ];
    let mut were = Vec::new();
    for setting in settings {
        were.push((setting, conn.db_config(setting)?));
        conn.set_db_config(setting, false)?;
    }
    let done = job();
    for (setting, was) in were {
        conn.set_db_config(setting, was)?;
    }
    done
}

/// A statement that fires the triggers of one event.
struct Firing<'s> {
    table: &'s str,
    sql: String,
    event: &'static str,
    triggers: Vec<&'s Trigger>,
}

fn named<'s>(firing: &Firing<'s>, table: &'s str) -> &'s str {
    firing
        .triggers
        .first()
        .map_or(table, |trigger| trigger.table.as_str())
}

fn error(conn: &Connection, sql: &str) -> Option<String> {
    conn.prepare(sql).err().map(|error| error.to_string())
}

/// Statements that fire the triggers of a table or view; compiling one compiles these
/// triggers.
fn firings<'s>(conn: &Connection, schema: &'s Schema, table: &'s str) -> Vec<Firing<'s>> {
    let name = main_name(table);
    let sets: Vec<String> = columns(conn, schema, table)
        .iter()
        .map(|column| format!("{0} = {0}", quote_name(column)))
        .collect();
    let all = [
        ("insert", format!("INSERT INTO {name} DEFAULT VALUES")),
        ("delete", format!("DELETE FROM {name}")),
        ("update", format!("UPDATE {name} SET {}", sets.join(", "))),
    ];
    let firings = all.into_iter().map(|(event, sql)| Firing {
        table,
        sql,
        event,
        triggers: schema
            .triggers_of(table)
            .filter(|trigger| event_of(trigger) == Some(event))
            .collect(),
    });
    // A view that does not compile has no columns to update.
    firings
        .filter(|one| !one.triggers.is_empty() && (one.event != "update" || !sets.is_empty()))
        .collect()
}

/// The first of the three keywords: none can be a trigger's unquoted name.
fn event_of(trigger: &Trigger) -> Option<&'static str> {
    let all = tokens(&trigger.sql).ok()?;
    all.iter().find_map(|token| match token.kind {
        T::TK_INSERT => Some("insert"),
        T::TK_DELETE => Some("delete"),
        T::TK_UPDATE => Some("update"),
        _ => None,
    })
}

/// Compiles each trigger with no other on its view or on any table.
///
/// All are dropped once, and each is created for its own check: dropping all others
/// for each one would take time quadratic in their number.
fn alone<'s>(
    conn: &Connection,
    schema: &'s Schema,
    all: &[Firing<'s>],
) -> rusqlite::Result<Vec<(&'s Trigger, &'static str, Option<String>)>> {
    if all.is_empty() {
        return Ok(Vec::new());
    }
    conn.execute_batch("SAVEPOINT _monolite_alone")?;
    let job = || {
        for trigger in &schema.triggers {
            if schema.view(&trigger.table).is_none() {
                drop_trigger(conn, trigger)?;
            }
        }
        let mut found = Vec::new();
        for firing in all {
            let on_view = schema.view(firing.table).is_some();
            for trigger in firing.triggers.iter().filter(|_| on_view) {
                drop_trigger(conn, trigger)?;
            }
            for &trigger in &firing.triggers {
                let message = match create(conn, trigger) {
                    Err(error) => Some(error.to_string()),
                    Ok(()) => {
                        let message = error(conn, &firing.sql);
                        drop_trigger(conn, trigger)?;
                        message
                    }
                };
                found.push((trigger, firing.event, message));
            }
            // Statements that write to the view need them.
            for trigger in firing.triggers.iter().filter(|_| on_view) {
                create(conn, trigger)?;
            }
        }
        Ok(found)
    };
    let found = job();
    conn.execute_batch("ROLLBACK TO _monolite_alone; RELEASE _monolite_alone")?;
    found
}

fn drop_trigger(conn: &Connection, trigger: &Trigger) -> rusqlite::Result<()> {
    conn.execute_batch(&format!("DROP TRIGGER {}", main_name(&trigger.name)))
}

/// Creates it in `main`: its text names no schema, and a temporary table may have the
/// name of its table.
fn create(conn: &Connection, trigger: &Trigger) -> rusqlite::Result<()> {
    let mut text = trigger.sql.clone();
    let all = tokens(&text).unwrap_or_default();
    if let Some(word) = all.iter().find(|token| token.kind == T::TK_TRIGGER) {
        text.replace_range(word.end..word.end, " main.");
    }
    conn.execute_batch(&text)
}

fn columns(conn: &Connection, schema: &Schema, name: &str) -> Vec<String> {
    if let Some(table) = schema.table(name) {
        let own = table
            .columns
            .iter()
            .filter(|one| one.generated == Generated::No);
        return own.map(|column| column.name.clone()).collect();
    }
    let view = conn.prepare(&format!("SELECT * FROM {}", main_name(name)));
    view.map_or(Vec::new(), |view| {
        view.column_names().into_iter().map(str::to_owned).collect()
    })
}
