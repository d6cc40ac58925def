//! What hangs on tables.

use super::pair::{BLOG, expect, losses};

/// Puts another definition in the place of the table `t`, with its rows.
fn rebuilt(definition: &str, columns: &str) -> String {
    format!(
        "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON;
         CREATE TABLE new_t ({definition};
         INSERT INTO new_t ({columns}) SELECT {columns} FROM t;
         DROP TABLE t; ALTER TABLE new_t RENAME TO t;"
    )
}

const TABLE: &str = "
    CREATE TABLE p (id INTEGER PRIMARY KEY); INSERT INTO p VALUES (1);
    CREATE TABLE t (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        a TEXT NOT NULL DEFAULT 'x' CHECK (length(a) > 0),
        b INTEGER REFERENCES p (id) ON DELETE CASCADE,
        CONSTRAINT both CHECK (a <> 'b' OR b > 0), UNIQUE (a, b)
    ) STRICT;
    INSERT INTO t (id, a, b) VALUES (70, 'one', 1); DELETE FROM t;
    INSERT INTO t (id, a, b) VALUES (7, 'one', 1);
    CREATE INDEX by_a ON t (lower(a)) WHERE b IS NOT NULL;
    CREATE UNIQUE INDEX by_b ON t (b DESC);
    CREATE TRIGGER watch AFTER DELETE ON t BEGIN SELECT 1; END;
    CREATE VIEW v AS SELECT a FROM t;";

const FULL: &str = "id INTEGER PRIMARY KEY AUTOINCREMENT,
    a TEXT NOT NULL DEFAULT 'x' CHECK (length(a) > 0),
    b INTEGER REFERENCES p (id) ON DELETE CASCADE,
    CHECK (\"a\" <> 'b' or B > 0), UNIQUE (a, b)) STRICT";
const INDEXES: &str = "CREATE INDEX by_a ON t (LOWER(a)) WHERE b IS NOT NULL;
    CREATE UNIQUE INDEX by_b ON t (b DESC);";
const REST: &str = "CREATE TRIGGER watch AFTER DELETE ON t BEGIN SELECT 1; END;
    UPDATE sqlite_sequence SET seq = 70 WHERE name = 't';";

#[test]
fn a_rebuild_that_keeps_all() {
    let sql = rebuilt(FULL, "id, a, b") + INDEXES + REST;
    expect(TABLE, &sql, &[], &[]);
}

#[test]
fn a_rebuild_that_keeps_rows_only() {
    let sql = rebuilt("id INTEGER PRIMARY KEY, a, b)", "id, a, b");
    let lost = [
        "autoincrement t",
        "check t",
        "check t",
        "foreign_key t.b",
        "index t.a, b",
        "index t.by_a",
        "index t.by_b",
        "strict t",
        "trigger t.watch",
    ];
    expect(
        TABLE,
        &sql,
        &lost,
        &[
            "t.a: it may be NULL now",
            "t.a: its default was 'x', it has none",
        ],
    );
}

#[test]
fn one_thing_lost_at_a_time() {
    let with = |from: &str, to: &str| {
        assert!(FULL.contains(from), "{from}");
        losses(
            TABLE,
            &(rebuilt(&FULL.replace(from, to), "id, a, b") + INDEXES + REST),
        )
    };
    assert_eq!(with(" STRICT", ""), ["strict t"]);
    assert_eq!(with(" CHECK (length(a) > 0)", ""), ["check t"]);
    assert_eq!(with("length(a) > 0", "length(a) > 1"), ["check t"]);
    assert_eq!(
        with(" REFERENCES p (id) ON DELETE CASCADE", ""),
        ["foreign_key t.b"]
    );
    assert_eq!(with(" ON DELETE CASCADE", ""), ["foreign_key t.b"]);
    assert_eq!(with("p (id)", "p"), [""; 0], "that is its primary key");
    assert_eq!(with(", UNIQUE (a, b)", ""), ["index t.a, b"]);
    assert_eq!(with(", UNIQUE (a, b)", ", UNIQUE (a)"), ["index t.a, b"]);
    assert_eq!(with(", UNIQUE (a, b)", ", UNIQUE (b, a)"), [""; 0]);
    let index = |from: &str, to: &str| {
        assert!(INDEXES.contains(from), "{from}");
        losses(
            TABLE,
            &(rebuilt(FULL, "id, a, b") + &INDEXES.replace(from, to) + REST),
        )
    };
    assert_eq!(index(" WHERE b IS NOT NULL", ""), ["index t.by_a"]);
    assert_eq!(index("UNIQUE ", ""), ["index t.by_b"]);
    assert_eq!(index("by_a", "by_other_name"), [""; 0]);
    assert_eq!(
        index("LOWER(a)", "a"),
        [""; 0],
        "it was made anew on purpose"
    );
    let rest = |from: &str, to: &str| {
        assert!(REST.contains(from), "{from}");
        losses(
            TABLE,
            &(rebuilt(FULL, "id, a, b") + INDEXES + &REST.replace(from, to)),
        )
    };
    assert_eq!(rest("= 70", "= 69"), ["autoincrement t"]);
    assert_eq!(rest("TRIGGER watch", "TRIGGER renamed"), [""; 0]);
    assert_eq!(rest("SELECT 1", "SELECT 2"), [""; 0]);
    assert_eq!(
        rest(
            "CREATE TRIGGER watch AFTER DELETE ON t BEGIN SELECT 1; END;",
            ""
        ),
        ["trigger t.watch"]
    );
}

#[test]
fn dropped_by_their_names() {
    assert_eq!(losses(TABLE, "DROP TRIGGER watch"), ["trigger t.watch"]);
    assert_eq!(losses(TABLE, "DROP VIEW v"), ["view v"]);
    assert_eq!(losses(TABLE, "DROP INDEX by_a"), ["index t.by_a"]);
    // Another one serves as well.
    let wider = "CREATE INDEX wide ON comments (post_id, body); DROP INDEX comments_by_post";
    assert_eq!(losses(BLOG, wider), [""; 0]);
    assert_eq!(
        losses(TABLE, "CREATE INDEX w ON t (b DESC, a); DROP INDEX by_b"),
        ["index t.by_b"]
    );
}

#[test]
fn what_goes_with_a_table_or_a_column_is_not_told_twice() {
    let sql = "PRAGMA foreign_keys = OFF; DROP VIEW v; DROP TABLE t";
    assert_eq!(losses(TABLE, sql), ["table t 1/1", "view v"]);
    let sql = rebuilt(
        "id INTEGER PRIMARY KEY AUTOINCREMENT, b INTEGER REFERENCES p ON DELETE CASCADE) STRICT",
        "id, b",
    ) + "CREATE UNIQUE INDEX by_b ON t (b DESC); DROP VIEW v;"
        + REST;
    assert_eq!(losses(TABLE, &sql), ["column t.a 1/1", "view v"]);
    // And what was pointed to.
    let sql = "PRAGMA foreign_keys = OFF; DROP TABLE p; CREATE TABLE n (id INTEGER PRIMARY KEY AUTOINCREMENT,
        a TEXT NOT NULL DEFAULT 'x' CHECK (length(a) > 0), b INTEGER,
        CHECK (a <> 'b' OR b > 0), UNIQUE (a, b)) STRICT; INSERT INTO n SELECT * FROM t; DROP TABLE t;
        PRAGMA legacy_alter_table = ON; ALTER TABLE n RENAME TO t;".to_owned() + INDEXES + REST;
    assert_eq!(losses(TABLE, &sql), ["table p 1/1"]);
}

#[test]
fn renames_take_everything_along() {
    let sql = "ALTER TABLE t RENAME COLUMN a TO name; ALTER TABLE t RENAME COLUMN b TO parent;
        ALTER TABLE t RENAME TO things; ALTER TABLE p RENAME TO parents;
        ALTER TABLE parents RENAME COLUMN id TO number";
    assert_eq!(losses(TABLE, sql), [""; 0]);
}

#[test]
fn keys_that_stop_being_keys() {
    let before =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'x'), (3, 'y')";
    let as_select = "CREATE TABLE n AS SELECT * FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t;";
    expect(
        before,
        as_select,
        &["primary_key t"],
        &["t.id: its type was INTEGER, it is INT now"],
    );
    let unique = format!("{as_select} CREATE UNIQUE INDEX u ON t (id)");
    assert_eq!(losses(before, &unique), [""; 0]);
    let two = "CREATE TABLE t (a, b, c, PRIMARY KEY (a, b)) WITHOUT ROWID; INSERT INTO t VALUES (1, 2, 3)";
    assert_eq!(losses(two, as_select), ["primary_key t"]);
    let more = "CREATE TABLE n (a, b, c, PRIMARY KEY (a, b, c)); INSERT INTO n SELECT * FROM t;
        DROP TABLE t; ALTER TABLE n RENAME TO t;";
    assert_eq!(losses(two, more), ["primary_key t"]);
}

