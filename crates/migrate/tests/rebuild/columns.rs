//! Columns: changed, renamed, computed.

use crate::corpus::{database, query};
use crate::{BLOG, refused, run, text};
use monolite_migrate::rebuild::Rebuild;

#[test]
fn everything_at_once() {
    let conn = database(BLOG);
    let definition = "posts (
  id INTEGER PRIMARY KEY,
  title TEXT NOT NULL DEFAULT '',   -- comments stay
  total INTEGER NOT NULL CHECK (total >= 0),
  user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE
) STRICT";
    let rebuilt = run(
        &conn,
        &format!(
            "REBUILD TABLE {definition}
  RENAME COLUMN name TO title
  SET title = coalesce(name, 'none'), total = coalesce(price, 0) * count
  DROP COLUMN price, DROP COLUMN count
;"
        ),
    );
    assert_eq!((rebuilt.rows, rebuilt.indexes, rebuilt.triggers), (3, 2, 1));
    assert_eq!(text(&conn, "posts"), format!("CREATE TABLE {definition}"));
    assert_eq!(
        query(&conn, "SELECT * FROM posts"),
        "Integer(1)|one|Integer(10)|Integer(1)|\nInteger(2)|none|Integer(0)|Integer(2)|\nInteger(7)|seven|Integer(1)|Integer(1)|\n"
    );
    // The new name has reached what names it.
    assert_eq!(
        text(&conn, "names"),
        "CREATE VIEW names AS SELECT id, \"title\" FROM posts"
    );
    assert_eq!(
        text(&conn, "posts_name"),
        "CREATE INDEX posts_name ON posts (\"title\") WHERE \"title\" IS NOT NULL"
    );
    conn.execute_batch("UPDATE posts SET title = 'zwei' WHERE id = 2")
        .unwrap();
    assert_eq!(query(&conn, "SELECT * FROM log"), "none to zwei|\n");
}

#[test]
fn columns_are_changed_in_the_present_text() {
    let conn = database(
        "CREATE TABLE t ( -- head\n  a INT, -- is a\n  b TEXT /* b */ DEFAULT 'x' CHECK (b <> '),('), -- is b\n  c TEXT -- is c\n); INSERT INTO t VALUES (1, 'y', NULL)",
    );
    Rebuild::table("t")
        .column("A", |a| a.type_("INTEGER").not_null(true).check("a > 0"))
        .column("b", |b| b.default("''").collate("NOCASE").no_check())
        .strict(true)
        .foreign_key("FOREIGN KEY (c) REFERENCES t (b)")
        .add_column("d INT REFERENCES t (a)")
        .column("c", |c| c.default("NULL"))
        .run(&conn)
        .unwrap_err();
    // Nothing is unique there; with it, it goes.
    Rebuild::table("t")
        .column("A", |a| a.type_("INTEGER").not_null(true).check("a > 0"))
        .column("b", |b| b.default("''").collate("NOCASE").no_check())
        .strict(true)
        .add_column("d INT REFERENCES t2")
        .run(&conn)
        .unwrap();
    assert_eq!(
        text(&conn, "t"),
        "CREATE TABLE t ( -- head\n  a INTEGER NOT NULL CHECK (a > 0), -- is a\n  b TEXT /* b */ DEFAULT '' COLLATE NOCASE, -- is b\n  c TEXT, -- is c\n  d INT REFERENCES t2\n) STRICT"
    );
    Rebuild::table("t")
        .drop_foreign_key(&["d"])
        .column("a", |a| a.not_null(false))
        .strict(false)
        .drop("c")
        .run(&conn)
        .unwrap();
    assert_eq!(
        text(&conn, "t"),
        "CREATE TABLE t ( -- head\n  a INTEGER CHECK (a > 0), -- is a\n  b TEXT /* b */ DEFAULT '' COLLATE NOCASE, -- is b\n  d INT\n)"
    );
    assert_eq!(query(&conn, "SELECT * FROM t"), "Integer(1)|y|Null|\n");
}

