//! Rows that refer to nothing: those there were, and those a rebuild would make.

use crate::corpus::{database, query};
use crate::{BLOG, count, refused, run, text};
use monolite_migrate::rebuild::Rebuild;

fn orphaned(setup: &str) -> rusqlite::Connection {
    let conn = database(&format!("PRAGMA foreign_keys = OFF; {setup}"));
    conn.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    conn
}

#[test]
fn those_of_tables_without_rowid_are_told_apart() {
    let conn = orphaned(
        "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE c (k TEXT PRIMARY KEY, p INT REFERENCES p) WITHOUT ROWID; INSERT INTO p VALUES (1); INSERT INTO c VALUES ('a', 1), ('b', 99)",
    );
    // One is mended by it and another one made.
    let said = refused(
        &conn,
        Rebuild::parse("REBUILD TABLE p (id INTEGER PRIMARY KEY) SET id = 99"),
    );
    assert!(
        said.contains("1 rows of c would refer to rows that p does not have, for instance to '1'"),
        "{said}"
    );
    run(&conn, "REBUILD TABLE p (id INTEGER PRIMARY KEY) STRICT");
}

#[test]
fn one_foreign_key_that_leads_nowhere_hides_no_other() {
    let conn = orphaned(
        "CREATE TABLE p (id INTEGER PRIMARY KEY, x); CREATE TABLE q (id INTEGER PRIMARY KEY); CREATE TABLE c (a REFERENCES p (x), b REFERENCES q (id)); INSERT INTO q VALUES (1); INSERT INTO c VALUES (NULL, 1)",
    );
    let said = refused(
        &conn,
        Rebuild::parse("REBUILD TABLE q (id INTEGER PRIMARY KEY) SET id = id + 100"),
    );
    assert!(said.contains("1 rows of c"), "{said}");
    run(&conn, "REBUILD TABLE q (id INTEGER PRIMARY KEY) STRICT");
}

#[test]
fn those_there_were_are_known_by_what_they_refer_to() {
    let conn = orphaned(
        "CREATE TABLE P (id INTEGER PRIMARY KEY); CREATE TABLE C (id INT, p INT REFERENCES P); INSERT INTO C VALUES (50, 99), (60, NULL)",
    );
    // Another rowid, another spelling, another type: the same rows.
    run(
        &conn,
        "REBUILD TABLE c (id INTEGER PRIMARY KEY, p TEXT REFERENCES p)",
    );
    run(&conn, "REBUILD TABLE p (id INTEGER PRIMARY KEY) STRICT");
    assert_eq!(
        query(&conn, "SELECT * FROM c"),
        "Integer(50)|99|\nInteger(60)|Null|\n"
    );
}

/// As SQLite itself finds them.
#[test]
fn they_are_the_same_that_sqlite_finds() {
    for (setup, orphans) in [
        (
            "CREATE TABLE p (k TEXT UNIQUE COLLATE NOCASE); CREATE TABLE c (p REFERENCES p (k)); INSERT INTO p VALUES ('a'), ('12'); INSERT INTO c VALUES ('A'), (12), ('b'), (NULL)",
            1,
        ),
        (
            "CREATE TABLE p (k INTEGER PRIMARY KEY); CREATE TABLE c (p TEXT REFERENCES p); INSERT INTO p VALUES (12); INSERT INTO c VALUES ('12'), ('012'), (12.0), ('x'), (x'3132')",
            2,
        ),
        (
            "CREATE TABLE p (k UNIQUE); CREATE TABLE c (p TEXT REFERENCES p (k)); INSERT INTO p VALUES (12), ('13'); INSERT INTO c VALUES ('12'), ('13')",
            1,
        ),
        (
            "CREATE TABLE p (a INT, b TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID; CREATE TABLE c (x INT, y TEXT, FOREIGN KEY (x, y) REFERENCES p (a, b)); INSERT INTO p VALUES (1, 'x'); INSERT INTO c VALUES (1, 'x'), (1, 'y'), (NULL, 'y'), (2, NULL)",
            1,
        ),
        (
            "CREATE TABLE c (p REFERENCES gone); INSERT INTO c VALUES (1), (NULL), (2)",
            2,
        ),
    ] {
        let conn = orphaned(setup);
        let found = query(&conn, "SELECT count(*) FROM pragma_foreign_key_check('c')");
        assert_eq!(found, format!("Integer({orphans})|\n"), "{setup}");
        // Without one more of them nothing is refused; each is one too many for
        // a table that did not refer to anything.
        Rebuild::table("c").run(&conn).unwrap();
        let text: String = conn
            .query_row(
                "SELECT sql FROM sqlite_schema WHERE name = 'c'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        let key = if text.contains("FOREIGN") {
            vec!["x", "y"]
        } else {
            vec!["p"]
        };
        Rebuild::table("c")
            .drop_foreign_key(&key)
            .run(&conn)
            .unwrap();
        let said = refused(
            &conn,
            Ok(Rebuild::table("c").definition(text.split_once(" c ").unwrap().1)),
        );
        assert!(said.contains(&format!("{orphans} rows of c")), "{said}");
    }
}

#[test]
fn a_caller_is_told_what_leads_nowhere_though_there_are_orphans() {
    let conn = orphaned(
        "CREATE TABLE p (a INT UNIQUE, b INT); CREATE TABLE c (p INT REFERENCES p (a)); CREATE TABLE d (p INT REFERENCES q); CREATE TABLE q (id INTEGER PRIMARY KEY, p INT REFERENCES p (a)); INSERT INTO q VALUES (1, 77)",
    );
    conn.execute_batch("PRAGMA foreign_keys = OFF; BEGIN; INSERT INTO d VALUES (55)")
        .unwrap();
    conn.execute_batch("CREATE TABLE e (p REFERENCES p (b)); INSERT INTO e VALUES (9)")
        .unwrap();
    let rebuilt = run(&conn, "REBUILD TABLE p (a INT UNIQUE, b INT) STRICT");
    assert_eq!(
        rebuilt.mismatches,
        ["foreign key mismatch - \"e\" referencing \"p\""]
    );
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
    assert!(
        said.contains("1 rows of c would refer to rows that p does not have, for instance to '5'"),
        "{said}"
    );
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
        said.contains("1 rows of c") && said.contains("to '1'"),
        "{said}"
    );
}
