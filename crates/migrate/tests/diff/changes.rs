//! Which statements a change becomes, and what is no change.

use monolite_migrate::diff::{Options, diff};

use crate::common::{POSTS, options, way};
use crate::corpus::database;

#[test]
fn what_sqlite_does_is_left_to_it() {
    let added = "CREATE TABLE posts (id INTEGER PRIMARY KEY, name TEXT, price INT, count INT, at TEXT NOT NULL DEFAULT '', user_id INT REFERENCES users); CREATE TABLE users (id INTEGER PRIMARY KEY); CREATE INDEX posts_name ON posts (name); CREATE VIEW v AS SELECT name FROM posts;";
    assert_eq!(
        way(POSTS, added, &[]),
        "CREATE TABLE users (id INTEGER PRIMARY KEY);\nALTER TABLE posts ADD COLUMN at TEXT NOT NULL DEFAULT '';\nALTER TABLE posts ADD COLUMN user_id INT REFERENCES users;"
    );
    let renamed = "-- was: posts\nCREATE TABLE articles (id INTEGER PRIMARY KEY, title TEXT, -- was: name\n price INT, count INT); CREATE INDEX posts_name ON articles (title); CREATE VIEW v AS SELECT title FROM articles;";
    assert_eq!(
        way(POSTS, renamed, &[]),
        "ALTER TABLE posts RENAME TO articles;\nALTER TABLE articles RENAME COLUMN name TO title;"
    );
    let beside = "CREATE TABLE articles ( -- was: posts\n id INTEGER PRIMARY KEY,\n -- was: \"name\"\n title TEXT,\n price INT,\n count /* was: count */ INT); CREATE INDEX posts_name ON articles (title); CREATE VIEW v AS SELECT title FROM articles;";
    assert_eq!(
        way(POSTS, beside, &[]),
        "ALTER TABLE posts RENAME TO articles;\nALTER TABLE articles RENAME COLUMN name TO title;"
    );
    let dropped = "CREATE TABLE posts (id INTEGER PRIMARY KEY, name TEXT, count INT); -- monolite: allow posts.price: as meant\n CREATE INDEX posts_name ON posts (name); CREATE VIEW v AS SELECT name FROM posts;";
    assert_eq!(
        way(POSTS, dropped, &[]),
        "-- monolite: allow column:posts.price: as the schema file says\nALTER TABLE posts DROP COLUMN price;"
    );
}

#[test]
fn everything_else_is_a_rebuild() {
    let wanted = "CREATE TABLE posts (\n  id INTEGER PRIMARY KEY,\n  title TEXT NOT NULL DEFAULT '', -- was: name\n  total INTEGER NOT NULL CHECK (total >= 0) -- set: coalesce(price, 0) * count\n) STRICT; -- monolite: allow posts.price, posts.count: as meant\nCREATE UNIQUE INDEX posts_name ON posts (title);";
    assert_eq!(
        way(POSTS, wanted, &[]),
        "ALTER TABLE posts RENAME COLUMN name TO title;\nDROP VIEW v;\nDROP INDEX posts_name;\n-- monolite: allow column:posts.price, column:posts.count: as the schema file says\nREBUILD TABLE posts (\n  id INTEGER PRIMARY KEY,\n  title TEXT NOT NULL DEFAULT '',\n  total INTEGER NOT NULL CHECK (total >= 0)\n) STRICT\n  SET total = coalesce(price, 0) * count\n  DROP COLUMN price\n  DROP COLUMN count;\nCREATE UNIQUE INDEX posts_name ON posts (title);"
    );
    let swapped = "CREATE TABLE posts (id INTEGER PRIMARY KEY, name TEXT, price INT, -- was: count\n count INT, -- was: price\n x INT); CREATE INDEX posts_name ON posts (name); CREATE VIEW v AS SELECT name FROM posts;";
    // Both names are there: nothing says that they are to be swapped now.
    assert_eq!(
        way(POSTS, swapped, &[]),
        "ALTER TABLE posts ADD COLUMN x INT;"
    );
}

#[test]
fn spelling_is_no_difference() {
    let conn = database(
        "CREATE TABLE \"Posts\" (id integer primary key, [name] varchar(10) default 'X' not null, n INT, check (n>0), unique(name)); create index i on Posts(NAME)",
    );
    let wanted = "PRAGMA foreign_keys=OFF; BEGIN TRANSACTION; CREATE TABLE IF NOT EXISTS posts (\n  id INTEGER PRIMARY KEY, -- the id\n  name VARCHAR (10) NOT NULL DEFAULT 'X',\n  n INT NULL,\n  UNIQUE (name), CHECK (n > 0)\n);\nCREATE INDEX IF NOT EXISTS main.i ON posts (name); CREATE TABLE sqlite_sequence(name,seq); COMMIT;";
    assert_eq!(diff(&conn, wanted, &Options::default()).unwrap().sql, "");
    // But text is.
    let other = wanted.replace("'X'", "'x'");
    assert!(
        diff(&conn, &other, &Options::default())
            .unwrap()
            .sql
            .starts_with("REBUILD TABLE posts")
    );
}

#[test]
fn the_order_of_columns_can_be_left() {
    let live = "CREATE TABLE t (a INT, b INT, c INT);";
    let wanted = "CREATE TABLE t (c INT, d INT, a INT, b INT);";
    assert!(way(live, wanted, &[]).starts_with("REBUILD TABLE t (c INT, d INT"));
    let options = Options::new().any_order(true);
    let conn = database(live);
    assert_eq!(
        diff(&conn, wanted, &options).unwrap().sql,
        "ALTER TABLE t ADD COLUMN d INT;"
    );
    conn.execute_batch("ALTER TABLE t ADD COLUMN d INT")
        .unwrap();
    assert_eq!(diff(&conn, wanted, &options).unwrap().sql, "");
}

