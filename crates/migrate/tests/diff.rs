//! From one schema to another, as a person would have written it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod corpus;

use corpus::{SCHEMAS, database, query};
use monolite_migrate::diff::{Error, Options, diff};
use monolite_migrate::rebuild::Rebuild;
use monolite_migrate::sql::{Kind, split};
use rusqlite::Connection;

fn options(drop: &[&str]) -> Options {
    Options::new().allow_drop(drop.iter().copied())
}

/// As the runner of files does it.
fn apply(conn: &Connection, sql: &str) {
    conn.execute_batch("PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE")
        .unwrap();
    for statement in split(sql).unwrap() {
        match statement.kind {
            Kind::Sqlite => conn
                .execute_batch(&statement.sql)
                .unwrap_or_else(|error| panic!("{sql}: {error}")),
            Kind::Rebuild => drop(
                Rebuild::parse(&statement.sql)
                    .and_then(|rebuild| rebuild.run(conn))
                    .unwrap_or_else(|error| panic!("{sql}: {error}")),
            ),
        }
    }
    conn.execute_batch("COMMIT; PRAGMA foreign_keys = ON")
        .unwrap();
}

/// The migration, after it was applied and nothing is left to do.
#[track_caller]
fn way(live: &str, wanted: &str, drop: &[&str]) -> String {
    let conn = database(live);
    let found = diff(&conn, wanted, &options(drop)).unwrap_or_else(|error| panic!("{error}"));
    apply(&conn, &found.sql);
    let again = diff(&conn, wanted, &Options::default()).unwrap();
    assert_eq!(again.sql, "", "something is left");
    assert_eq!(
        facts(&conn),
        facts(&database(&ddl(wanted))),
        "{}",
        found.sql
    );
    found.sql
}

/// What SQLite itself says of a schema, tables by their columns.
fn facts(conn: &Connection) -> String {
    let mut out = String::new();
    for (table, _) in schema(conn, "type IN ('table', 'view')") {
        out += &format!("== {table}\n");
        let name = table.replace('\'', "''");
        if conn
            .prepare(&format!("SELECT * FROM \"{}\"", table.replace('"', "\"\"")))
            .is_err()
        {
            continue;
        }
        out += &query(conn, &format!("SELECT * FROM pragma_table_xinfo('{name}')"));
        out += &query(
            conn,
            &format!(
                "SELECT \"from\", lower(\"table\"), lower(\"to\"), on_delete, on_update FROM pragma_foreign_key_list('{name}') ORDER BY 1, 2, 3, 4, 5"
            ),
        );
        out += &query(
            conn,
            &format!(
                "SELECT il.\"unique\", il.partial, group_concat(ii.name || ii.\"desc\" || ii.coll) FROM pragma_index_list('{name}') il, pragma_index_xinfo(il.name) ii GROUP BY il.name ORDER BY 1, 2, 3"
            ),
        );
        out += &query(
            conn,
            &format!("SELECT type, wr, strict FROM pragma_table_list('{name}')"),
        );
    }
    for (name, sql) in schema(conn, "type <> 'table' AND sql IS NOT NULL") {
        out += &format!("{name}: {}\n", spelled(&sql));
    }
    for (name, sql) in schema(conn, "type = 'table'") {
        // Columns that were added stand behind the constraints.
        let sql = spelled(&sql);
        let (head, rest) = sql.split_once('(').unwrap_or((&sql, ""));
        let (inside, tail) = rest.rsplit_once(')').unwrap_or((rest, ""));
        let mut parts = top_level(inside);
        parts.sort();
        let head = head
            .trim_start_matches("createtable")
            .trim_start_matches("createvirtualtable");
        out += &format!("{name}: {head} {parts:?} {tail}\n");
    }
    out
}

/// A text without comments, spaces, quotes of names and the case of anything but
/// text; by its characters, for the code under test reads tokens.
fn spelled(sql: &str) -> String {
    let (mut out, mut chars) = (String::new(), sql.chars().peekable());
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\'', _) => {
                out.push(c);
                for c in chars.by_ref() {
                    out.push(c);
                    if c == '\'' {
                        break;
                    }
                }
            }
            ('-', Some('-')) => while chars.next().is_some_and(|c| c != '\n') {},
            ('/', Some('*')) => {
                let mut last = ' ';
                for c in chars.by_ref().skip(1) {
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
            }
            ('"' | '`' | '[' | ']', _) => {}
            (c, _) if c.is_whitespace() => {}
            (c, _) => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}

