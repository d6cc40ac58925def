//! What a rebuild changes, what it keeps, and what it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod corpus;

use corpus::{database, dump, query};
use monolite_migrate::rebuild::{Error, Rebuild, Rebuilt, Step};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

const BLOG: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
    CREATE TABLE posts (
      id INTEGER PRIMARY KEY, -- the id
      user_id INTEGER NOT NULL REFERENCES users ON DELETE CASCADE,
      name TEXT,
      price INTEGER, count INTEGER NOT NULL DEFAULT 1
    );
    CREATE TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER NOT NULL REFERENCES posts ON DELETE CASCADE);
    CREATE INDEX posts_user ON posts (user_id);
    CREATE INDEX posts_name ON posts (name) WHERE name IS NOT NULL;
    CREATE VIEW names AS SELECT id, name FROM posts;
    CREATE TABLE log (what TEXT);
    CREATE TRIGGER posts_log AFTER UPDATE OF name ON posts BEGIN INSERT INTO log VALUES (old.name || ' to ' || new.name); END;
    INSERT INTO users VALUES (1, 'ann'), (2, 'bob');
    INSERT INTO posts VALUES (1, 1, 'one', 5, 2), (2, 2, NULL, NULL, 3), (7, 1, 'seven', 1, 1);
    INSERT INTO comments VALUES (1, 1), (2, 1), (3, 7);";

