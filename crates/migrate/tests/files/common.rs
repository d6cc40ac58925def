//! What all of these need.

#![allow(dead_code)]

use monolite_migrate::files::{Done, Error, Migrations, Options, up};
use rusqlite::Connection;

pub(crate) const NOW_MS: i64 = 1_763_735_405_250;

/// Files of these texts: `0001_a.sql`, `0002_a.sql`, …
pub(crate) fn files(texts: &[&str]) -> Migrations {
    let named: Vec<(String, &str)> = (1..)
        .zip(texts)
        .map(|(number, text)| (format!("{number:04}_a.sql"), *text))
        .collect();
    Migrations::new(named.iter().map(|(name, text)| (name.as_str(), *text))).unwrap()
}

pub(crate) fn apply(db: &Connection, texts: &[&str]) -> Result<Vec<Done>, Error> {
    up(db, &files(texts), &Options::new(NOW_MS), &mut |_| {})
}

pub(crate) fn versions(done: &[Done]) -> Vec<u32> {
    done.iter().map(|done| done.applied.version).collect()
}

/// The schema and every row, but for the times of the records.
pub(crate) fn dump(db: &Connection) -> String {
    let mut text = String::new();
    let mut objects = db
        .prepare("SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name")
        .unwrap();
    let objects = objects
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let objects: Vec<(String, String)> = objects.map(Result::unwrap).collect();
    for (name, sql) in objects {
        text += &format!("{name}: {sql}\n");
        if !sql.starts_with("CREATE TABLE") {
            continue;
        }
        let columns = match name.as_str() {
            "_monolite_migration" => "version, name, checksum",
            _ => "*",
        };
        let mut rows = db
            .prepare(&format!("SELECT {columns} FROM \"{name}\" ORDER BY 1"))
            .unwrap();
        let count = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values = (0..count).map(|at| format!("{:?}", row.get_ref(at).unwrap()));
            text += &format!("  {}\n", values.collect::<Vec<_>>().join(" "));
        }
    }
    text
}

pub(crate) fn one<T: rusqlite::types::FromSql>(db: &Connection, sql: &str) -> T {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}
