//! The rowids of the rows.

use crate::corpus::{database, query};
use crate::{refused, run};
use monolite_migrate::rebuild::Rebuild;

#[test]
fn a_column_that_takes_a_name_of_the_rowid_does_not_become_it() {
    for (name, other) in [("rowid", "_rowid_"), ("oid", "rowid"), ("_ROWID_", "oid")] {
        for set in ["", ", SET b = upper(b)"] {
            let conn = database(
                "CREATE TABLE t (a INT, b); INSERT INTO t (rowid, a, b) VALUES (10, 500, 'X'), (20, 600, 'Y')",
            );
            run(
                &conn,
                &format!("REBUILD TABLE t ({name} INT, b) RENAME COLUMN a TO {name}{set}"),
            );
            assert_eq!(
                query(&conn, &format!("SELECT {other}, {name}, b FROM t")),
                "Integer(10)|Integer(500)|X|\nInteger(20)|Integer(600)|Y|\n",
                "{name}{set}"
            );
        }
        let conn = database(
            "CREATE TABLE t (a INT, b); INSERT INTO t (rowid, a, b) VALUES (10, 500, 'X'), (20, 600, 'Y')",
        );
        run(
            &conn,
            &format!(
                "REBUILD TABLE t (id INTEGER PRIMARY KEY, {name} INT, b) RENAME COLUMN a TO {name}"
            ),
        );
        assert_eq!(
            query(&conn, &format!("SELECT id, {name} FROM t")),
            "Integer(10)|Integer(500)|\nInteger(20)|Integer(600)|\n"
        );
    }
}

#[test]
fn rows_whose_rowid_has_no_name_keep_it() {
    let hidden = "CREATE TABLE t (rowid TEXT, oid TEXT CHECK (oid <> ''), _rowid_ TEXT AS (oid || '!')); CREATE VIEW v AS SELECT oid FROM t; CREATE TABLE u (x); CREATE TRIGGER tr AFTER INSERT ON u BEGIN DELETE FROM t WHERE oid = 'z'; END; INSERT INTO t VALUES ('a', 'b'), ('d', 'e'), ('g', 'h'); DELETE FROM t WHERE oid = 'b'";
    for clause in ["", " SET a = rowid"] {
        let conn = database(hidden);
        run(
            &conn,
            &format!(
                "REBUILD TABLE t (a TEXT, oid TEXT, _rowid_ TEXT) RENAME COLUMN rowid TO a{clause}"
            ),
        );
        assert_eq!(
            query(&conn, "SELECT rowid, a, oid, _rowid_ FROM t"),
            "Integer(2)|d|e|e!|\nInteger(3)|g|h|h!|\n",
            "{clause}"
        );
        assert_eq!(query(&conn, "SELECT oid FROM v"), "e|\nh|\n");
    }
    let conn = database(hidden);
    run(
        &conn,
        "REBUILD TABLE t (id INTEGER PRIMARY KEY, rowid TEXT, oid TEXT, _rowid_ TEXT) SET oid = upper(oid)",
    );
    assert_eq!(
        query(&conn, "SELECT id, oid FROM t"),
        "Integer(2)|E|\nInteger(3)|H|\n"
    );
}

#[test]
fn a_definition_that_leaves_the_rowid_no_name_is_refused() {
    let conn = database("CREATE TABLE t (a, b, c); INSERT INTO t VALUES (1, 2, 3), (4, 5, 6)");
    let said = refused(
        &conn,
        Rebuild::parse(
            "REBUILD TABLE t (rowid, oid, _rowid_) RENAME COLUMN a TO rowid RENAME COLUMN b TO oid RENAME COLUMN c TO _rowid_",
        ),
    );
    assert!(said.contains("all three names of the rowid"), "{said}");
    // A key of its own is the rowid whatever the others are called.
    let conn = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, b, c, d); INSERT INTO t VALUES (7, 2, 3, 4)",
    );
    run(
        &conn,
        "REBUILD TABLE t (_rowid_ INTEGER PRIMARY KEY, rowid, oid, d TEXT) RENAME COLUMN id TO _rowid_ RENAME COLUMN b TO rowid RENAME COLUMN c TO oid",
    );
    assert_eq!(
        query(&conn, "SELECT _rowid_, rowid FROM t"),
        "Integer(7)|Integer(2)|\n"
    );
    // And one that was, and is not any more.
    run(
        &conn,
        "REBUILD TABLE t (_rowid_ INT, rowid, d TEXT) DROP COLUMN oid",
    );
    assert_eq!(
        query(&conn, "SELECT oid, _rowid_ FROM t"),
        "Integer(7)|Integer(7)|\n"
    );
}