fn top_level(list: &str) -> Vec<String> {
    let (mut depth, mut text, mut parts) = (0, false, vec![String::new()]);
    for c in list.chars() {
        match c {
            '\'' => text = !text,
            '(' if !text => depth += 1,
            ')' if !text => depth -= 1,
            ',' if !text && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(c);
    }
    parts
}

fn schema(conn: &Connection, which: &str) -> Vec<(String, String)> {
    let sql = format!(
        "SELECT name, sql FROM main.sqlite_schema WHERE ({which}) AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY type, lower(name)"
    );
    let mut all = conn.prepare(&sql).unwrap();
    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

/// The statements that make a schema, as a file has them.
fn ddl(sql: &str) -> String {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    corpus::fill(&conn, sql);
    let shadows = corpus::tables(&conn, &["shadow"]);
    let mut all = conn
        .prepare("SELECT name, sql FROM main.sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY rowid")
        .unwrap();
    let rows = all.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    });
    rows.unwrap()
        .map(Result::unwrap)
        .filter(|(name, _)| !shadows.contains(name))
        .map(|(_, sql)| format!("{sql};\n"))
        .collect()
}

#[test]
fn nothing_to_do() {
    corpus::each(|_, sql| {
        let conn = database(sql);
        let found = diff(&conn, &ddl(sql), &Options::default()).unwrap();
        assert_eq!((found.sql.as_str(), found.notes.len()), ("", 0));
    });
}

#[test]
fn from_nothing_and_to_nothing() {
    corpus::each(|name, sql| {
        let wanted = ddl(sql);
        let written = way("", &wanted, &[]);
        assert!(!written.contains("REBUILD"), "{name}");
        let conn = database(sql);
        let nothing = "CREATE TABLE nothing_else (a);";
        let kept = match diff(&conn, nothing, &Options::default()) {
            // A table stays, and one of its triggers needs a view that does not.
            Err(Error::Breaks { .. }) if name == "views over views" => return,
            kept => kept.unwrap(),
        };
        assert!(!kept.sql.contains("DROP TABLE"), "{}", kept.sql);
        let tables = corpus::tables(&conn, &["table", "virtual"]);
        let tables: Vec<&str> = tables
            .iter()
            .map(String::as_str)
            .filter(|name| !name.starts_with("sqlite_") && !name.starts_with("_monolite_"))
            .collect();
        assert_eq!(kept.notes.len(), tables.len(), "{:?}", kept.notes);
        way(
            sql,
            if name.contains("prefix") {
                "CREATE TABLE _monolite_rebuild_t (b INT);"
            } else {
                ""
            },
            &tables,
        );
    });
}

