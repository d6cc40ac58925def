//! Renames that comments give.

use monolite_migrate::diff::{Error, Options, diff};

use crate::common::{apply, way};
use crate::corpus::{database, query};

#[test]
fn renames_follow_each_other() {
    let live =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, b INT, c INT); INSERT INTO t VALUES (1, 2, 3);";
    for wanted in [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, -- was: b\n b INT -- was: c\n);",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, b INT, -- was: c\n a INT -- was: b\n);",
    ] {
        let conn = database(live);
        let found = diff(&conn, wanted, &Options::default()).unwrap();
        apply(&conn, &found.sql);
        assert_eq!(
            query(&conn, "SELECT a, b FROM t"),
            "Integer(2)|Integer(3)|\n",
            "{}",
            found.sql
        );
        assert_eq!(diff(&conn, wanted, &Options::default()).unwrap().sql, "");
    }
    let conn = database(
        "CREATE TABLE x (a INT); CREATE TABLE y (a TEXT); INSERT INTO x VALUES (1); INSERT INTO y VALUES ('z')",
    );
    let wanted = "-- was: y\nCREATE TABLE x (a TEXT);\n-- was: x\nCREATE TABLE w (a INT);\nCREATE TABLE y (n INT);";
    let found = diff(&conn, wanted, &Options::default()).unwrap();
    apply(&conn, &found.sql);
    assert_eq!(query(&conn, "SELECT w.a, x.a FROM w, x"), "Integer(1)|z|\n");
    assert_eq!(diff(&conn, wanted, &Options::default()).unwrap().sql, "");
}

#[test]
fn a_new_column_under_an_old_name_has_its_own_values() {
    let conn =
        database("CREATE TABLE t (id INTEGER PRIMARY KEY, y INT); INSERT INTO t VALUES (1, 7)");
    let wanted =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x INT, -- was: y\n y INT -- set: x * 2\n);";
    let found = diff(&conn, wanted, &Options::default()).unwrap();
    apply(&conn, &found.sql);
    assert_eq!(
        query(&conn, "SELECT x, y FROM t"),
        "Integer(7)|Integer(14)|\n",
        "{}",
        found.sql
    );
    assert_eq!(diff(&conn, wanted, &Options::default()).unwrap().sql, "");
    // And one that may not be NULL needs some.
    let conn = database("CREATE TABLE t (id INTEGER PRIMARY KEY, y INT)");
    let none = wanted.replace("y INT -- set: x * 2", "y INT NOT NULL");
    let said = diff(&conn, &none, &Options::default()).unwrap_err();
    assert!(matches!(said, Error::NoValue { .. }), "{said}");
}

#[test]
fn a_former_name_that_is_there_takes_the_place_of_the_new_one() {
    let live = "CREATE TABLE t (id INTEGER PRIMARY KEY, title text, title_new text);";
    let wanted = "CREATE TABLE t (id INTEGER PRIMARY KEY, title text -- was: title_new\n);";
    let said = diff(&database(live), wanted, &Options::default()).unwrap_err();
    assert!(
        said.to_string()
            .contains("--allow-loss column:t.title if the values"),
        "{said}"
    );
    assert_eq!(
        way(live, wanted, &["t.title"]),
        "-- monolite: allow column:t.title: as the schema file says\nALTER TABLE t DROP COLUMN title;\nALTER TABLE t RENAME COLUMN title_new TO title;"
    );
    // Said, and left as it is.
    assert_eq!(
        way(live, wanted, &["t.title_new"]),
        "-- monolite: allow column:t.title_new: as the schema file says\nALTER TABLE t DROP COLUMN title_new;"
    );
}

#[test]
fn two_names_that_were_each_other_are_mentioned() {
    let conn = database("CREATE TABLE t (a, b);");
    let swap = "CREATE TABLE t (a, -- was: b\n b -- was: a\n);";
    let found = diff(&conn, swap, &Options::default()).unwrap();
    assert_eq!((found.sql.as_str(), found.notes.len()), ("", 1));
    assert!(
        found.notes[0].contains("RENAME COLUMN a TO b"),
        "{:?}",
        found.notes
    );
}
