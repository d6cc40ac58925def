use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::firing::{alone, error, firings, named};
use super::fulltext::FullText;
use super::qualified::main_name;
use crate::schema::{Schema, Table, Trigger};

/// Which views and triggers SQLite can compile, and which full-text indexes fit
/// what they are over; else what it says of them.
///
/// Views and triggers twice: once as SQLite does, once so that a quoted name
/// which is no column is an error and not text, for it may have been a column
/// before. Triggers are compiled with all that they fire; where that fails, each
/// alone too, for one that did not work before must not hide another; where it
/// does not, each works.
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

/// What a change is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) table: &'a str,
    /// May its values change, or its rowids?
    pub(super) values: bool,
}

/// What is asked of a full-text index.
const READ: &str = "read";
const WHOLE: &str = "whole";

impl Compiled {
    /// All there are.
    pub(crate) fn all(conn: &Connection, schema: &Schema) -> rusqlite::Result<Self> {
        Self::of(conn, schema, None)
    }

    /// All there are; of full-text indexes those that the change is about, and
    /// whether they are of these very rows only if that can change: all of them
    /// are read for it.
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

    /// Of what does not work: that which these answer with yes, by what it is and
    /// what SQLite says of it.
    pub(crate) fn failing_where(mut self, which: impl Fn(&str, &str) -> bool) -> Self {
        self.all.retain(|key, message| {
            let message = message.as_deref();
            message.is_none_or(|message| which(&key.what, message))
        });
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
