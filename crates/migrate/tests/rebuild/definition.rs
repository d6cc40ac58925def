//! What SQLite would make of a new definition, and nobody has meant.

use crate::corpus::{database, query};
use crate::{refused, run};
use monolite_migrate::rebuild::Rebuild;
use rusqlite::config::DbConfig;

const HEALTHY: &str = "ok|\n";

#[test]
fn a_strict_table_takes_only_what_is_of_its_types() {
    for tail in ["STRICT", "STRICT, WITHOUT ROWID"] {
        let conn = database(&format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v ANY) {tail}; INSERT INTO t VALUES (1, 'text'), (2, 5)"
        ));
        let blob = format!("REBUILD TABLE t (id INTEGER PRIMARY KEY, v BLOB) {tail}");
        let said = refused(&conn, Rebuild::parse(&blob));
        assert!(
            said.contains("cannot store TEXT value in BLOB column"),
            "{said}"
        );
        conn.execute_batch("DELETE FROM t; INSERT INTO t VALUES (3, x'00')")
            .unwrap();
        run(&conn, &blob);
        assert_eq!(query(&conn, "SELECT * FROM t"), "Integer(3)|Blob([0])|\n");
        assert_eq!(query(&conn, "PRAGMA integrity_check"), HEALTHY);
        // Of two names for one type neither is checked again.
        let any = format!("REBUILD TABLE t (id INTEGER PRIMARY KEY, v ANY) {tail}");
        run(&conn, &any);
        assert_eq!(query(&conn, "PRAGMA integrity_check"), HEALTHY);
    }
}

#[test]
fn what_is_unsound_already_does_not_go_on_unseen() {
    let conn = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, v ANY) STRICT; INSERT INTO t VALUES (1, 'text')",
    );
    conn.execute_batch(
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'ANY', 'BLOB'); PRAGMA writable_schema = RESET",
    )
    .unwrap();
    let error = Rebuild::table("t").run(&conn).unwrap_err().to_string();
    assert!(error.contains("non-BLOB value in t.v"), "{error}");
}

#[test]
fn a_dropped_column_in_quotes_does_not_become_text() {
    let setup = "CREATE TABLE t (id INTEGER PRIMARY KEY, qty INT, price INT, CHECK (\"price\" >= \"qty\")); INSERT INTO t (qty, price) VALUES (1, 2)";
    let conn = database(setup);
    for definition in [
        "(id INTEGER PRIMARY KEY, qty INT, CHECK (\"price\" >= \"qty\"))",
        "(id INTEGER PRIMARY KEY, qty INT, g AS (\"PRICE\" || \"qty\"))",
        "(id INTEGER PRIMARY KEY, qty INT CHECK (\"price\" <> ''))",
    ] {
        let said = refused(
            &conn,
            Ok(Rebuild::table("t").definition(definition).drop("price")),
        );
        assert!(
            said.contains("which is dropped") && said.contains("if text is meant"),
            "{said}"
        );
    }
    let said = refused(&conn, Ok(Rebuild::table("t").drop("price")));
    assert!(said.contains("names \"price\""), "{said}");
    // What never was a column is as SQLite has it, and so is text.
    run(
        &conn,
        "REBUILD TABLE t (id INTEGER PRIMARY KEY, qty INT CHECK (qty <> \"lit\" AND qty <> 'price'), kind TEXT DEFAULT \"price\") DROP COLUMN price",
    );
    assert_eq!(query(&conn, "SELECT kind FROM t"), "price|\n");
}

#[test]
fn text_is_no_column_of_an_index() {
    let conn = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, kind TEXT, price INT); CREATE INDEX i ON t (kind) WHERE kind = 'price'",
    );
    Rebuild::table("t").drop("price").run(&conn).unwrap();
    // But where it is all that is indexed, SQLite takes it for one.
    conn.execute_batch("CREATE INDEX j ON t ('kind')").unwrap();
    let said = refused(&conn, Ok(Rebuild::table("t").drop("kind")));
    assert!(said.contains("the index "), "{said}");
}

