//! From each schema of the corpus to each other one.

use monolite_migrate::diff::{Error, Options, diff};
use rusqlite::Connection;

use crate::common::{apply, columns, ddl, facts, way};
use crate::corpus::{self, SCHEMAS, database};

#[test]
fn nothing_to_do() {
    corpus::each(|_, sql| {
        let conn = database(sql);
        let found = diff(&conn, &ddl(sql), &Options::default()).unwrap();
        assert_eq!((found.sql.as_str(), found.notes.len()), ("", 0));
    });
}

#[test]
fn from_nothing_and_to_nothing() {
    corpus::each(|name, sql| {
        let wanted = ddl(sql);
        let written = way("", &wanted, &[]);
        assert!(!written.contains("REBUILD"), "{name}");
        let conn = database(sql);
        let nothing = "CREATE TABLE nothing_else (a);";
        let kept = match diff(&conn, nothing, &Options::default()) {
            // A table stays, and one of its triggers needs a view that does not.
            Err(Error::Breaks { .. }) if name == "views over views" => return,
            kept => kept.unwrap(),
        };
        assert!(!kept.sql.contains("DROP TABLE"), "{}", kept.sql);
        let tables = corpus::tables(&conn, &["table", "virtual"]);
        let tables: Vec<&str> = tables
            .iter()
            .map(String::as_str)
            .filter(|name| !name.starts_with("sqlite_") && !name.starts_with("_monolite_"))
            .collect();
        assert_eq!(kept.notes.len(), tables.len(), "{:?}", kept.notes);
        way(
            sql,
            if name.contains("prefix") {
                "CREATE TABLE _monolite_rebuild_t (b INT);"
            } else {
                ""
            },
            &tables,
        );
    });
}

/// Every schema to every third one.
#[test]
fn from_each_to_others() {
    let empty = |ddl: &str| {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        conn.execute_batch(ddl).unwrap();
        conn
    };
    let all: Vec<(&str, String, String)> = SCHEMAS
        .iter()
        .map(|(name, sql)| (*name, ddl(sql)))
        .map(|(name, ddl)| (name, facts(&empty(&ddl)), ddl))
        .collect();
    let (mut rebuilt, mut failed) = (0, Vec::new());
    for (row, (from, _, live)) in all.iter().enumerate() {
        // Its tables would stay.
        if *from == "names with our prefix" {
            continue;
        }
        let conn = empty(live);
        // Everything may go; rows need values.
        let mut allow_drop = Vec::new();
        let tables = corpus::tables(&conn, &["table", "virtual"]).into_iter();
        for table in tables.filter(|name| !name.starts_with("sqlite_")) {
            for (column, _) in columns(&conn, &table) {
                allow_drop.push(format!("{table}.{column}"));
            }
            allow_drop.push(table);
        }
        let options = Options::new().allow_loss(allow_drop);
        for (to, should, wanted) in all.iter().skip(row % 3).step_by(3) {
            let found = match diff(&conn, wanted, &options) {
                Ok(found) => found,
                // Rows would need a value that nobody has said.
                Err(Error::NoValue { .. } | Error::OtherKind { .. }) => continue,
                Err(error) => {
                    failed.push(format!("{from} to {to}: {error}"));
                    continue;
                }
            };
            let changed = empty(live);
            apply(&changed, &found.sql);
            if facts(&changed) != *should {
                failed.push(format!("{from} to {to}: {}", found.sql));
            }
            rebuilt += usize::from(found.sql.contains("REBUILD TABLE"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(rebuilt > 100, "{rebuilt}");
}