#[test]
fn triggers_and_views_follow() {
    let live = "CREATE TABLE t (a INT, b INT); CREATE TABLE log (x); CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.b); END; CREATE VIEW v AS SELECT a, b FROM t; CREATE VIEW w AS SELECT b FROM v; CREATE TRIGGER vi INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (new.a, new.b); END;";
    let wanted = "CREATE TABLE t (a INT); CREATE TABLE log (x); CREATE TRIGGER tr AFTER INSERT ON t BEGIN INSERT INTO log VALUES (new.a); END; CREATE VIEW v AS SELECT a, 1 AS b FROM t; CREATE VIEW w AS SELECT b FROM v; CREATE TRIGGER vi INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (new.a); END;";
    let written = way(live, wanted, &["t.b"]);
    // The view w is broken meanwhile, which SQLite's own DROP COLUMN does not like.
    assert!(
        written.contains("REBUILD TABLE t (a INT)\n  DROP COLUMN b;"),
        "{written}"
    );
}

#[test]
fn text_in_double_quotes_is_text() {
    for (live, wanted) in [
        (
            "CREATE TABLE t (k TEXT DEFAULT \"Yes\");",
            "CREATE TABLE t (k TEXT DEFAULT \"yes\");",
        ),
        (
            "CREATE TABLE t (k TEXT DEFAULT Yes);",
            "CREATE TABLE t (k TEXT DEFAULT yes);",
        ),
        (
            "CREATE TABLE t (k TEXT CHECK (k IN (\"A\", \"Yes\")));",
            "CREATE TABLE t (k TEXT CHECK (k IN (\"a\", \"Yes\")));",
        ),
        (
            "CREATE TABLE t (k TEXT, CHECK (k IN (\"A\")));",
            "CREATE TABLE t (k TEXT, CHECK (k IN (\"a\")));",
        ),
        (
            "CREATE TABLE t (k TEXT, g AS (k || \"X\"));",
            "CREATE TABLE t (k TEXT, g AS (k || \"x\"));",
        ),
        (
            "CREATE TABLE t (k TEXT); CREATE VIEW v AS SELECT k FROM t WHERE k = \"X\";",
            "CREATE TABLE t (k TEXT); CREATE VIEW v AS SELECT k FROM t WHERE k = \"x\";",
        ),
        (
            "CREATE TABLE t (k TEXT); CREATE TABLE u (x); CREATE INDEX i ON t (k) WHERE k = \"X\";",
            "CREATE TABLE t (k TEXT); CREATE TABLE u (x); CREATE INDEX i ON t (k) WHERE k = \"x\";",
        ),
    ] {
        let conn = database(live);
        let has_g = live.contains(", g ");
        let drop = options(if has_g { &["t.g"] } else { &[] });
        assert!(!diff(&conn, wanted, &drop).unwrap().is_empty(), "{live}");
        // A name is one in any quotes.
        let spelled = live
            .replace("TABLE t (k", "TABLE \"T\" (\"K\"")
            .replace("CHECK (k", "CHECK (\"K\"");
        assert_eq!(diff(&conn, &spelled, &drop).unwrap().sql, "", "{live}");
    }
    let conn = database(
        "CREATE TABLE t (a INT DEFAULT TRUE, b \"VarChar\", c INT REFERENCES \"U\" (\"Id\"), CONSTRAINT \"One\" UNIQUE (\"A\")); CREATE TABLE u (id INTEGER PRIMARY KEY)",
    );
    let same = "CREATE TABLE t (a INT DEFAULT true, b varchar, c INT REFERENCES u (id), CONSTRAINT one UNIQUE (a)); CREATE TABLE u (id INTEGER PRIMARY KEY);";
    assert_eq!(diff(&conn, same, &Options::default()).unwrap().sql, "");
}

#[test]
fn an_index_and_a_trigger_may_have_one_name() {
    let wanted = "CREATE TABLE t (a INT); CREATE INDEX x ON t (a); CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END;";
    let written = way("", wanted, &[]);
    assert!(
        written.contains("CREATE INDEX x") && written.contains("CREATE TRIGGER x"),
        "{written}"
    );
}

#[test]
fn a_name_in_one_schema_is_one_in_both() {
    // A table that stays although the file does not have it.
    let shared = r#"CREATE TABLE t (name TEXT);
        CREATE TRIGGER tr AFTER INSERT ON t BEGIN insert into "legacy"("name") values (new."name"); END;"#;
    let live = format!("CREATE TABLE legacy (name TEXT); {shared}");
    let conn = database(&live);
    let wanted = shared.replace("insert into \"legacy\"", "INSERT INTO legacy");
    for file in [shared, &wanted] {
        let found =
            diff(&conn, file, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(found.sql, "", "{file}");
    }
}

#[test]
fn many_indexes_without_a_difference() {
    let tables = (0..200).map(|n| {
        format!(
            "CREATE TABLE t{n} (a, b, c, d); CREATE INDEX t{n}_a ON t{n} (a); CREATE INDEX t{n}_b \
             ON t{n} (b, c); CREATE INDEX t{n}_d ON t{n} (d) WHERE a IS NOT NULL;\n"
        )
    });
    let sql: String = tables.collect();
    let conn = database(&sql);
    // To compare each with each would be felt by whoever runs this.
    assert!(diff(&conn, &sql, &Options::default()).unwrap().is_empty());
}