fn run(conn: &Connection, sql: &str) -> Rebuilt {
    let rebuilt = Rebuild::parse(sql).and_then(|rebuild| rebuild.run(conn));
    rebuilt.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Refused, with nothing changed; what is said.
#[track_caller]
fn refused(conn: &Connection, rebuild: Result<Rebuild, Error>) -> String {
    let before = (dump(conn), query(conn, "PRAGMA foreign_keys"));
    let error = rebuild.and_then(|rebuild| rebuild.run(conn)).unwrap_err();
    assert!(conn.is_autocommit());
    assert_eq!(before, (dump(conn), query(conn, "PRAGMA foreign_keys")));
    error.to_string()
}

fn text(conn: &Connection, name: &str) -> String {
    let sql = "SELECT sql FROM sqlite_schema WHERE name = ?1";
    conn.query_row(sql, [name], |row| row.get(0)).unwrap()
}

fn count(conn: &Connection, of: &str) -> i64 {
    conn.query_row(&format!("SELECT count(*) FROM {of}"), [], |row| row.get(0))
        .unwrap()
}

#[test]
fn the_children_of_cascades_stay() {
    let conn = database(BLOG);
    // The trap itself: what everybody does deletes them.
    let trap = database(BLOG);
    trap.execute_batch(
        "BEGIN; PRAGMA foreign_keys = OFF; DROP VIEW names; CREATE TABLE p2 (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
         INSERT INTO p2 SELECT id, name FROM users; DROP TABLE users; ALTER TABLE p2 RENAME TO users; COMMIT",
    )
    .unwrap();
    assert_eq!(count(&trap, "posts"), 0);
    for table in ["users", "posts", "comments"] {
        Rebuild::table(table).strict(true).run(&conn).unwrap();
    }
    assert_eq!(
        (
            count(&conn, "users"),
            count(&conn, "posts"),
            count(&conn, "comments")
        ),
        (2, 3, 3)
    );
    assert_eq!(query(&conn, "PRAGMA foreign_keys"), "Integer(1)|\n");
    conn.execute_batch("DELETE FROM users WHERE id = 1")
        .unwrap();
    assert_eq!((count(&conn, "posts"), count(&conn, "comments")), (1, 0));
}

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
fn foreign_keys_come_and_go() {
    let conn = database(
        "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (a INT, b INT); INSERT INTO p VALUES (1); INSERT INTO c VALUES (1, 1), (NULL, 5)",
    );
    let key = "FOREIGN KEY (a) REFERENCES p ON DELETE CASCADE";
    Rebuild::table("c").foreign_key(key).run(&conn).unwrap();
    assert_eq!(
        text(&conn, "c"),
        format!("CREATE TABLE c (a INT, b INT, {key})")
    );
    let said = refused(
        &conn,
        Ok(Rebuild::table("c").foreign_key("FOREIGN KEY (b) REFERENCES p")),
    );
    assert!(said.contains("1 rows of c would refer to rows that p does not have, for instance the one with rowid 2"), "{said}");
    Rebuild::table("c")
        .drop_foreign_key(&["A"])
        .run(&conn)
        .unwrap();
    assert_eq!(text(&conn, "c"), "CREATE TABLE c (a INT, b INT)");
    let said = refused(&conn, Ok(Rebuild::table("c").drop_foreign_key(&["a"])));
    assert!(said.contains("no foreign key of (a)"), "{said}");
}

#[test]
fn a_parent_that_is_not_unique_any_more_is_refused() {
    let conn = database(
        "CREATE TABLE p (k TEXT UNIQUE); CREATE TABLE c (k TEXT REFERENCES p (k)); INSERT INTO p VALUES ('a'); INSERT INTO c VALUES ('a')",
    );
    let said = refused(&conn, Ok(Rebuild::table("p").definition("(k TEXT)")));
    assert!(said.contains("foreign key mismatch"), "{said}");
    let said = refused(
        &conn,
        Rebuild::parse("REBUILD TABLE p (k TEXT UNIQUE) SET k = k || '!'"),
    );
    assert!(said.contains("1 rows of c"), "{said}");
}

#[test]
fn a_caller_may_mend_a_parent_later() {
    let conn = database(
        "CREATE TABLE p (a INT UNIQUE, b INT); CREATE TABLE c (p INT REFERENCES p (a)); INSERT INTO p VALUES (1, 2); INSERT INTO c VALUES (1)",
    );
    conn.execute_batch("PRAGMA foreign_keys = OFF; BEGIN")
        .unwrap();
    let rebuilt = run(&conn, "REBUILD TABLE p (a INT, b INT UNIQUE)");
    assert_eq!(rebuilt.mismatches.len(), 1);
    let rebuilt = run(
        &conn,
        "REBUILD TABLE c (p INT REFERENCES p (b)) SET p = (SELECT b FROM p AS parent WHERE a = c.p)",
    );
    assert!(rebuilt.mismatches.is_empty());
    conn.execute_batch("COMMIT; PRAGMA foreign_keys = ON")
        .unwrap();
    assert_eq!(query(&conn, "SELECT p FROM c"), "Integer(2)|\n");
    assert_eq!(query(&conn, "PRAGMA foreign_key_check"), "");
}

#[test]
fn orphans_of_before_are_no_reason_to_fail_and_new_ones_are() {
    let conn = database(
        "PRAGMA foreign_keys = OFF; CREATE TABLE p (id INTEGER PRIMARY KEY, n); CREATE TABLE c (p INT REFERENCES p); INSERT INTO p VALUES (1, 1), (2, 2); INSERT INTO c VALUES (1), (99); PRAGMA foreign_keys = ON",
    );
    Rebuild::table("p").strict(false).run(&conn).unwrap();
    Rebuild::table("c").run(&conn).unwrap();
    let said = refused(
        &conn,
        Rebuild::parse("REBUILD TABLE p (id INTEGER PRIMARY KEY, n) SET id = iif(id = 1, 99, id)"),
    );
    // One is mended by it, another one is made: not the same.
    assert!(
        said.contains("1 rows of c") && said.contains("rowid 1"),
        "{said}"
    );
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
fn what_is_not_named_is_refused() {
    let conn = database(BLOG);
    for (sql, says) in [
        (
            "REBUILD TABLE posts (id INTEGER PRIMARY KEY, user_id INT)",
            "name, price, count are in the table",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, name TEXT, mail TEXT NOT NULL)",
            "mail is new",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, name TEXT) DROP COLUMN zilch",
            "no column zilch",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, name TEXT) RENAME COLUMN zilch TO name",
            "no column zilch",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, name TEXT) DROP COLUMN name",
            "name is dropped",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY) RENAME COLUMN name TO title",
            "title is not in",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY) SET title = 1",
            "title is not in",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, a, b) RENAME COLUMN name TO a RENAME COLUMN name TO b",
            "renamed",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, a, b) RENAME COLUMN name TO a DROP COLUMN name",
            "renamed and dropped",
        ),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, name) SET name = 1, name = 2",
            "SET twice",
        ),
        (
            "REBUILD TABLE posts (id INTEGER PRIMARY KEY, user_id INT, price, count) DROP COLUMN name",
            "index posts_name",
        ),
        ("REBUILD TABLE zilch (a)", "no such table"),
        ("REBUILD TABLE names (a)", "a view"),
        ("REBUILD TABLE sqlite_schema (a)", "SQLite's own"),
        ("REBUILD TABLE posts", "( is expected"),
        (
            "REBUILD TABLE posts (a) RENAME name TO a",
            "COLUMN is expected",
        ),
        ("REBUILD TABLE posts (a) SET a 1", "= is expected"),
        (
            "REBUILD TABLE posts (a) SET a =",
            "an expression is expected",
        ),
        ("REBUILD TABLE posts (a,)", "between two commas"),
        (
            "REBUILD TABLE posts (a) ENGINE = 5",
            "RENAME COLUMN, SET, DROP COLUMN",
        ),
        ("REBUILD TABLE posts (a); SELECT 1", "the end is expected"),
        ("REBUILD TABLE temp.posts (a)", "main is expected"),
        (
            "REBUILD TABLE users (id INTEGER PRIMARY KEY, name TEXT CHECK (nope > 1))",
            "nope",
        ),
    ] {
        let said = refused(&conn, Rebuild::parse(sql));
        assert!(said.contains(says), "{sql}: {said}");
    }
}