#[test]
fn violations_that_are_new() {
    let sql = "PRAGMA foreign_keys = OFF; DELETE FROM posts WHERE id IN (1, 2)";
    expect(
        BLOG,
        sql,
        &["rows posts 2/40", "violation comments 4/4"],
        &[],
    );
    // Those that were there before are not the migration's.
    let before = format!("{BLOG} PRAGMA foreign_keys = OFF; DELETE FROM posts WHERE id = 1;");
    assert_eq!(
        losses(&before, "UPDATE comments SET body = body || '!'"),
        [""; 0]
    );
    let sql = "PRAGMA foreign_keys = OFF; UPDATE comments SET post_id = 99 WHERE id = 5";
    assert_eq!(losses(&before, sql), ["violation comments 1/3"]);
    // A foreign key that is new may find some at once.
    let sql = "PRAGMA foreign_keys = OFF; CREATE TABLE likes (id INTEGER PRIMARY KEY, post INT REFERENCES posts);
        INSERT INTO likes VALUES (1, 1000)";
    assert_eq!(losses(BLOG, sql), ["violation likes 1/1"]);
    let keyless = "CREATE TABLE p (id INTEGER PRIMARY KEY);
        CREATE TABLE c (a TEXT PRIMARY KEY, p INT REFERENCES p) WITHOUT ROWID;
        INSERT INTO p VALUES (1); INSERT INTO c VALUES ('x', 1), ('y', 1)";
    let sql = "PRAGMA foreign_keys = OFF; UPDATE c SET p = 2 WHERE a = 'y'";
    assert_eq!(losses(keyless, sql), ["violation c 1/1"]);
}

