use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::fulltext::FullText;
use super::qualified::main_name;
use crate::schema::{Generated, Schema, Table, Trigger};
use crate::sql::{TokenType as T, quote_name, same_name, tokens};

/// Which views and triggers SQLite can compile, and which full-text indexes fit
/// what they are over; else what it says of them.
///
/// Views and triggers twice: once as SQLite does, once so that a quoted name
/// which is no column is an error and not text, for it may have been a column
/// before. Triggers are compiled with all that they fire; where that fails, each
/// alone too, for one that did not work before must not hide another.
///
/// Where one quoted name is text already, SQLite's word on the others is not
/// heard; there it is the texts in what it compiles that are compared.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    all: BTreeMap<Key, Option<String>>,
    /// Texts in what holds quoted ones, in lower case.
    texts: BTreeMap<Key, BTreeSet<String>>,
    /// Tables and their columns, in lower case.
    columns: BTreeSet<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    what: String,
    /// Where `what` says too little.
    event: &'static str,
    exact: bool,
}

/// What is asked of a full-text index.
const READ: &str = "read";
const WHOLE: &str = "whole";

/// What fires the triggers of one event.
struct Firing<'s> {
    sql: String,
    event: &'static str,
    triggers: Vec<&'s Trigger>,
}

impl Compiled {
    /// All there are; of full-text indexes those over this table or a view, or
    /// all.
    pub(crate) fn of(
        conn: &Connection,
        schema: &Schema,
        table: Option<&str>,
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
        for index in FullText::over(schema, table) {
            for (event, message) in [(READ, index.unreadable(conn)), (WHOLE, index.differs(conn))] {
                let what = format!("the full-text index {}", index.name);
                compiled.put(what, event, false, message);
            }
        }
        Ok(compiled)
    }

    /// Answers with what SQLite does not take.
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
        for table in &tables {
            for firing in firings(conn, schema, table) {
                let message = error(conn, &firing.sql);
                if message.is_some() && schema.triggers.len() > 1 {
                    for trigger in &firing.triggers {
                        let message = alone(conn, schema, trigger, &firing.sql)?;
                        let what = format!("the trigger {}", trigger.name);
                        self.put(what, firing.event, exact, message);
                    }
                }
                let what = format!("a trigger on {}", named(&firing, table));
                let key = self.put(what, firing.event, exact, message);
                failed.extend(key.map(|key| (key, firing.sql)));
            }
        }
        Ok(failed)
    }

    /// Answers with the key if there is a message.
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

    /// Without full-text indexes: nobody means one that does not fit.
    pub(crate) fn without_indexes(mut self) -> Self {
        let index = |key: &Key| [READ, WHOLE].contains(&key.event);
        self.all.retain(|key, _| !index(key));
        self
    }

    /// What worked before and does not now: what it is, and what SQLite says.
    /// What does not work in `meant` either is not looked at.
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

/// The texts that a statement is compiled with, those of triggers too.
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

fn named<'s>(firing: &Firing<'s>, table: &'s str) -> &'s str {
    firing
        .triggers
        .first()
        .map_or(table, |trigger| trigger.table.as_str())
}

fn error(conn: &Connection, sql: &str) -> Option<String> {
    conn.prepare(sql).err().map(|error| error.to_string())
}

/// Runs it while a quoted name that is nothing is an error, not text.
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

/// Statements that fire the triggers of a table or view: these are compiled with
/// them.
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
        sql,
        event,
        triggers: schema
            .triggers_of(table)
            .filter(|trigger| event_of(trigger) == Some(event))
            .collect(),
    });
    // A view that cannot be read has no columns to be updated.
    firings
        .filter(|one| !one.triggers.is_empty() && (one.event != "update" || !sets.is_empty()))
        .collect()
}

/// The first of the three words; none can be the trigger's name.
fn event_of(trigger: &Trigger) -> Option<&'static str> {
    let all = tokens(&trigger.sql).ok()?;
    all.iter().find_map(|token| match token.kind {
        T::TK_INSERT => Some("insert"),
        T::TK_DELETE => Some("delete"),
        T::TK_UPDATE => Some("update"),
        _ => None,
    })
}

/// With no other trigger on it, or on any table.
fn alone(
    conn: &Connection,
    schema: &Schema,
    trigger: &Trigger,
    sql: &str,
) -> rusqlite::Result<Option<String>> {
    conn.execute_batch("SAVEPOINT _monolite_alone")?;
    let others = schema.triggers.iter().filter(|one| {
        let beside = same_name(&one.table, &trigger.table) || schema.view(&one.table).is_none();
        beside && !same_name(&one.name, &trigger.name)
    });
    let drops: String = others
        .map(|one| format!("DROP TRIGGER {};", main_name(&one.name)))
        .collect();
    let found = conn.execute_batch(&drops).map(|()| error(conn, sql));
    conn.execute_batch("ROLLBACK TO _monolite_alone; RELEASE _monolite_alone")?;
    found
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