#[test]
fn a_table_may_name_itself() {
    for check in ["t.b > 0", "main.t.b > 0", "\"main\" . [T] . b > 0"] {
        for defensive in [false, true] {
            let conn = database(&format!(
                "CREATE TABLE t (a INT, b INT, CHECK ({check})); INSERT INTO t VALUES (1, 2)"
            ));
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, defensive)
                .unwrap();
            let before = query(&conn, "SELECT sql FROM sqlite_schema");
            Rebuild::table("t").run(&conn).unwrap();
            assert_eq!(query(&conn, "SELECT sql FROM sqlite_schema"), before);
            assert_eq!(
                conn.db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE).unwrap(),
                defensive
            );
            conn.execute_batch("INSERT INTO t VALUES (1, 0)")
                .unwrap_err();
        }
    }
}

#[test]
fn what_is_no_clause_is_said() {
    let conn = database("CREATE TABLE t (a, b)");
    for (sql, says) in [
        ("REBUILD TABLE t (a, b) SET a = 1)", "before \")\""),
        ("REBUILD TABLE t (a, b) SET a = ?1", "the parameter ?1"),
        ("REBUILD TABLE t (a, b) SET a = :x", "the parameter :x"),
    ] {
        let said = refused(&conn, Rebuild::parse(sql));
        assert!(said.contains(says), "{sql}: {said}");
    }
    run(&conn, "REBUILD TABLE \"main\".[t] (a TEXT, b)");
}

#[test]
fn what_is_not_edited_stays_as_it_is_written() {
    let text = |conn: &rusqlite::Connection| {
        let sql = "SELECT sql FROM sqlite_schema WHERE name = 't'";
        conn.query_row(sql, [], |row| row.get::<_, String>(0))
            .unwrap()
    };
    let conn = database(
        "CREATE TABLE t ( -- of all\n  x TEXT, -- an x\n  a TEXT CONSTRAINT some NOT NULL ON CONFLICT FAIL, -- an a\n  k INTEGER PRIMARY KEY\n) /* one */ STRICT /* two */, WITHOUT ROWID -- end",
    );
    Rebuild::table("t")
        .strict(false)
        .column("a", |a| a.not_null(true))
        .drop("x")
        .run(&conn)
        .unwrap();
    assert_eq!(
        text(&conn),
        "CREATE TABLE t ( -- of all\n  a TEXT CONSTRAINT some NOT NULL ON CONFLICT FAIL, -- an a\n  k INTEGER PRIMARY KEY\n) /* one */ WITHOUT ROWID -- end"
    );
    Rebuild::table("t").strict(true).run(&conn).unwrap();
    Rebuild::table("t").strict(false).run(&conn).unwrap();
    assert!(
        text(&conn).contains(") /* one */ WITHOUT ROWID"),
        "{}",
        text(&conn)
    );
}

#[test]
fn a_dropped_column_makes_way_for_a_renamed_one() {
    let conn = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT); INSERT INTO t VALUES (1, 'a', 'b'); CREATE VIEW v AS SELECT b FROM t",
    );
    let rebuild = || Rebuild::table("t").rename("a", "b").drop("b");
    let said = refused(&conn, Ok(rebuild()));
    assert!(
        said.contains("the view v") && said.contains("no such column: \"b\""),
        "{said}"
    );
    conn.execute_batch("DROP VIEW v").unwrap();
    rebuild().run(&conn).unwrap();
    assert_eq!(query(&conn, "SELECT id, b FROM t"), "Integer(1)|a|\n");
    assert_eq!(
        query(&conn, "SELECT count(*) FROM pragma_table_info('t')"),
        "Integer(2)|\n"
    );
}

#[test]
fn a_table_may_be_called_main() {
    let conn = database(
        "CREATE TABLE main (id INTEGER PRIMARY KEY, price INT, main INT,
           CHECK (main.price > 0), CHECK (main.main.price > 1), CHECK (main.main > 2));
         INSERT INTO main VALUES (1, 5, 7)",
    );
    run(
        &conn,
        "REBUILD TABLE main (id INTEGER PRIMARY KEY, price INT NOT NULL, main INT,
           CHECK (main.price > 0), CHECK (main.main.price > 1), CHECK (main.main > 2))",
    );
    assert_eq!(
        query(&conn, "SELECT * FROM main"),
        "Integer(1)|Integer(5)|Integer(7)|\n"
    );
    for wrong in ["(2, 0, 7)", "(2, 1, 7)", "(2, 5, 2)"] {
        let insert = format!("INSERT INTO main VALUES {wrong}");
        assert!(conn.execute_batch(&insert).is_err(), "{wrong}");
    }
}
