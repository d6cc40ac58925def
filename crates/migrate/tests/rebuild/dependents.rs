//! What hangs on a table: views, triggers, full-text indexes, collations.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::corpus;
use crate::corpus::{database, query};
use crate::{refused, run};
use monolite_migrate::rebuild::Rebuild;
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

const DROP_B: &str = "REBUILD TABLE t (id INTEGER PRIMARY KEY, a TEXT) DROP COLUMN b";

#[test]
fn each_trigger_is_looked_at_whatever_else_does_not_work() {
    let table = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INT); INSERT INTO t VALUES (1, 'x', 3); CREATE TABLE u (x); CREATE TABLE w (x);";
    for (others, says) in [
        // One event of a view has no trigger.
        (
            "CREATE VIEW v AS SELECT id, a FROM t; CREATE TRIGGER vi INSTEAD OF INSERT ON v BEGIN INSERT INTO t (id, a) SELECT new.id, \"b\" FROM t; END;",
            "a trigger on v",
        ),
        (
            "CREATE VIEW v AS SELECT id, a FROM t; CREATE TRIGGER vu INSTEAD OF UPDATE ON v BEGIN UPDATE t SET a = new.a, b = 1 WHERE id = old.id; END;",
            "a trigger on v",
        ),
        // One event does not work.
        (
            "CREATE TRIGGER u1 AFTER INSERT ON u BEGIN INSERT INTO nowhere VALUES (1); END; CREATE TRIGGER u2 AFTER DELETE ON u BEGIN UPDATE t SET b = 1; END;",
            "a trigger on u",
        ),
        // Another trigger of the same event does not.
        (
            "CREATE TRIGGER u1 AFTER INSERT ON u BEGIN INSERT INTO nowhere VALUES (1); END; CREATE TRIGGER u2 AFTER INSERT ON u BEGIN UPDATE t SET b = 1; END;",
            "the trigger u2",
        ),
        (
            "CREATE TRIGGER u2 AFTER INSERT ON u BEGIN UPDATE t SET b = 1; END; CREATE TRIGGER u1 AFTER INSERT ON u BEGIN INSERT INTO nowhere VALUES (1); END;",
            "the trigger u2",
        ),
        // What it fires does not.
        (
            "CREATE TRIGGER w1 AFTER INSERT ON w BEGIN INSERT INTO nowhere VALUES (1); END; CREATE TRIGGER u1 AFTER INSERT ON u BEGIN INSERT INTO w VALUES (1); UPDATE t SET b = 1; END;",
            "the trigger u1",
        ),
        // A quoted text that is none beside one that was a column.
        (
            "CREATE TRIGGER u1 AFTER INSERT ON u BEGIN INSERT INTO w VALUES (\"lit\"); END; CREATE TRIGGER u2 AFTER INSERT ON u BEGIN INSERT INTO w SELECT \"b\" FROM t; END;",
            "the trigger u2",
        ),
        // And in one and the same text.
        (
            "CREATE VIEW v AS SELECT \"lit\", \"b\" FROM t;",
            "the view v would not work any more: \"b\" was a column and would be text",
        ),
        (
            "CREATE TRIGGER u1 AFTER INSERT ON u BEGIN INSERT INTO w SELECT \"lit\" || \"B\" FROM t; END;",
            "a trigger on u would not work any more: \"b\" was a column",
        ),
    ] {
        let conn = database(&format!("{table}{others}"));
        let said = refused(&conn, Rebuild::parse(DROP_B));
        assert!(said.contains(says), "{others}: {said}");
    }
    // What did not work before is no reason.
    let conn = database(&format!(
        "{table} CREATE TRIGGER u1 AFTER INSERT ON u BEGIN INSERT INTO nowhere VALUES (1); END; CREATE VIEW v AS SELECT id FROM t; CREATE TRIGGER vi INSTEAD OF INSERT ON v BEGIN SELECT 1; END;"
    ));
    run(&conn, DROP_B);
    // Nor is what was text before, or is the text of a new default.
    let conn = database(&format!(
        "{table} CREATE VIEW v AS SELECT \"lit\", 'b' FROM t; CREATE TRIGGER t1 AFTER INSERT ON t BEGIN INSERT INTO w VALUES (\"lit\"); END;"
    ));
    run(
        &conn,
        "REBUILD TABLE t (id INTEGER PRIMARY KEY, a TEXT DEFAULT 'new') DROP COLUMN b",
    );
}