#[test]
fn rows_that_do_not_fit_are_refused_with_the_mend() {
    let conn = database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b TEXT); INSERT INTO t VALUES (1, NULL, 'x'), (2, 'word', 'x')",
    );
    for (sql, says) in [
        (
            "(id INTEGER PRIMARY KEY, a NOT NULL, b TEXT)",
            "SET a = coalesce(a, …)",
        ),
        (
            "(id INTEGER PRIMARY KEY, a CHECK (a <> 'word'), b TEXT)",
            "mend them first",
        ),
        (
            "(id INTEGER PRIMARY KEY, a INTEGER, b TEXT) STRICT",
            "cannot store TEXT value in INTEGER column t.a",
        ),
        (
            "(id INTEGER PRIMARY KEY, a, b TEXT UNIQUE)",
            "the same there",
        ),
        (
            "(id INTEGER PRIMARY KEY, a, b TEXT UNIQUE ON CONFLICT IGNORE)",
            "the same there",
        ),
        (
            "(id INTEGER PRIMARY KEY, a, b TEXT UNIQUE ON CONFLICT REPLACE)",
            "the same there",
        ),
        (
            "(id INTEGER PRIMARY KEY, a NOT NULL ON CONFLICT REPLACE DEFAULT 5, b TEXT)",
            "NOT NULL",
        ),
        (
            "(id INT, a, b TEXT, PRIMARY KEY (b)) WITHOUT ROWID",
            "the same there",
        ),
    ] {
        let said = refused(&conn, Ok(Rebuild::table("t").definition(sql)));
        assert!(said.contains(says), "{sql}: {said}");
    }
    // Also when the app has asked SQLite not to look.
    conn.execute_batch("PRAGMA ignore_check_constraints = ON")
        .unwrap();
    refused(
        &conn,
        Ok(Rebuild::table("t").column("a", |a| a.check("a <> 'word'"))),
    );
    assert_eq!(
        query(&conn, "PRAGMA ignore_check_constraints"),
        "Integer(1)|\n"
    );
}

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
    let conn = database("CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('007')");
    run(
        &conn,
        "REBUILD TABLE t (a INTEGER) SET a = CAST(a AS INTEGER)",
    );
    assert_eq!(query(&conn, "SELECT a FROM t"), "Integer(7)|\n");
}

