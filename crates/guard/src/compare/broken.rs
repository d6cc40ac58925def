//! Views that cannot be read, and tables that cannot be written, any more: a
//! definition names what is not there. SQLite itself is asked, by preparing
//! statements that are never run.

use rusqlite::Connection;

use super::super::report::{Kind, Loss};
use super::Trouble;
use super::objects::{Both, in_name_order};
use monolite_migrate::schema::{Table, TableKind};
use monolite_migrate::sql::qualified_name;

pub(super) fn new(conn: &Connection, both: Both<'_>) -> Vec<Loss> {
    let Both {
        before,
        after,
        matches,
        ..
    } = both;
    let mut losses = Vec::new();
    for view in in_name_order(&after.views) {
        let sql = |schema| format!("SELECT * FROM {}", qualified_name(schema, &view.name));
        let worked =
            || before.view(&view.name).is_none() || refused(conn, &sql("before")).is_none();
        if let Some(why) = refused(conn, &sql("main"))
            && worked()
        {
            losses.push(Loss::new(Kind::Broken, None, Some(&view.name)).saying(why));
        }
    }
    for (was, now) in matches.pairs(before, after) {
        if now.kind != TableKind::Ordinary {
            continue;
        }
        let old = writes("before", was);
        for (new, old) in writes("main", now).iter().zip(&old) {
            if let Some(why) = refused(conn, new)
                && refused(conn, old).is_none()
            {
                losses.push(Loss::new(Kind::Broken, Some(&was.name), None).saying(why));
                break;
            }
        }
    }
    losses
}

/// Statements that need every trigger and foreign key of the table.
fn writes(schema: &str, table: &Table) -> Vec<String> {
    let name = qualified_name(schema, &table.name);
    let columns = table
        .visible_columns()
        .filter(|column| !column.is_generated());
    let sets: Vec<String> = columns
        .map(|column| monolite_migrate::sql::quote_name(&column.name))
        .map(|column| format!("{column} = {column}"))
        .collect();
    vec![
        format!("INSERT INTO {name} DEFAULT VALUES"),
        format!("UPDATE {name} SET {}", sets.join(", ")),
        format!("DELETE FROM {name}"),
    ]
}

/// SQLite's words, if it does not take the statement. What only the app brings
/// along, such as functions of its own, is no fault here.
fn refused(conn: &Connection, sql: &str) -> Option<String> {
    let said = match conn.prepare(sql) {
        Ok(_) => return None,
        Err(rusqlite::Error::SqliteFailure(_, Some(said))) => said,
        Err(error) if matches!(Trouble::of(&error), Trouble::Statement) => error.to_string(),
        Err(_) => return None,
    };
    let of_the_app = [
        "no such function",
        "unknown function",
        "no such module",
        "no such collation",
        "no such tokenizer",
    ];
    let unsafe_use = said.contains("unsafe use of");
    (!of_the_app.iter().any(|what| said.contains(what)) && !unsafe_use).then_some(said)
}
