//! Baseline: records files as applied in a database that has their tables already.

use rusqlite::Connection;

use super::error::{Error, Result};
use super::migrations::Migrations;
use super::record::{Applied, TABLE, applied, record};
use super::up::{Options, up};
use crate::diff::{self, diff};
use crate::schema::{Schema, Table, TableKind};
use crate::sql::{self, TableText, same_name, tokens};

/// Which files to record.
#[derive(Debug, Clone)]
pub struct BaselineOptions {
    now_ms: i64,
    up_to: Option<u32>,
    force: bool,
}

impl BaselineOptions {
    /// The defaults. `now_ms`, in milliseconds since 1970, is the time in the records.
    #[must_use]
    pub fn new(now_ms: i64) -> Self {
        Self {
            now_ms,
            up_to: None,
            force: false,
        }
    }

    /// Record the files up to this number. Default, and with `None`: all.
    #[must_use]
    pub fn up_to(mut self, version: impl Into<Option<u32>>) -> Self {
        self.up_to = version.into();
        self
    }

    /// Record them also if the database differs from what they make. Default: no.
    #[must_use]
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }
}

/// Records files as applied without running them, for a database whose tables were
/// made by other means. The files run on an empty database in memory: the result
/// must be the schema of the database, apart from spelling.
///
/// # Errors
/// There are records already, no such file, or the database differs from what
/// the files make ([`Error::Differs`]). Nothing is recorded then.
pub fn baseline(
    conn: &Connection,
    migrations: &Migrations,
    options: &BaselineOptions,
) -> Result<Vec<Applied>> {
    let newest = migrations.newest();
    let to = options.up_to.unwrap_or(newest);
    let Some(last) = migrations.get(to) else {
        return Err(Error::NoSuch {
            version: to,
            newest,
        });
    };
    migrations.check()?;
    if !conn.is_autocommit() {
        return Err(Error::InTransaction);
    }
    let made = Connection::open_in_memory().map_err(Error::sqlite("open a database in memory"))?;
    let all_to = Options::new(options.now_ms).up_to(to);
    let differences = match up(&made, migrations, &all_to, &mut |_| {}) {
        Ok(_) => differences(conn, &made)?,
        // A file may need rows to run.
        Err(error) => vec![format!(
            "they cannot be tried on an empty database: {error}"
        )],
    };
    if !differences.is_empty() && !options.force {
        let file = last.file_name();
        return Err(Error::Differs { file, differences });
    }
    let recording = Error::sqlite("record the baseline");
    conn.execute_batch("BEGIN IMMEDIATE").map_err(&recording)?;
    let result = all(conn, migrations, to, options.now_ms).and_then(|all| {
        conn.execute_batch("COMMIT").map_err(&recording)?;
        Ok(all)
    });
    if result.is_err() {
        // It fails only where SQLite has rolled back itself.
        let _ = conn.execute_batch("ROLLBACK");
    }
    result
}

fn all(conn: &Connection, migrations: &Migrations, to: u32, now_ms: i64) -> Result<Vec<Applied>> {
    if let Some(newest) = applied(conn)?.pop() {
        return Err(Error::HasRecords { name: newest.name });
    }
    let files = migrations.files().iter();
    files
        .take_while(|file| file.version() <= to)
        .map(|file| record(conn, file, now_ms, None))
        .collect()
}

/// How `live` differs from `made`, in words: missing and extra objects; if there are
/// none, what a migration from one to the other would change.
fn differences(live: &Connection, made: &Connection) -> Result<Vec<String>> {
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

/// Each column, index, trigger and view, in words.
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

/// Most differences that an error lists; the rest is counted.
const SHOWN_MAX: usize = 8;

fn shown(mut all: Vec<String>) -> Vec<String> {
    let more = all.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        all.truncate(SHOWN_MAX);
        all.push(format!("and {more} more"));
    }
    all
}