const POSTS: &str = "CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT, body TEXT, n INT);
    CREATE VIRTUAL TABLE f USING fts5 (title, body, content = 'posts', content_rowid = 'id');
    INSERT INTO posts VALUES (3, 'one', 'hello', 1), (7, 'two', 'world', 2);
    INSERT INTO f (f) VALUES ('rebuild');";

#[test]
fn a_full_text_index_that_would_not_fit_is_named() {
    for sql in [
        "REBUILD TABLE posts (id INTEGER PRIMARY KEY, title TEXT, n INT) DROP COLUMN body",
        "REBUILD TABLE posts (id INTEGER PRIMARY KEY, title TEXT, txt TEXT, n INT) RENAME COLUMN body TO txt",
        "REBUILD TABLE posts (id INTEGER PRIMARY KEY, title TEXT, body TEXT, n INT) SET body = body || ' more'",
        "REBUILD TABLE posts (id INTEGER PRIMARY KEY, title TEXT, body TEXT, n INT) SET id = id + 1",
    ] {
        let conn = database(POSTS);
        let said = refused(&conn, Rebuild::parse(sql));
        assert!(
            said.contains("the full-text index f")
                && said.contains("INSERT INTO \"f\" (\"f\") VALUES ('rebuild')"),
            "{sql}: {said}"
        );
    }
    let by_rowid = "CREATE TABLE posts (id INT PRIMARY KEY, title TEXT);
        CREATE VIRTUAL TABLE \"F 2\" USING fts5 (title, content=\"posts\");
        INSERT INTO posts VALUES (30, 'one'), (70, 'two'); INSERT INTO \"F 2\" (\"F 2\") VALUES ('rebuild');";
    for sql in [
        "REBUILD TABLE posts (id INTEGER PRIMARY KEY, title TEXT)",
        "REBUILD TABLE posts (id INT PRIMARY KEY, title TEXT) WITHOUT ROWID",
    ] {
        let said = refused(&database(by_rowid), Rebuild::parse(sql));
        assert!(said.contains("the full-text index F 2"), "{sql}: {said}");
    }
}

#[test]
fn a_full_text_index_that_fits_is_no_reason() {
    let conn = database(POSTS);
    run(
        &conn,
        "REBUILD TABLE posts (id INTEGER PRIMARY KEY, n TEXT, body TEXT NOT NULL, title TEXT) SET n = n + 1",
    );
    assert_eq!(
        query(&conn, "SELECT rowid, title FROM f WHERE f MATCH 'world'"),
        "Integer(7)|two|\n"
    );
    // One that is of some rows only does not fit before: there is nothing to keep.
    conn.execute_batch("INSERT INTO f (f) VALUES ('delete-all'); INSERT INTO f (rowid, title, body) VALUES (3, 'one', 'hello')")
        .unwrap();
    run(
        &conn,
        "REBUILD TABLE posts (id INTEGER PRIMARY KEY, n TEXT, body TEXT, title TEXT)",
    );
    // Over a view of the table too; and without content there is nothing to fit.
    let conn = database(&format!(
        "{POSTS} DROP TABLE f; CREATE VIEW v AS SELECT id, title FROM posts; CREATE VIRTUAL TABLE g USING fts5 (title, content='v', content_rowid='id'); INSERT INTO g (g) VALUES ('rebuild'); CREATE VIRTUAL TABLE h USING fts5 (body, content='');"
    ));
    let said = refused(
        &conn,
        Rebuild::parse(
            "REBUILD TABLE posts (id INTEGER PRIMARY KEY, title TEXT, body TEXT, n INT) SET title = 'x'",
        ),
    );
    assert!(said.contains("the full-text index g"), "{said}");
    run(
        &conn,
        "REBUILD TABLE posts (id INTEGER PRIMARY KEY, title TEXT, n INT) DROP COLUMN body",
    );
}