#[test]
fn definitions_that_name_what_is_not_there() {
    // The renaming that old tools did: children point to the old name.
    let sql = "PRAGMA foreign_keys = OFF; ALTER TABLE posts RENAME TO old;
        CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT,
            user_id INTEGER REFERENCES users (id) ON DELETE SET NULL);
        INSERT INTO posts SELECT * FROM old; DROP TABLE old";
    expect(
        BLOG,
        sql,
        &[
            "broken comments",
            "foreign_key comments.post_id",
            "violation comments 80/80",
        ],
        &[],
    );
    let before = format!("{BLOG} CREATE VIEW titles AS SELECT title FROM posts;
        CREATE TABLE log (t); CREATE TRIGGER l AFTER UPDATE ON posts BEGIN INSERT INTO log VALUES (new.title); END;");
    let sql = "PRAGMA legacy_alter_table = ON; PRAGMA writable_schema = ON;
        DELETE FROM sqlite_schema WHERE name = 'log'";
    assert!(losses(&before, sql).contains(&"broken posts".into()));
    let sql = "PRAGMA foreign_keys = OFF; CREATE TABLE n (id INTEGER PRIMARY KEY, name TEXT);
        INSERT INTO n SELECT id, title FROM posts; DROP TABLE posts; PRAGMA legacy_alter_table = ON;
        ALTER TABLE n RENAME TO posts";
    let lost = losses(&before, sql);
    assert!(lost.contains(&"broken titles".into()), "{lost:?}");
    assert!(lost.contains(&"trigger posts.l".into()), "{lost:?}");
}

#[test]
fn functions_of_the_app_are_no_fault() {
    let before = "CREATE TABLE t (a); INSERT INTO t VALUES (1)";
    let sql = "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT apps_own(new.a); END;
        CREATE VIEW w AS SELECT 1";
    assert_eq!(losses(before, sql), [""; 0]);
}

#[test]
fn views_are_compared_by_their_text() {
    let before = "CREATE TABLE t (a, b); CREATE VIEW v AS SELECT a FROM t;
        CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN INSERT INTO t (a) VALUES (new.a); END";
    expect(
        before,
        "DROP VIEW v; CREATE VIEW v AS SELECT a, b FROM t",
        &["trigger v.g"],
        &["view v: its text"],
    );
    expect(
        before,
        "DROP VIEW v; CREATE TABLE v AS SELECT a FROM t",
        &[],
        &["view v: it is a table now"],
    );
    expect(before, "DROP VIEW v", &["view v"], &[]);
}