#[test]
fn names_can_be_swapped() {
    let conn = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT); INSERT INTO t VALUES (1, 'a', 'b', 'c'); CREATE VIEW v AS SELECT a AS x, b AS y FROM t; CREATE INDEX i ON t (a, b)",
    );
    run(
        &conn,
        "REBUILD TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c TEXT) RENAME COLUMN a TO b RENAME COLUMN b TO a",
    );
    assert_eq!(query(&conn, "SELECT * FROM t"), "Integer(1)|b|a|c|\n");
    assert_eq!(query(&conn, "SELECT * FROM v"), "a|b|\n");
    assert_eq!(text(&conn, "i"), "CREATE INDEX i ON t (\"b\", \"a\")");
    // In a ring, and one that falls out.
    run(
        &conn,
        "REBUILD TABLE t (id INTEGER PRIMARY KEY, b TEXT, c TEXT, a TEXT) RENAME COLUMN a TO b RENAME COLUMN b TO c RENAME COLUMN c TO a",
    );
    assert_eq!(query(&conn, "SELECT a, b, c FROM t"), "c|b|a|\n");
    run(
        &conn,
        "REBUILD TABLE t (id INTEGER PRIMARY KEY, b TEXT, c TEXT) RENAME COLUMN b TO c, RENAME COLUMN c TO b DROP COLUMN a",
    );
    assert_eq!(query(&conn, "SELECT b, c FROM t"), "a|b|\n");
}

#[test]
fn generated_columns_come_and_go() {
    let conn = database(
        "CREATE TABLE t (a INT, b INT AS (a * 2)); INSERT INTO t (a) VALUES (1), (2); CREATE INDEX i ON t (b)",
    );
    run(&conn, "REBUILD TABLE t (a INT, b INT)");
    assert_eq!(
        query(&conn, "SELECT * FROM t"),
        "Integer(1)|Integer(2)|\nInteger(2)|Integer(4)|\n"
    );
    conn.execute_batch("UPDATE t SET b = 50 WHERE a = 1")
        .unwrap();
    let said = refused(
        &conn,
        Rebuild::parse("REBUILD TABLE t (a INT, b INT AS (a * 3))"),
    );
    assert!(said.contains("DROP COLUMN b"), "{said}");
    run(
        &conn,
        "REBUILD TABLE t (a INT, b INT AS (a * 3) STORED) DROP COLUMN b",
    );
    assert_eq!(
        query(&conn, "SELECT b FROM t INDEXED BY i ORDER BY b"),
        "Integer(3)|\nInteger(6)|\n"
    );
    let said = refused(
        &conn,
        Rebuild::parse("REBUILD TABLE t (a INT, b INT AS (a * 3)) SET b = 1"),
    );
    assert!(said.contains("generated"), "{said}");
}

#[test]
fn expressions_see_the_table_as_it_was() {
    let conn = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, boss INT); INSERT INTO t VALUES (1, 'ann', NULL), (2, 'bob', 1), (3, 'cy', 1); CREATE VIEW v AS SELECT * FROM t; CREATE TABLE other (id INT, x TEXT); INSERT INTO other VALUES (2, 'two')",
    );
    run(
        &conn,
        "REBUILD TABLE t (id INTEGER PRIMARY KEY, title TEXT, boss INT, n INT, of TEXT, x TEXT, r INT)
         RENAME COLUMN name TO title
         SET title = upper(name),
             n = (SELECT count(*) FROM t AS o WHERE o.boss = t.id),
             of = (SELECT name FROM t o WHERE o.id = t.boss),
             x = (SELECT x FROM other WHERE other.id = t.id), -- a comment
             r = t.rowid + _rowid_ + oid",
    );
    assert_eq!(
        query(&conn, "SELECT title, n, of, x, r FROM t"),
        "ANN|Integer(2)|Null|Null|Integer(3)|\nBOB|Integer(0)|ann|two|Integer(6)|\nCY|Integer(0)|ann|Null|Integer(9)|\n"
    );
    for set in [
        "SELECT max(id) FROM v",
        "SELECT max(id) FROM main.t",
        "SELECT max(id) FROM main.v",
    ] {
        let sql = format!(
            "REBUILD TABLE t (id INTEGER PRIMARY KEY, title TEXT, n INT) SET n = ({set}) DROP COLUMN boss DROP COLUMN of DROP COLUMN x DROP COLUMN r"
        );
        // Views see all columns too.
        conn.execute_batch("DROP VIEW v; CREATE VIEW v AS SELECT id FROM t")
            .unwrap();
        let said = refused(&conn, Rebuild::parse(&sql));
        assert!(said.contains("would not see its rows"), "{said}");
    }
}