/// A database of an app that has a collation and a module of its own; opened
/// without them.
fn of_an_app(setup: &str) -> (tempfile::TempDir, Connection) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sqlite3");
    let app = Connection::open(&path).unwrap();
    app.create_collation("unicase", |a: &str, b: &str| {
        a.to_lowercase().cmp(&b.to_lowercase())
    })
    .unwrap();
    app.execute_batch(setup).unwrap();
    app.execute_batch(
        "PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES ('table', 'vec', 'vec', 0, 'CREATE VIRTUAL TABLE vec USING vec0 (a)'); PRAGMA writable_schema = OFF",
    )
    .unwrap();
    drop(app);
    (dir, Connection::open(&path).unwrap())
}

#[test]
fn what_only_the_app_can_read_does_not_stand_in_the_way() {
    let setup = "CREATE TABLE u (id INTEGER PRIMARY KEY, name TEXT COLLATE unicase); CREATE INDEX u_name ON u (name COLLATE unicase); CREATE VIEW v AS SELECT name FROM u ORDER BY name COLLATE unicase; INSERT INTO u (name) VALUES ('b'), ('A');
        CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INT); INSERT INTO t VALUES (1, 'x', 3);";
    let (_dir, conn) = of_an_app(setup);
    run(&conn, DROP_B);
    assert_eq!(query(&conn, "SELECT * FROM t"), "Integer(1)|x|\n");
    // Nothing of it stays.
    conn.prepare("SELECT '' = '' COLLATE unicase").unwrap_err();
    for sql in [
        "REBUILD TABLE u (id INTEGER PRIMARY KEY, name TEXT)",
        "REBUILD TABLE u (id INTEGER PRIMARY KEY, name TEXT COLLATE unicase)",
        // Nor are rows read with it.
        "REBUILD TABLE t (id INTEGER PRIMARY KEY, a TEXT) SET a = (SELECT id FROM u WHERE name = 'a')",
    ] {
        let error = Rebuild::parse(sql)
            .unwrap()
            .run(&conn)
            .unwrap_err()
            .to_string();
        assert!(error.contains("unicase"), "{sql}: {error}");
        conn.prepare("SELECT '' = '' COLLATE unicase").unwrap_err();
    }
}

#[test]
fn a_view_that_does_not_work_is_named_where_it_keeps_a_rename_away() {
    let conn = database("CREATE TABLE t (a, b); CREATE VIEW v AS SELECT * FROM nowhere");
    let said = refused(&conn, Ok(Rebuild::table("t").rename("a", "c")));
    assert!(
        said.contains("error in view v") && said.contains("correct it or drop it first"),
        "{said}"
    );
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
    assert!(said.contains("stores its content"), "{said}");
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

/// How often something is prepared that does this.
fn counted(
    conn: &Connection,
    what: impl Fn(&AuthAction<'_>) -> bool + Send + 'static,
    job: impl FnOnce(),
) -> usize {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    conn.authorizer(Some(move |context: AuthContext<'_>| {
        if what(&context.action) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Authorization::Allow
    }))
    .unwrap();
    job();
    conn.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)
        .unwrap();
    count.load(Ordering::Relaxed)
}

#[test]
fn a_full_text_index_is_compared_with_its_rows_only_where_these_may_change() {
    let conn = database(&format!(
        "{POSTS} CREATE TABLE other (id INTEGER PRIMARY KEY, a TEXT, b TEXT DEFAULT 'b');
         CREATE VIEW inner_view AS SELECT id, title FROM posts;
         CREATE VIEW shown AS SELECT id, title FROM inner_view;
         CREATE VIRTUAL TABLE g USING fts5 (title, content='shown', content_rowid='id');
         INSERT INTO g (g) VALUES ('rebuild');"
    ));
    let compared = |index: &'static str, sql: &str| {
        let is = move |action: &AuthAction<'_>| matches!(action, AuthAction::Insert { table_name } if *table_name == index);
        counted(&conn, is, || drop(run(&conn, sql)))
    };
    let posts = |title: &str| {
        format!("REBUILD TABLE posts (id INTEGER PRIMARY KEY, {title}, body TEXT, n INT)")
    };
    for index in ["f", "g"] {
        let title = posts("title TEXT NOT NULL DEFAULT 'none' COLLATE NOCASE CHECK (title <> 'x')");
        assert_eq!(compared(index, &title), 0, "{index}");
        assert_eq!(compared(index, &posts("title VARCHAR(99)")), 2, "{index}");
        let set = posts("title TEXT") + " SET title = title || ''";
        assert_eq!(compared(index, &set), 2, "{index}");
        assert_eq!(
            compared(
                index,
                "REBUILD TABLE other (id INTEGER PRIMARY KEY, a TEXT) SET a = b DROP COLUMN b"
            ),
            0
        );
        conn.execute_batch("ALTER TABLE other ADD COLUMN b TEXT")
            .unwrap();
    }
}

