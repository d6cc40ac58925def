//! Errors, and what must go on working.

use monolite_migrate::diff::{Error, Options, diff};
use rusqlite::Connection;

use crate::common::{POSTS, options};
use crate::corpus::database;

#[test]
fn what_cannot_be_is_said() {
    let conn = database(&format!("{POSTS} CREATE VIRTUAL TABLE f USING fts5 (a);"));
    for (wanted, says) in [
        (
            "CREATE TABLE posts (id INTEGER PRIMARY KEY, name TEXT, price INT, count INT, x TEXT NOT NULL);",
            "posts.x is new and NOT NULL",
        ),
        (
            "CREATE VIRTUAL TABLE f USING fts5 (a, b);",
            "f is a virtual table",
        ),
        ("CREATE TABLE f (a);", "another kind"),
        ("CREATE TABLE posts_name (a);", "posts_name is an index"),
        ("CREATE TABLE v (a);", ""),
        ("-- was: gone\nCREATE TABLE articles (a);", "no table gone"),
        (
            "CREATE TABLE posts (id INTEGER PRIMARY KEY, name TEXT, price INT, count INT, x INT -- was: gone\n);",
            "no column posts.gone",
        ),
        ("CREATE TABEL x (a);", "line 1"),
        (
            "SELECT 1;\nDROP TABLE posts;",
            "line 1 of the wanted schema: SELECT 1; does not belong there",
        ),
        ("\n\nCREATE TABLE x (a, a);", "line 3"),
        ("CREATE TABLE x (a", "line 1"),
        ("CREATE TABLE x (a 'b", "never closed"),
        ("CREATE TEMP TABLE x (a);", "does not belong"),
        (
            "CREATE TABLE posts (id INTEGER PRIMARY KEY, name TEXT, price INT, count INT, CHECK (nope));",
            "nope",
        ),
    ] {
        match diff(&conn, wanted, &Options::default()) {
            Ok(found) => assert!(says.is_empty(), "{wanted}: {found:?}"),
            Err(error) => assert!(
                error.to_string().contains(says) && !says.is_empty(),
                "{wanted}: {error}"
            ),
        }
    }
}

#[test]
fn what_a_file_cannot_say_is_said() {
    let conn = database("CREATE TABLE t (a INT, \"b c\" INT)");
    for (wanted, says) in [
        (
            "CREATE TABLE s AS SELECT 1 AS n, 'x' AS y;",
            "line 1 of the wanted schema: s is made by AS SELECT",
        ),
        (
            "\nCREATE TABLE IF NOT EXISTS main.s AS SELECT 1 AS n;",
            "write its columns instead: CREATE TABLE s(n)",
        ),
        ("CREATE TABLE t (a INT);", "--allow-loss column:t.b%20c"),
        (
            "CREATE /* not */ TEMP TABLE s (a);",
            "does not belong there",
        ),
    ] {
        let said = diff(&conn, wanted, &Options::default())
            .unwrap_err()
            .to_string();
        assert!(said.contains(says), "{wanted}: {said}");
    }
    let wanted = "PRAGMA main.user_version=7; PRAGMA foreign_keys = ON; PRAGMA user_version; CREATE/* c */TABLE t (a INT, \"b c\" INT);";
    let found = diff(&conn, wanted, &Options::default()).unwrap();
    assert_eq!(found.sql, "");
    assert_eq!(found.notes.len(), 1, "{:?}", found.notes);
    assert!(
        found.notes[0].contains("PRAGMA main.user_version=7"),
        "{:?}",
        found.notes
    );
}

#[test]
fn what_stays_goes_on_working() {
    // The trigger is of a table that the file does not have.
    let live = "CREATE TABLE t (id INTEGER PRIMARY KEY, b INT); CREATE TABLE keep (x); CREATE TABLE log (x);";
    for (trigger, wanted, drop) in [
        (
            "BEGIN UPDATE t SET b = 1; END",
            "CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE TABLE log (x);",
            "t.b",
        ),
        (
            "BEGIN INSERT INTO log VALUES (new.x); END",
            "CREATE TABLE t (id INTEGER PRIMARY KEY, b INT);",
            "log",
        ),
    ] {
        let conn = database(&format!(
            "{live} CREATE TRIGGER tr AFTER INSERT ON keep {trigger};"
        ));
        let said = diff(&conn, wanted, &options(&[drop])).unwrap_err();
        assert!(matches!(said, Error::Breaks { .. }), "{said}");
        assert!(said.to_string().contains("a trigger on keep"), "{said}");
        let free = format!("{wanted} CREATE TABLE keep (x);");
        diff(&conn, &free, &options(&[drop])).unwrap();
    }
    // Neither what SQLite drops itself nor what it renames is told to an index.
    let index = "CREATE VIRTUAL TABLE f USING fts5 (a, content='p', content_rowid='id');";
    let conn = database(&format!(
        "CREATE TABLE p (id INTEGER PRIMARY KEY, a TEXT, b INT); {index}"
    ));
    for wanted in [
        "CREATE TABLE p (id INTEGER PRIMARY KEY, b INT); -- monolite: allow p.a: as meant\n",
        "CREATE TABLE p (id INTEGER PRIMARY KEY, aa TEXT, -- was: a\n b INT);",
        "-- was: p\nCREATE TABLE pp (id INTEGER PRIMARY KEY, a TEXT, b INT);",
    ] {
        let said = diff(&conn, &format!("{wanted} {index}"), &Options::default());
        let said = said.unwrap_err().to_string();
        assert!(said.contains("full-text index f"), "{wanted}: {said}");
    }
}