#[test]
fn a_view_or_trigger_that_would_break_is_named() {
    let conn = database(
        "CREATE TABLE t (a INT, b INT); CREATE TABLE u (x); CREATE VIEW v AS SELECT b FROM t; INSERT INTO t VALUES (1, 2)",
    );
    let drop = || Ok(Rebuild::table("t").drop("b"));
    let said = refused(&conn, drop());
    assert!(
        said.contains("the view v would not work any more"),
        "{said}"
    );
    // SQLite would take the name for text, and say nothing.
    conn.execute_batch("DROP VIEW v; CREATE VIEW v AS SELECT \"b\" FROM t")
        .unwrap();
    let said = refused(&conn, drop());
    assert!(said.contains("the view v"), "{said}");
    conn.execute_batch("DROP VIEW v; CREATE TRIGGER tr AFTER INSERT ON u BEGIN UPDATE t SET a = 1 WHERE \"b\" = 2; END").unwrap();
    let said = refused(&conn, drop());
    assert!(said.contains("a trigger on u"), "{said}");
    conn.execute_batch(
        "DROP TRIGGER tr; CREATE TRIGGER tr AFTER UPDATE ON t BEGIN SELECT new.b; END",
    )
    .unwrap();
    let said = refused(&conn, drop());
    assert!(said.contains("a trigger on t"), "{said}");
    conn.execute_batch("DROP TRIGGER tr; CREATE INDEX i ON t (\"b\")")
        .unwrap();
    let said = refused(&conn, drop());
    assert!(said.contains("the index i"), "{said}");
    conn.execute_batch("DROP INDEX i").unwrap();
    Rebuild::table("t").drop("b").run(&conn).unwrap();
}

#[test]
fn virtual_tables_are_refused_and_survive() {
    let sql = corpus::SCHEMAS
        .iter()
        .find(|(name, _)| *name == "fts5 over a table")
        .unwrap()
        .1;
    let conn = database(sql);
    let said = refused(&conn, Rebuild::parse("REBUILD TABLE posts_fts (a)"));
    assert!(said.contains("a virtual table"), "{said}");
    let said = refused(
        &conn,
        Rebuild::parse("REBUILD TABLE posts_fts_data (id INTEGER PRIMARY KEY, block BLOB)"),
    );
    assert!(said.contains("keeps what it knows"), "{said}");
    run(
        &conn,
        "REBUILD TABLE posts (id INTEGER PRIMARY KEY, title TEXT NOT NULL, body TEXT, likes INT NOT NULL DEFAULT 0)",
    );
    let healthy = "INSERT INTO posts_fts (posts_fts, rank) VALUES ('integrity-check', 1)";
    conn.execute_batch(healthy).unwrap();
    conn.execute_batch("INSERT INTO posts (title, body) VALUES ('new', 'and different'); UPDATE posts SET body = 'nothing' WHERE id = 5").unwrap();
    conn.execute_batch(healthy).unwrap();
    assert_eq!(
        query(
            &conn,
            "SELECT rowid FROM posts_fts WHERE posts_fts MATCH 'world OR different' ORDER BY rowid"
        ),
        "Integer(1)|\nInteger(6)|\n"
    );
}

#[test]
fn a_transaction_with_foreign_keys_is_refused_and_stays() {
    let conn = database(BLOG);
    conn.execute_batch("BEGIN; INSERT INTO users VALUES (3, 'cy')")
        .unwrap();
    let error = Rebuild::table("users").run(&conn).unwrap_err();
    assert!(matches!(error, Error::ForeignKeysOn { .. }));
    assert!(
        error
            .to_string()
            .contains("PRAGMA foreign_keys = OFF before BEGIN"),
        "{error}"
    );
    assert!(!conn.is_autocommit());
    conn.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&conn, "users"), 3);
}

#[test]
fn a_failure_in_a_callers_transaction_undoes_only_itself() {
    let conn = database(BLOG);
    conn.execute_batch("PRAGMA foreign_keys = OFF; BEGIN; INSERT INTO users VALUES (3, 'cy')")
        .unwrap();
    let before = dump(&conn);
    Rebuild::table("posts").drop("name").run(&conn).unwrap_err();
    Rebuild::table("posts")
        .column("name", |name| name.not_null(true))
        .run(&conn)
        .unwrap_err();
    assert!(!conn.is_autocommit());
    assert_eq!(dump(&conn), before);
    Rebuild::table("users").strict(true).run(&conn).unwrap();
    conn.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&conn, "users"), 3);
    assert_eq!(query(&conn, "PRAGMA foreign_keys"), "Integer(0)|\n");
}