#[test]
fn many_triggers_are_looked_at_one_by_one_in_one_go() {
    const TRIGGERS: usize = 90;
    let mut sql = String::from("CREATE TABLE t (a); CREATE TABLE log (at, what);");
    for n in 0..TRIGGERS / 3 {
        sql += &format!(
            "CREATE TABLE t{n} (a);
             CREATE TRIGGER i{n} AFTER INSERT ON t{n} BEGIN INSERT INTO log VALUES (datetime(\"now\"), 1); END;
             CREATE TRIGGER u{n} AFTER UPDATE ON t{n} BEGIN INSERT INTO log VALUES (datetime(\"now\"), 1); END;
             CREATE TRIGGER d{n} AFTER DELETE ON t{n} BEGIN INSERT INTO log VALUES (datetime(\"now\"), 1); END;"
        );
    }
    let conn = database(&sql);
    let is = |action: &AuthAction<'_>| matches!(action, AuthAction::DropTrigger { .. });
    let drops = counted(&conn, is, || drop(run(&conn, "REBUILD TABLE t (a TEXT)")));
    assert!(drops <= TRIGGERS * 4, "{drops} triggers dropped");
}

#[test]
fn one_that_breaks_is_found_among_those_with_text_in_double_quotes() {
    // Two on a view that write to it, and a temporary table of a table's name.
    let setup = "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); CREATE TABLE k (a);
        CREATE VIEW v AS SELECT a FROM k;
        CREATE TRIGGER v1 INSTEAD OF INSERT ON v BEGIN INSERT INTO k VALUES (\"now\"); END;
        CREATE TRIGGER v2 INSTEAD OF INSERT ON v BEGIN INSERT INTO k VALUES (\"now\"); END;
        CREATE TRIGGER k1 AFTER UPDATE ON k BEGIN INSERT INTO v VALUES (\"now\"); END;
        CREATE TRIGGER k2 AFTER UPDATE ON k BEGIN UPDATE t SET a = 1; END;
        CREATE TRIGGER k3 AFTER UPDATE ON k BEGIN UPDATE t SET b = \"b\"; END;
        CREATE TEMP TABLE k (a);";
    let conn = database(setup);
    let rebuild = || Rebuild::parse("REBUILD TABLE t (id INTEGER PRIMARY KEY, a) DROP COLUMN b");
    let said = refused(&conn, rebuild());
    assert!(said.contains("trigger"), "{said}");
    conn.execute_batch("DROP TRIGGER k3").unwrap();
    rebuild().unwrap().run(&conn).unwrap();
    conn.execute_batch("DROP TABLE temp.k; UPDATE k SET a = 2")
        .unwrap();
    let triggers = "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' ORDER BY 1";
    assert_eq!(
        query(&conn, triggers),
        query(
            &{
                let fresh = database(setup);
                fresh.execute_batch("DROP TRIGGER k3").unwrap();
                fresh
            },
            triggers
        )
    );
}

#[test]
fn nothing_stands_in_for_a_collation_while_a_statement_runs() {
    let (_dir, conn) = of_an_app(
        "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2);
         CREATE TABLE far (x TEXT COLLATE unicase); CREATE INDEX far_x ON far (x);",
    );
    let mut running = conn.prepare("SELECT 1 UNION ALL SELECT 2").unwrap();
    let mut rows = running.query([]).unwrap();
    rows.next().unwrap();
    let said = Rebuild::table("t").strict(false).run(&conn).unwrap_err();
    assert!(
        said.to_string().contains("finish that statement first"),
        "{said}"
    );
    drop(rows);
    let there = "SELECT 'a' = 'A' COLLATE unicase";
    assert!(conn.prepare(there).is_err());
    Rebuild::table("t").strict(false).run(&conn).unwrap();
    assert!(conn.prepare(there).is_err());
}
