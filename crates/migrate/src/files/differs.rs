//! Whether a database is what files make.

use rusqlite::Connection;

use super::error::{Error, Result};
use super::record::TABLE;
use crate::diff::{self, diff};
use crate::schema::{Schema, Table, TableKind};
use crate::sql::{TableText, TokenType, same_name, tokens, unquote_name};

/// How `live` differs from `made`, in words. Names first; if all are there,
/// whatever it would take to go from the one to the other.
pub(super) fn differences(live: &Connection, made: &Connection) -> Result<Vec<String>> {
    let reading = Error::sqlite("compare the database with what the migrations make");
    let by_name = missing_or_extra(
        &names(live).map_err(&reading)?,
        &names(made).map_err(&reading)?,
    );
    if !by_name.is_empty() {
        return Ok(shown(by_name));
    }
    let should = Schema::read(made).map_err(&reading)?;
    let way = match diff(live, &text(&should), &diff::Options::default()) {
        Ok(way) if way.is_empty() => return Ok(Vec::new()),
        Ok(way) => way.sql,
        Err(error) => return Ok(vec![format!("they cannot be compared: {error}")]),
    };
    let is = Schema::read(live).map_err(&reading)?;
    let mut all = tables(&is, &should);
    all.extend(others(&is, &should));
    if all.is_empty() {
        all.push(format!("it would take {}", super::first_words(&way)));
    }
    Ok(shown(all))
}

/// Each column, index, trigger and view, as people name them.
fn names(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut all = conn.prepare(
        "SELECT CASE s.type
                WHEN 'table' THEN 'the column ' || s.name || '.' || c.name
                     || rtrim(' ' || upper(c.type)) || iif(c.\"notnull\", ' NOT NULL', '')
                ELSE 'the ' || s.type || ' ' || s.name END
         FROM sqlite_schema s LEFT JOIN pragma_table_xinfo(s.name) c ON s.type = 'table'
         WHERE s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND s.name NOT LIKE '\\_monolite\\_%' ESCAPE '\\'
           AND s.name NOT LIKE '\\_litestream\\_%' ESCAPE '\\'
           AND s.tbl_name <> ?1
         ORDER BY 1",
    )?;
    let all = all.query_map([TABLE], |row| row.get(0))?;
    all.collect()
}

/// What is named in an error; the rest is counted.
const SHOWN: usize = 8;

fn shown(mut all: Vec<String>) -> Vec<String> {
    let more = all.len().saturating_sub(SHOWN);
    if more > 0 {
        all.truncate(SHOWN);
        all.push(format!("and {more} more"));
    }
    all
}

fn missing_or_extra(live: &[String], made: &[String]) -> Vec<String> {
    let missing = made.iter().filter(|one| !live.contains(one));
    let extra = live.iter().filter(|one| !made.contains(one));
    let missing = missing.map(|one| format!("it has not {one}"));
    missing
        .chain(extra.map(|one| format!("they do not make {one}")))
        .collect()
}

/// A schema as a file, without comments: those ask for something there.
fn text(schema: &Schema) -> String {
    let is_ours =
        |table: &&Table| table.kind != TableKind::Shadow && !table.name.starts_with("_monolite_");
    let tables = schema.tables.iter().filter(is_ours).map(|one| &one.sql);
    let indexes = schema.indexes.iter().filter_map(|one| one.sql.as_ref());
    let views = schema.views.iter().map(|one| &one.sql);
    let triggers = schema.triggers.iter().map(|one| &one.sql);
    let all = tables.chain(indexes).chain(views).chain(triggers);
    all.map(|sql| words(sql).join(" ") + ";\n").collect()
}

fn words(sql: &str) -> Vec<&str> {
    match tokens(sql) {
        Ok(all) => all.iter().map(|token| token.text(sql)).collect(),
        Err(_) => vec![sql],
    }
}

/// The same whatever the spaces, the quotes of names, and the case.
fn normal(sql: &str) -> String {
    let Ok(all) = tokens(sql) else {
        return sql.to_owned();
    };
    let words = all.iter().map(|token| match token.kind {
        TokenType::TK_STRING | TokenType::TK_BLOB => token.text(sql).to_owned(),
        _ => unquote_name(token.text(sql)).to_ascii_lowercase(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn tables(is: &Schema, should: &Schema) -> Vec<String> {
    let mut all = Vec::new();
    for made in &should.tables {
        let Some(live) = is.table(&made.name) else {
            continue;
        };
        if normal(&made.sql) == normal(&live.sql) {
            continue;
        }
        let name = &made.name;
        let (Ok(made_text), Ok(live_text)) =
            (TableText::parse(&made.sql), TableText::parse(&live.sql))
        else {
            all.push(format!("the table {name} is another one"));
            continue;
        };
        let has = |text: &TableText, body: &str| {
            let mut items = text.items.iter();
            items.any(|item| normal(&item.body) == normal(body))
        };
        let only = |of: &TableText, other: &TableText| -> Vec<String> {
            let items = of.items.iter().map(|item| &item.body);
            let only = items.filter(|body| !has(other, body));
            only.map(|body| words(body).join(" ")).collect()
        };
        let missing = only(&made_text, &live_text);
        let extra = only(&live_text, &made_text);
        all.extend(
            missing
                .iter()
                .map(|body| format!("{name} has not `{body}`")),
        );
        all.extend(
            extra
                .iter()
                .map(|body| format!("they do not make {name}'s `{body}`")),
        );
        for (option, made, live) in [
            ("STRICT", made.strict, live.strict),
            ("WITHOUT ROWID", made.without_rowid, live.without_rowid),
        ] {
            match (made, live) {
                (true, false) => all.push(format!("{name} is not {option}")),
                (false, true) => all.push(format!("they do not make {name} {option}")),
                _ => {}
            }
        }
        if missing.is_empty() && extra.is_empty() && !made_text.columns().eq(live_text.columns()) {
            all.push(format!("the columns of {name} are in another order"));
        }
    }
    all
}

/// Indexes, triggers and views.
fn others(is: &Schema, should: &Schema) -> Vec<String> {
    let of = |schema: &Schema| -> Vec<(&'static str, String, String)> {
        let indexes = schema.indexes.iter().filter_map(|one| {
            let sql = one.sql.as_ref()?;
            Some(("index", one.name.clone(), normal(sql)))
        });
        let triggers = schema.triggers.iter();
        let views = schema.views.iter();
        indexes
            .chain(triggers.map(|one| ("trigger", one.name.clone(), normal(&one.sql))))
            .chain(views.map(|one| ("view", one.name.clone(), normal(&one.sql))))
            .collect()
    };
    let live = of(is);
    let is_other = |(kind, name, sql): &(&str, String, String)| {
        let mut same = live
            .iter()
            .filter(|one| one.0 == *kind && same_name(&one.1, name));
        same.any(|one| one.2 != *sql)
    };
    let unlike = of(should).into_iter().filter(is_other);
    unlike
        .map(|(kind, name, _)| format!("the {kind} {name} is another one"))
        .collect()
}