/// Every schema to every third one.
#[test]
fn from_each_to_others() {
    let empty = |ddl: &str| {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        conn.execute_batch(ddl).unwrap();
        conn
    };
    let all: Vec<(&str, String, String)> = SCHEMAS
        .iter()
        .map(|(name, sql)| (*name, ddl(sql)))
        .map(|(name, ddl)| (name, facts(&empty(&ddl)), ddl))
        .collect();
    let (mut rebuilt, mut failed) = (0, Vec::new());
    for (row, (from, _, live)) in all.iter().enumerate() {
        // Its tables would stay.
        if *from == "names with our prefix" {
            continue;
        }
        let conn = empty(live);
        // Everything may go; rows need values.
        let mut allow_drop = Vec::new();
        let tables = corpus::tables(&conn, &["table", "virtual"]).into_iter();
        for table in tables.filter(|name| !name.starts_with("sqlite_")) {
            for (column, _) in columns(&conn, &table) {
                allow_drop.push(format!("{table}.{column}"));
            }
            allow_drop.push(table);
        }
        let options = Options::new().allow_drop(allow_drop);
        for (to, should, wanted) in all.iter().skip(row % 3).step_by(3) {
            let found = match diff(&conn, wanted, &options) {
                Ok(found) => found,
                // Rows would need a value that nobody has said.
                Err(Error::NoValue { .. } | Error::OtherKind { .. }) => continue,
                Err(error) => {
                    failed.push(format!("{from} to {to}: {error}"));
                    continue;
                }
            };
            let changed = empty(live);
            apply(&changed, &found.sql);
            if facts(&changed) != *should {
                failed.push(format!("{from} to {to}: {}", found.sql));
            }
            rebuilt += usize::from(found.sql.contains("REBUILD TABLE"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(rebuilt > 100, "{rebuilt}");
}

fn columns(conn: &Connection, table: &str) -> Vec<(String, String)> {
    let mut all = conn
        .prepare("SELECT name, type FROM pragma_table_xinfo(?1)")
        .unwrap();
    let rows = all.query_map([table], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

const POSTS: &str = "CREATE TABLE posts (id INTEGER PRIMARY KEY, name TEXT, price INT, count INT); INSERT INTO posts VALUES (1, 'a', 2, 3); CREATE INDEX posts_name ON posts (name); CREATE VIEW v AS SELECT name FROM posts;";

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
    let dropped = "CREATE TABLE posts (id INTEGER PRIMARY KEY, name TEXT, count INT); -- monolite: drop posts.price\n CREATE INDEX posts_name ON posts (name); CREATE VIEW v AS SELECT name FROM posts;";
    assert_eq!(
        way(POSTS, dropped, &[]),
        "ALTER TABLE posts DROP COLUMN price;"
    );
}

#[test]
fn everything_else_is_a_rebuild() {
    let wanted = "CREATE TABLE posts (\n  id INTEGER PRIMARY KEY,\n  title TEXT NOT NULL DEFAULT '', -- was: name\n  total INTEGER NOT NULL CHECK (total >= 0) -- set: coalesce(price, 0) * count\n) STRICT; -- monolite: drop posts.price, posts.count\nCREATE UNIQUE INDEX posts_name ON posts (title);";
    assert_eq!(
        way(POSTS, wanted, &[]),
        "ALTER TABLE posts RENAME COLUMN name TO title;\nDROP VIEW v;\nDROP INDEX posts_name;\nREBUILD TABLE posts (\n  id INTEGER PRIMARY KEY,\n  title TEXT NOT NULL DEFAULT '',\n  total INTEGER NOT NULL CHECK (total >= 0)\n) STRICT\n  SET total = coalesce(price, 0) * count\n  DROP COLUMN price\n  DROP COLUMN count;\nCREATE UNIQUE INDEX posts_name ON posts (title);"
    );
    let swapped = "CREATE TABLE posts (id INTEGER PRIMARY KEY, name TEXT, price INT, -- was: count\n count INT, -- was: price\n x INT); CREATE INDEX posts_name ON posts (name); CREATE VIEW v AS SELECT name FROM posts;";
    // Both names are there: nothing says that they are to be swapped now.
    assert_eq!(
        way(POSTS, swapped, &[]),
        "ALTER TABLE posts ADD COLUMN x INT;"
    );
}

#[test]
fn nothing_is_dropped_unasked() {
    let conn = database(POSTS);
    let wanted = "CREATE TABLE posts (id INTEGER PRIMARY KEY, title TEXT, count INT);";
    let said = diff(&conn, wanted, &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("posts.name, posts.price would be dropped")
            && said.contains("--allow-drop posts.name --allow-drop posts.price")
            && said.contains("-- was: name"),
        "{said}"
    );
    let found = diff(&conn, "CREATE TABLE other (a);", &Options::default()).unwrap();
    assert_eq!(found.sql, "DROP VIEW v;\nCREATE TABLE other (a);");
    assert!(
        found.notes[0].contains("posts is not in the wanted schema and stays"),
        "{:?}",
        found.notes
    );
    let found = diff(
        &conn,
        "CREATE TABLE other (a); -- monolite: drop posts",
        &Options::default(),
    )
    .unwrap();
    assert_eq!(
        found.sql,
        "DROP VIEW v;\nCREATE TABLE other (a);\nDROP TABLE posts;"
    );
}

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
        "CREATE TABLE p (id INTEGER PRIMARY KEY, b INT); -- monolite: drop p.a\n",
        "CREATE TABLE p (id INTEGER PRIMARY KEY, aa TEXT, -- was: a\n b INT);",
        "-- was: p\nCREATE TABLE pp (id INTEGER PRIMARY KEY, a TEXT, b INT);",
    ] {
        let said = diff(&conn, &format!("{wanted} {index}"), &Options::default());
        let said = said.unwrap_err().to_string();
        assert!(said.contains("full-text index f"), "{wanted}: {said}");
    }
}

#[test]
fn renames_follow_each_other() {
    let live =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, b INT, c INT); INSERT INTO t VALUES (1, 2, 3);";
    for wanted in [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, -- was: b\n b INT -- was: c\n);",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, b INT, -- was: c\n a INT -- was: b\n);",
    ] {
        let conn = database(live);
        let found = diff(&conn, wanted, &Options::default()).unwrap();
        apply(&conn, &found.sql);
        assert_eq!(
            query(&conn, "SELECT a, b FROM t"),
            "Integer(2)|Integer(3)|\n",
            "{}",
            found.sql
        );
        assert_eq!(diff(&conn, wanted, &Options::default()).unwrap().sql, "");
    }
    let conn = database(
        "CREATE TABLE x (a INT); CREATE TABLE y (a TEXT); INSERT INTO x VALUES (1); INSERT INTO y VALUES ('z')",
    );
    let wanted = "-- was: y\nCREATE TABLE x (a TEXT);\n-- was: x\nCREATE TABLE w (a INT);\nCREATE TABLE y (n INT);";
    let found = diff(&conn, wanted, &Options::default()).unwrap();
    apply(&conn, &found.sql);
    assert_eq!(query(&conn, "SELECT w.a, x.a FROM w, x"), "Integer(1)|z|\n");
    assert_eq!(diff(&conn, wanted, &Options::default()).unwrap().sql, "");
}

#[test]
fn a_new_column_under_an_old_name_has_its_own_values() {
    let conn =
        database("CREATE TABLE t (id INTEGER PRIMARY KEY, y INT); INSERT INTO t VALUES (1, 7)");
    let wanted =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, x INT, -- was: y\n y INT -- set: x * 2\n);";
    let found = diff(&conn, wanted, &Options::default()).unwrap();
    apply(&conn, &found.sql);
    assert_eq!(
        query(&conn, "SELECT x, y FROM t"),
        "Integer(7)|Integer(14)|\n",
        "{}",
        found.sql
    );
    assert_eq!(diff(&conn, wanted, &Options::default()).unwrap().sql, "");
    // And one that may not be NULL needs some.
    let conn = database("CREATE TABLE t (id INTEGER PRIMARY KEY, y INT)");
    let none = wanted.replace("y INT -- set: x * 2", "y INT NOT NULL");
    let said = diff(&conn, &none, &Options::default()).unwrap_err();
    assert!(matches!(said, Error::NoValue { .. }), "{said}");
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
        ("CREATE TABLE t (a INT);", "--allow-drop 't.b c'"),
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
fn a_view_that_does_not_work_is_named() {
    let conn = database("CREATE TABLE t (a INT); CREATE VIEW v AS SELECT * FROM nowhere");
    let wanted = "CREATE TABLE t (b INT -- was: a\n); CREATE VIEW v AS SELECT * FROM nowhere;";
    let said = diff(&conn, wanted, &Options::default())
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("view v") && said.contains("mend it or drop it first"),
        "{said}"
    );
}