#[test]
fn a_view_that_does_not_work_is_named() {
    let conn = database("CREATE TABLE t (a INT); CREATE VIEW v AS SELECT * FROM nowhere");
    let wanted = "CREATE TABLE t (b INT -- was: a\n); CREATE VIEW v AS SELECT * FROM nowhere;";
    let said = diff(&conn, wanted, &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("view v") && said.contains("correct it or drop it first"),
        "{said}"
    );
}

#[test]
fn what_is_in_the_file_too_goes_on_working() {
    let live = "CREATE TABLE k (id INTEGER PRIMARY KEY); CREATE TABLE t (a, b);
        CREATE TRIGGER tr AFTER INSERT ON k BEGIN UPDATE t SET a = 1, b = 2; END;";
    let wanted = live.replace("(a, b)", "(a)");
    let allowed = options(&["t.b"]);
    let conn = database(live);
    let said = diff(&conn, &wanted, &allowed).unwrap_err();
    assert!(matches!(said, Error::Breaks { .. }), "{said}");
    assert!(said.to_string().contains("the trigger tr"), "{said}");
    // One of two, and a view.
    let two = "CREATE TRIGGER other AFTER INSERT ON k BEGIN SELECT 1; END; CREATE VIEW v AS SELECT 1 AS one;";
    let conn = database(&format!("{live} {two}"));
    let said = diff(&conn, &format!("{wanted} {two}"), &allowed).unwrap_err();
    assert!(said.to_string().contains("the trigger tr"), "{said}");
    let view = "CREATE VIEW v AS SELECT b FROM t;";
    let conn = database(&format!("CREATE TABLE t (a, b); {view}"));
    let said = diff(&conn, &format!("CREATE TABLE t (a); {view}"), &allowed).unwrap_err();
    assert!(said.to_string().contains("the view v"), "{said}");
    // What the file changes to something that only the app has is meant.
    let app = wanted.replace(
        "UPDATE t SET a = 1, b = 2",
        "UPDATE t SET a = of_the_app(1)",
    );
    let found = diff(&database(live), &app, &allowed).unwrap_or_else(|error| panic!("{error}"));
    assert!(found.sql.contains("of_the_app"), "{}", found.sql);
}

#[test]
fn what_only_the_app_can_read_is_compared_by_its_text() {
    let conn = Connection::open_in_memory().unwrap();
    conn.create_collation("unicase", |a: &str, b: &str| a.cmp(b))
        .unwrap();
    let own =
        "CREATE TABLE u (name TEXT COLLATE unicase); CREATE INDEX i ON u (name COLLATE unicase);";
    conn.execute_batch(own).unwrap();
    let module = "CREATE VIRTUAL TABLE vec USING vec0 (a float[3])";
    conn.execute_batch(&format!(
        "CREATE TABLE t (a INT); PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES ('table', 'vec', 'vec', 0, '{module}'); PRAGMA writable_schema = RESET"
    ))
    .unwrap();
    conn.remove_collation("unicase").unwrap();
    let wanted = format!("{own} CREATE TABLE t (a INT, b INT); {module};");
    let found = diff(&conn, &wanted, &Options::default()).unwrap();
    assert_eq!(found.sql, "ALTER TABLE t ADD COLUMN b INT;");
    assert!(found.notes.is_empty(), "{:?}", found.notes);
    let without = diff(&conn, &wanted.replace(module, ""), &Options::default()).unwrap();
    assert!(
        without.notes[0].contains("vec is not in the wanted schema"),
        "{:?}",
        without.notes
    );
    for (other, says) in [
        (
            wanted.replace("float[3]", "float[4]"),
            "vec is a virtual table and its arguments differ",
        ),
        (
            wanted.replace("TABLE vec ", "TABLE more "),
            "more is new and cannot be tried here",
        ),
    ] {
        let said = diff(&conn, &other, &Options::default())
            .unwrap_err()
            .to_string();
        assert!(said.contains(says), "{said}");
    }
}