fn missing_or_extra(live: &[String], made: &[String]) -> Vec<String> {
    let missing = made.iter().filter(|one| !live.contains(one));
    let extra = live.iter().filter(|one| !made.contains(one));
    let missing = missing.map(|one| format!("{one} is missing"));
    missing
        .chain(extra.map(|one| format!("{one} is not from the migrations")))
        .collect()
}

/// A schema as the text of a file, without comments, which `diff` would take as
/// instructions.
fn text(schema: &Schema) -> String {
    let is_ours =
        |table: &&Table| table.kind != TableKind::Shadow && !table.name.starts_with("_monolite_");
    let tables = schema.tables.iter().filter(is_ours).map(|one| &one.sql);
    let indexes = schema.indexes.iter().filter_map(|one| one.sql.as_ref());
    let views = schema.views.iter().map(|one| &one.sql);
    let triggers = schema.triggers.iter().map(|one| &one.sql);
    let all = tables.chain(indexes).chain(views).chain(triggers);
    all.map(|sql| token_texts(sql).join(" ") + ";\n").collect()
}

fn token_texts(sql: &str) -> Vec<&str> {
    match tokens(sql) {
        Ok(all) => all.iter().map(|token| token.text(sql)).collect(),
        Err(_) => vec![sql],
    }
}

fn tables(is: &Schema, should: &Schema) -> Vec<String> {
    let mut all = Vec::new();
    for made in &should.tables {
        let Some(live) = is.table(&made.name) else {
            continue;
        };
        if sql::words(&made.sql) == sql::words(&live.sql) {
            continue;
        }
        let name = &made.name;
        let (Ok(made_text), Ok(live_text)) =
            (TableText::parse(&made.sql), TableText::parse(&live.sql))
        else {
            all.push(format!("the table {name} differs"));
            continue;
        };
        let has = |text: &TableText, body: &str| {
            let mut items = text.items.iter();
            items.any(|item| sql::words(&item.body) == sql::words(body))
        };
        let only = |of: &TableText, other: &TableText| -> Vec<String> {
            let items = of.items.iter().map(|item| &item.body);
            let only = items.filter(|body| !has(other, body));
            only.map(|body| token_texts(body).join(" ")).collect()
        };
        let missing = only(&made_text, &live_text);
        let extra = only(&live_text, &made_text);
        all.extend(missing.iter().map(|body| format!("{name} lacks `{body}`")));
        all.extend(
            extra
                .iter()
                .map(|body| format!("{name}'s `{body}` is not from the migrations")),
        );
        for (option, made, live) in [
            ("STRICT", made.strict, live.strict),
            ("WITHOUT ROWID", made.without_rowid, live.without_rowid),
        ] {
            match (made, live) {
                (true, false) => all.push(format!("{name} is not {option}")),
                (false, true) => all.push(format!(
                    "{name} is {option}, which is not from the migrations"
                )),
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
    let of = |schema: &Schema| -> Vec<(&'static str, String, Vec<String>)> {
        let indexes = schema.indexes.iter().filter_map(|one| {
            let sql = one.sql.as_ref()?;
            Some(("index", one.name.clone(), sql::words(sql)))
        });
        let triggers = schema.triggers.iter();
        let views = schema.views.iter();
        indexes
            .chain(triggers.map(|one| ("trigger", one.name.clone(), sql::words(&one.sql))))
            .chain(views.map(|one| ("view", one.name.clone(), sql::words(&one.sql))))
            .collect()
    };
    let live = of(is);
    let is_other = |(kind, name, sql): &(&str, String, Vec<String>)| {
        let mut same = live
            .iter()
            .filter(|one| one.0 == *kind && same_name(&one.1, name));
        same.any(|one| one.2 != *sql)
    };
    let unlike = of(should).into_iter().filter(is_other);
    unlike
        .map(|(kind, name, _)| format!("the {kind} {name} differs"))
        .collect()
}