#[test]
fn an_empty_file_is_a_mistake() {
    let conn = database(POSTS);
    for file in ["", "  -- nothing\n", "PRAGMA foreign_keys = ON;"] {
        let said = diff(&conn, file, &Options::default()).unwrap_err();
        assert!(said.to_string().contains("is empty"), "{file}: {said}");
    }
    let empty = Connection::open_in_memory().unwrap();
    assert!(diff(&empty, "", &Options::default()).unwrap().is_empty());
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
fn a_former_name_that_is_there_takes_the_place_of_the_new_one() {
    let live = "CREATE TABLE t (id INTEGER PRIMARY KEY, title text, title_new text);";
    let wanted = "CREATE TABLE t (id INTEGER PRIMARY KEY, title text -- was: title_new\n);";
    let said = diff(&database(live), wanted, &Options::default()).unwrap_err();
    assert!(
        said.to_string()
            .contains("--allow-drop t.title if the values"),
        "{said}"
    );
    assert_eq!(
        way(live, wanted, &["t.title"]),
        "ALTER TABLE t DROP COLUMN title;\nALTER TABLE t RENAME COLUMN title_new TO title;"
    );
    // Said, and left as it is.
    assert_eq!(
        way(live, wanted, &["t.title_new"]),
        "ALTER TABLE t DROP COLUMN title_new;"
    );
}

#[test]
fn two_names_that_were_each_other_are_mentioned() {
    let conn = database("CREATE TABLE t (a, b);");
    let swap = "CREATE TABLE t (a, -- was: b\n b -- was: a\n);";
    let found = diff(&conn, swap, &Options::default()).unwrap();
    assert_eq!((found.sql.as_str(), found.notes.len()), ("", 1));
    assert!(
        found.notes[0].contains("RENAME COLUMN a TO b"),
        "{:?}",
        found.notes
    );
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

#[test]
fn what_may_be_dropped_has_to_be_there() {
    let wanted = "-- was: posts\nCREATE TABLE articles (id INTEGER PRIMARY KEY, title TEXT, -- was: name\n count INT);";
    for name in ["nosuch.col", "posts.nosuch", "post", "articles.", ".price"] {
        let said = diff(
            &database(POSTS),
            wanted,
            &options(&["articles.price", name]),
        )
        .unwrap_err();
        assert!(
            matches!(said, Error::NothingToDrop { .. }),
            "{name}: {said}"
        );
        assert!(said.to_string().contains(name), "{said}");
    }
    // By its name before or after, in any case.
    let known = options(&["Articles.Price", "posts", "posts.name"]);
    diff(&database(POSTS), wanted, &known).unwrap();
}
