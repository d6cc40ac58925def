//! The values under a new type.

use crate::corpus::{database, query};
use crate::run;
use monolite_migrate::rebuild::Rebuild;

#[test]
fn values_do_not_change_by_a_new_type_unasked() {
    let change = |values: &str, from: &str, to: &str| {
        let conn = database(&format!(
            "CREATE TABLE t (a {from}); INSERT INTO t VALUES {values}"
        ));
        let done = Rebuild::table("t").column("a", |a| a.type_(to)).run(&conn);
        done.map(|_| query(&conn, "SELECT a FROM t"))
            .map_err(|error| error.to_string())
    };
    for (values, from, to, after) in [
        (
            "('12'), ('abc'), (''), (NULL), (x'3132'), ('-5')",
            "TEXT",
            "INTEGER",
            "Integer(12)|\nabc|\n|\nNull|\nBlob([49, 50])|\nInteger(-5)|\n",
        ),
        (
            "(12), (1.5), (9007199254740993)",
            "NUMERIC",
            "TEXT",
            "12|\n1.5|\n9007199254740993|\n",
        ),
        (
            "('1.5'), ('12')",
            "TEXT",
            "REAL",
            "Real(1.5)|\nReal(12.0)|\n",
        ),
        (
            "(1.5), (12.0), (1e300)",
            "REAL",
            "NUMERIC",
            "Real(1.5)|\nInteger(12)|\nReal(1e300)|\n",
        ),
        (
            "(7), (9007199254740992)",
            "INT",
            "REAL",
            "Real(7.0)|\nReal(9007199254740992.0)|\n",
        ),
        ("('007')", "TEXT", "BLOB", "007|\n"),
        ("('007')", "VARCHAR(5)", "TEXT", "007|\n"),
    ] {
        assert_eq!(
            change(values, from, to).as_deref(),
            Ok(after),
            "{values} {from} to {to}"
        );
    }
    for (values, from, to, says) in [
        (
            "('007'), ('8')",
            "TEXT",
            "INTEGER",
            "1 values of a would change by its new type, for instance '007' to 7",
        ),
        ("('1.10'), ('1.20')", "TEXT", "NUMERIC", "2 values"),
        ("(' 5 ')", "TEXT", "INT", "1 values"),
        ("('12345678901234567890')", "TEXT", "INTEGER", "1 values"),
        ("('1e3')", "TEXT", "REAL", "1 values"),
        ("(9007199254740993)", "INTEGER", "REAL", "1 values"),
        ("('9007199254740993')", "TEXT", "REAL", "1 values"),
    ] {
        let said = change(values, from, to).unwrap_err();
        assert!(
            said.contains(says) && said.contains(&format!("CAST(a AS {to})")),
            "{values}: {said}"
        );
    }
    // A STRICT table, and one whose key it is, too.
    for (setup, definition, after) in [
        (
            "CREATE TABLE t (a TEXT) STRICT; INSERT INTO t VALUES ('12')",
            "(a INTEGER) STRICT",
            Ok("Integer(12)|\n"),
        ),
        (
            "CREATE TABLE t (a TEXT) STRICT; INSERT INTO t VALUES ('007')",
            "(a INTEGER) STRICT",
            Err("'007' to 7"),
        ),
        (
            "CREATE TABLE t (a ANY) STRICT; INSERT INTO t VALUES ('12')",
            "(a INTEGER) STRICT",
            Ok("Integer(12)|\n"),
        ),
        (
            "CREATE TABLE t (a TEXT PRIMARY KEY) WITHOUT ROWID; INSERT INTO t VALUES ('1'), ('01')",
            "(a INTEGER PRIMARY KEY)",
            Err("'01' to 1"),
        ),
        (
            "CREATE TABLE t (a TEXT PRIMARY KEY); INSERT INTO t VALUES ('10'), ('9')",
            "(a INTEGER PRIMARY KEY)",
            Ok("Integer(9)|\nInteger(10)|\n"),
        ),
        (
            "CREATE TABLE t (a INTEGER PRIMARY KEY); INSERT INTO t VALUES (10), (9)",
            "(a TEXT PRIMARY KEY) WITHOUT ROWID",
            Ok("10|\n9|\n"),
        ),
    ] {
        let conn = database(setup);
        let done = Rebuild::table("t").definition(definition).run(&conn);
        match after {
            Ok(after) => {
                done.unwrap();
                assert_eq!(query(&conn, "SELECT a FROM t"), after, "{setup}");
            }
            Err(says) => {
                let said = done.unwrap_err().to_string();
                assert!(said.contains(says), "{setup}: {said}");
            }
        }
    }
    let conn = database("CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('007')");
    run(
        &conn,
        "REBUILD TABLE t (a INTEGER) SET a = CAST(a AS INTEGER)",
    );
    assert_eq!(query(&conn, "SELECT a FROM t"), "Integer(7)|\n");
}

#[test]
fn an_expression_invents_no_keys() {
    let conn = database(
        "CREATE TABLE t (id INT, legacy INT, a); INSERT INTO t VALUES (1, 5, 'x'), (2, NULL, 'y')",
    );
    let said = crate::refused(
        &conn,
        Rebuild::parse(
            "REBUILD TABLE t (id INTEGER PRIMARY KEY, a) SET id = legacy DROP COLUMN legacy",
        ),
    );
    assert!(said.contains("1 row has no id"), "{said}");
    run(
        &conn,
        "REBUILD TABLE t (id INTEGER PRIMARY KEY, a)
           SET id = coalesce(legacy, (SELECT max(legacy) FROM t) + rowid) -- all
           DROP COLUMN legacy",
    );
    assert_eq!(
        query(&conn, "SELECT * FROM t"),
        "Integer(5)|x|\nInteger(7)|y|\n"
    );
}