#[test]
fn settings_are_as_they_were() {
    let conn = database(BLOG);
    let settings = [
        "foreign_keys",
        "legacy_alter_table",
        "cache_size",
        "threads",
        "ignore_check_constraints",
        "reverse_unordered_selects",
        "writable_schema",
    ];
    let all = |conn: &Connection| settings.map(|name| query(conn, &format!("PRAGMA {name}")));
    for setup in [
        "",
        "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; PRAGMA cache_size = 50; PRAGMA reverse_unordered_selects = ON",
        "PRAGMA cache_size = -900000",
    ] {
        conn.execute_batch(setup).unwrap();
        let before = all(&conn);
        Rebuild::table("posts").threads(2).run(&conn).unwrap();
        assert_eq!(all(&conn), before);
        Rebuild::table("posts").drop("name").run(&conn).unwrap_err();
        assert_eq!(all(&conn), before);
    }
}

#[test]
fn defensive_connections_and_distrusted_schemas() {
    let conn = database(BLOG);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)
        .unwrap();
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)
        .unwrap();
    let before = dump(&conn);
    Rebuild::table("posts").run(&conn).unwrap();
    assert_eq!(dump(&conn), before);
}

#[test]
fn temporary_triggers_are_not_lost() {
    let conn = database(BLOG);
    conn.execute_batch("CREATE TEMP TRIGGER tt AFTER INSERT ON posts BEGIN SELECT 1; END")
        .unwrap();
    let said = refused(&conn, Ok(Rebuild::table("posts")));
    assert!(said.contains("temporary triggers"), "{said}");
    Rebuild::table("users").run(&conn).unwrap();
    conn.execute_batch("DROP TRIGGER tt; CREATE TEMP TABLE posts (id)")
        .unwrap();
    let said = refused(&conn, Ok(Rebuild::table("posts")));
    assert!(said.contains("temporary table"), "{said}");
}

#[test]
fn readers_go_on() {
    for mode in ["WAL", "DELETE"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sqlite3");
        let conn = Connection::open(&path).unwrap();
        conn.pragma_update(None, "journal_mode", mode).unwrap();
        corpus::fill(&conn, BLOG);
        let reader = Connection::open(&path).unwrap();
        if mode == "WAL" {
            reader.execute_batch("BEGIN").unwrap();
            assert_eq!(count(&reader, "posts"), 3);
        }
        let rebuild = Rebuild::table("posts")
            .drop("price")
            .column("name", |name| name.default("'x'"));
        rebuild
            .run_with(&conn, &mut |step| {
                if let Step::Checking = step {
                    assert_eq!(count(&reader, "posts WHERE price > 1"), 1);
                }
            })
            .unwrap();
        if mode == "WAL" {
            assert_eq!(count(&reader, "posts WHERE price > 1"), 1);
            reader.execute_batch("COMMIT").unwrap();
        }
        assert!(
            reader
                .query_row("SELECT price FROM posts", [], |_| Ok(()))
                .is_err()
        );
        assert_eq!(count(&reader, "names"), 3);
    }
}

#[test]
fn a_writer_in_the_way_is_an_error_and_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sqlite3");
    let conn = Connection::open(&path).unwrap();
    corpus::fill(&conn, BLOG);
    conn.busy_timeout(std::time::Duration::ZERO).unwrap();
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let said = refused(&conn, Ok(Rebuild::table("posts")));
    assert!(said.contains("locked"), "{said}");
    writer.execute_batch("COMMIT; BEGIN").unwrap();
    // In rollback mode a reader stands in the way of the commit.
    assert_eq!(count(&writer, "posts"), 3);
    let said = refused(&conn, Ok(Rebuild::table("posts").strict(true)));
    assert!(said.contains("locked"), "{said}");
    writer.execute_batch("COMMIT").unwrap();
    Rebuild::table("posts").strict(true).run(&conn).unwrap();
}

#[test]
fn progress_is_told() {
    let conn = database(BLOG);
    let mut steps = Vec::new();
    Rebuild::table("posts")
        .run_with(&conn, &mut |step| steps.push(format!("{step:?}")))
        .unwrap();
    assert_eq!(
        steps,
        [
            "Copying { rows: 3 }",
            "Indexing { name: \"posts_user\", number: 1, of: 2 }",
            "Indexing { name: \"posts_name\", number: 2, of: 2 }",
            "Checking",
            "Committing"
        ]
    );
}
