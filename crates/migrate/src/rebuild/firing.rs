use rusqlite::Connection;

use super::qualified::main_name;
use crate::schema::{Generated, Schema, Trigger};
use crate::sql::{TokenType as T, quote_name, tokens};

/// What fires the triggers of one event.
pub(super) struct Firing<'s> {
    table: &'s str,
    pub(super) sql: String,
    pub(super) event: &'static str,
    pub(super) triggers: Vec<&'s Trigger>,
}

pub(super) fn named<'s>(firing: &Firing<'s>, table: &'s str) -> &'s str {
    firing
        .triggers
        .first()
        .map_or(table, |trigger| trigger.table.as_str())
}

pub(super) fn error(conn: &Connection, sql: &str) -> Option<String> {
    conn.prepare(sql).err().map(|error| error.to_string())
}

/// Statements that fire the triggers of a table or view: these are compiled with
/// them.
pub(super) fn firings<'s>(
    conn: &Connection,
    schema: &'s Schema,
    table: &'s str,
) -> Vec<Firing<'s>> {
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

/// Each with no other trigger on its view, or on any table.
///
/// All go at once, and each comes back for a moment: to drop all others for each
/// would take the square of their number.
pub(super) fn alone<'s>(
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
            // Without it, what writes to the view would not work.
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

/// By its text, which has no schema; a temporary table may hide the one it is on.
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