#[test]
fn no_key_is_invented_for_null() {
    for values in [
        "(NULL, 'a'), (NULL, 'b'), (7, 'c')",
        "(NULL, 'a'), (1, 'b')",
    ] {
        let conn = database(&format!(
            "CREATE TABLE t (id INT PRIMARY KEY, v); INSERT INTO t VALUES {values}"
        ));
        let definition = "REBUILD TABLE t (id INTEGER PRIMARY KEY, v)";
        let said = refused(&conn, Rebuild::parse(definition));
        assert!(
            said.contains("no id") && said.contains("SET id = "),
            "{said}"
        );
        run(
            &conn,
            &format!("{definition} SET id = coalesce(id, rowid + 100)"),
        );
        conn.execute_batch("DELETE FROM t WHERE id > 100").unwrap();
        assert_eq!(query(&conn, "SELECT count(*) FROM t"), "Integer(1)|\n");
    }
}

#[test]
fn a_counter_follows_rows_that_get_new_rowids() {
    let conn = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t VALUES (1), (5); INSERT INTO t VALUES (9); DELETE FROM t WHERE id = 9",
    );
    let counter = "SELECT seq FROM sqlite_sequence WHERE name = 't'";
    run(
        &conn,
        "REBUILD TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT) SET id = id + 1",
    );
    assert_eq!(query(&conn, counter), "Integer(9)|\n");
    run(
        &conn,
        "REBUILD TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT) SET id = id + 1000",
    );
    assert_eq!(query(&conn, counter), "Integer(1006)|\n");
    conn.execute_batch("DELETE FROM t; INSERT INTO t VALUES (NULL)")
        .unwrap();
    assert_eq!(query(&conn, "SELECT id FROM t"), "Integer(1007)|\n");
}

#[test]
fn rowids_become_keys_and_keys_rowids() {
    let conn =
        database("CREATE TABLE t (v TEXT); INSERT INTO t (rowid, v) VALUES (5, 'a'), (9, 'b')");
    run(
        &conn,
        "REBUILD TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT)",
    );
    assert_eq!(
        query(&conn, "SELECT * FROM t"),
        "Integer(5)|a|\nInteger(9)|b|\n"
    );
    assert_eq!(
        query(&conn, "SELECT * FROM sqlite_sequence"),
        "t|Integer(9)|\n"
    );
    run(&conn, "REBUILD TABLE t (id INT, v TEXT)");
    assert_eq!(
        query(&conn, "SELECT rowid, id FROM t"),
        "Integer(5)|Integer(5)|\nInteger(9)|Integer(9)|\n"
    );
    assert_eq!(query(&conn, "SELECT * FROM sqlite_sequence"), "");
    run(
        &conn,
        "REBUILD TABLE t (id INT, v TEXT, PRIMARY KEY (v DESC)) WITHOUT ROWID",
    );
    assert_eq!(
        query(&conn, "SELECT * FROM t"),
        "Integer(9)|b|\nInteger(5)|a|\n"
    );
    run(&conn, "REBUILD TABLE t (id INTEGER PRIMARY KEY, v TEXT)");
    assert_eq!(
        query(&conn, "SELECT rowid, v FROM t"),
        "Integer(5)|a|\nInteger(9)|b|\n"
    );
}
