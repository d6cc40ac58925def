//! What hangs on tables.

use monolite_guard::Depth;

use super::pair::{BLOG, Pair, expect, losses, shown};

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
        "constraint t",
        "constraint t",
        "constraint t.b",
        "index t.a, b",
        "index t.by_a",
        "index t.by_b",
        "constraint t",
        "trigger t.watch",
    ];
    expect(
        TABLE,
        &sql,
        &lost,
        &[
            "t.a: it may be NULL now",
            "t.a: its default was 'x', it has none",
            "t: it has no AUTOINCREMENT now",
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
    assert_eq!(with(" STRICT", ""), ["constraint t"]);
    assert_eq!(with(" CHECK (length(a) > 0)", ""), ["constraint t"]);
    assert_eq!(with("length(a) > 0", "b IS 1"), ["constraint t"]);
    assert_eq!(with("length(a) > 0", "length('a') = 1"), ["constraint t"]);
    assert_eq!(
        with(" REFERENCES p (id) ON DELETE CASCADE", ""),
        ["constraint t.b"]
    );
    assert_eq!(with(" ON DELETE CASCADE", ""), ["constraint t.b"]);
    assert_eq!(with("p (id)", "p"), [""; 0], "that is its primary key");
    assert_eq!(with(", UNIQUE (a, b)", ""), ["index t.a, b"]);
    assert_eq!(with(", UNIQUE (a, b)", ", UNIQUE (a)"), [""; 0]);
    assert_eq!(
        with(", UNIQUE (a, b)", ", UNIQUE (a, b, id)"),
        ["index t.a, b"]
    );
    assert_eq!(with(", UNIQUE (a, b)", ", UNIQUE (b, a)"), [""; 0]);
    let index = |from: &str, to: &str| {
        assert!(INDEXES.contains(from), "{from}");
        losses(
            TABLE,
            &(rebuilt(FULL, "id, a, b") + &INDEXES.replace(from, to) + REST),
        )
    };
    assert_eq!(index(" WHERE b IS NOT NULL", ""), [""; 0], "it has more");
    let partial = rebuilt(FULL, "id, a, b") + INDEXES + REST;
    let before =
        format!("{TABLE} DROP INDEX by_b; CREATE UNIQUE INDEX by_b ON t (b DESC) WHERE a > 'b';");
    assert_eq!(losses(&before, &partial), ["index t.by_b"]);
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
fn what_is_changed_is_told_and_no_loss() {
    let with = |from: &str, to: &str, note: &str| {
        assert!(FULL.contains(from), "{from}");
        let sql = rebuilt(&FULL.replace(from, to), "id, a, b") + INDEXES + REST;
        expect(TABLE, &sql, &[], &[note]);
    };
    with(
        "length(a) > 0",
        "length(a) > 1",
        "CHECK of t: it was length ( a ) > 0, it is length ( a ) > 1 now",
    );
    with("TEXT NOT NULL", "TEXT", "t.a: it may be NULL now");
    with("DEFAULT 'x'", "DEFAULT 'y'", "t.a: its default was 'x'");
    with(
        "a TEXT NOT NULL",
        "a TEXT COLLATE NOCASE NOT NULL",
        "t.a: its collation was BINARY, it is NOCASE now",
    );
    with(
        "ON DELETE CASCADE",
        "ON DELETE SET NULL",
        "ON DELETE CASCADE; now ON DELETE SET NULL",
    );
    let sql = REST.replace("= 70", "= 69");
    expect(
        TABLE,
        &(rebuilt(FULL, "id, a, b") + INDEXES + &sql),
        &[],
        &["t: its AUTOINCREMENT had counted to 70, and is at 69 now"],
    );
    let states = |states: &str, action: &str| {
        format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, state TEXT CHECK (state IN ({states})),
               p INTEGER REFERENCES p (id){action});"
        )
    };
    let before = format!(
        "CREATE TABLE p (id INTEGER PRIMARY KEY); {}
         INSERT INTO t VALUES (1, 'new', NULL)",
        states("'new', 'old'", "")
    );
    let again = |sql: &str| {
        format!(
            "ALTER TABLE t RENAME TO was; {sql} INSERT INTO t SELECT * FROM was; DROP TABLE was"
        )
    };
    expect(
        &before,
        &again(&states("'new', 'old', 'older'", " ON DELETE CASCADE")),
        &[],
        &["CHECK of t: it was", "NO ACTION; now ON DELETE CASCADE"],
    );
}

#[test]
fn what_is_unique_under_more_is_unique() {
    let before = "CREATE TABLE t (id INTEGER PRIMARY KEY, e TEXT UNIQUE, f TEXT);
        INSERT INTO t VALUES (1, 'a', 'b'); CREATE UNIQUE INDEX f ON t (f COLLATE NOCASE)";
    let again = |e: &str, f: &str| {
        format!(
            "CREATE TABLE n (id INTEGER PRIMARY KEY, e TEXT, f TEXT, UNIQUE ({e}));
             INSERT INTO n SELECT * FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t;
             CREATE UNIQUE INDEX g ON t ({f})"
        )
    };
    let nocase = "f COLLATE NOCASE";
    assert_eq!(losses(before, &again("e", nocase)), [""; 0]);
    let index = "CREATE UNIQUE INDEX e ON t (e COLLATE NOCASE)";
    let sql = again("e, f", nocase) + ";" + index;
    assert_eq!(losses(before, &sql), [""; 0]);
    // Not the other way round.
    assert_eq!(losses(before, &again("e", "f")), ["index t.f"]);
}

#[test]
fn only_what_names_a_column_goes_along_with_it() {
    let before = "CREATE TABLE t (id INTEGER PRIMARY KEY, email TEXT, deleted_at TEXT, length INT,
            name TEXT CHECK (length(name) > 1));
        CREATE UNIQUE INDEX one ON t (email) WHERE deleted_at IS NULL;
        CREATE INDEX other ON t (name) WHERE deleted_at IS NULL;
        CREATE INDEX both ON t (email, deleted_at);
        INSERT INTO t VALUES (1, 'a@x', NULL, NULL, 'Ann')";
    let sql = "DROP INDEX one; DROP INDEX other; DROP INDEX both;
        ALTER TABLE t DROP COLUMN deleted_at";
    expect(
        before,
        sql,
        &["index t.one"],
        &[
            "index other: it is gone with a column",
            "index both: it is gone with a column",
        ],
    );
    let sql = "CREATE TABLE n (id INTEGER PRIMARY KEY, email TEXT, deleted_at TEXT, name TEXT);
        INSERT INTO n SELECT id, email, deleted_at, name FROM t; DROP TABLE t;
        ALTER TABLE n RENAME TO t; CREATE UNIQUE INDEX one ON t (email) WHERE deleted_at IS NULL;
        CREATE INDEX other ON t (name) WHERE deleted_at IS NULL;
        CREATE INDEX both ON t (email, deleted_at)";
    assert_eq!(losses(before, sql), ["constraint t"]);
    let renamed = "ALTER TABLE t RENAME COLUMN length TO size";
    assert_eq!(losses(before, renamed), [""; 0]);
}

#[test]
fn dropped_by_their_names() {
    // By whoever means it, or with a table.
    let note = ["trigger watch: it was dropped: CREATE TRIGGER watch AFTER DELETE ON t"];
    expect(TABLE, "DROP TRIGGER watch", &[], &note);
    let note = ["view v: it was dropped: CREATE VIEW v AS SELECT a FROM t"];
    expect(TABLE, "DROP VIEW v", &[], &note);
    let again = rebuilt(FULL, "id, a, b") + INDEXES + REST;
    assert_eq!(losses(TABLE, &format!("DROP VIEW v; {again}")), ["view v"]);
    expect(
        TABLE,
        "DROP INDEX by_a; ALTER TABLE t ADD COLUMN c INT; UPDATE t SET b = NULL WHERE b > 8",
        &[],
        &["index by_a: it was dropped: CREATE INDEX by_a ON t (lower(a))"],
    );
    let as_rails = "CREATE TEMP TABLE n AS SELECT * FROM t; DROP TABLE t;
        CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL); INSERT INTO t SELECT * FROM n";
    let before = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX by_a ON t (a);
        INSERT INTO t VALUES (1, 'x')";
    assert_eq!(losses(before, as_rails), ["index t.by_a"]);
    // Another one serves as well.
    let wider = "CREATE INDEX wide ON comments (post_id, body); DROP INDEX comments_by_post";
    assert_eq!(losses(BLOG, wider), [""; 0]);
    assert_eq!(
        losses(
            TABLE,
            "ALTER TABLE t RENAME COLUMN a TO c; CREATE INDEX w ON t (b DESC, c); DROP INDEX by_b"
        ),
        ["index t.by_b"]
    );
}

/// The last table of a schema gets its number and its root page again.
#[test]
fn made_anew_in_its_very_place() {
    let table =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, views INTEGER NOT NULL DEFAULT 0, email TEXT";
    let empty = format!("{table}); CREATE UNIQUE INDEX t_email ON t (email);");
    let before = format!(
        "{empty} WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < 500)
           INSERT INTO t SELECT n, n, n || '@x' FROM n;"
    );
    let anew = format!(
        "BEGIN; CREATE TEMP TABLE c AS SELECT * FROM t; DROP TABLE t; {table}, c TEXT);
         INSERT INTO t (id, email) SELECT id, email FROM c; DROP TABLE c; COMMIT;"
    );
    let place = |pair: &Pair| {
        let sql = "SELECT rowid, rootpage FROM sqlite_schema WHERE name = 't'";
        pair.open()
            .query_row(sql, [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })
            .unwrap()
    };
    let pair = Pair::new(&before);
    let was = place(&pair);
    pair.run(&anew);
    assert_eq!(place(&pair), was);
    let both = ["index t.t_email", "values t.views 500/500"];
    assert_eq!(losses(&before, &anew), both);
    assert_eq!(losses(&empty, &anew), ["index t.t_email"]);
    // A table that comes along stays last, too.
    let more = format!("{anew} CREATE TABLE w (x); CREATE INDEX w_x ON w (x)");
    assert_eq!(losses(&before, &more), both);

    // What is told apart from it is let through.
    let dropped = "DROP INDEX t_email; UPDATE t SET views = views + 1;";
    assert_eq!(losses(&before, dropped), [""; 0]);
    let instead = format!("{dropped} CREATE INDEX i ON t (email, views)");
    assert_eq!(losses(&before, &instead), [""; 0]);
    let rows_stay =
        "DROP INDEX t_email; ALTER TABLE t ADD COLUMN c TEXT; ALTER TABLE t ADD COLUMN d";
    assert_eq!(losses(&before, rows_stay), [""; 0]);
    let written = format!("{rows_stay}; UPDATE t SET views = 0");
    assert_eq!(losses(&before, &written), both, "nobody can tell");
    let added = written.replace("views = 0", "views = views + 1");
    // VACUUM numbers all anew: tables in their order, then indexes, then views.
    let vacuumed = format!(
        "CREATE TABLE o (x); CREATE INDEX o_x ON o (x); INSERT INTO o VALUES (1);
         CREATE VIEW v AS SELECT 1; {before} VACUUM"
    );
    let pair = Pair::new(&vacuumed);
    let was = place(&pair);
    let again = format!("{anew} VACUUM");
    pair.run(&again);
    assert_eq!(place(&pair), was);
    assert_eq!(losses(&vacuumed, &again), both);
    // Another one in the file of the old is not counted from there.
    let fewer = format!("{anew} PRAGMA schema_version = 1");
    assert_eq!(losses(&before, &fewer), both);
    // What was made after it shows that it stayed, unless it may itself have
    // been made anew.
    let before = format!("{before} CREATE TABLE u (x); INSERT INTO u VALUES (1)");
    assert_eq!(losses(&before, &added), [""; 0]);
    assert_eq!(losses(&before, &anew), both);
    let two = anew.replace("DROP TABLE t;", "DROP TABLE t; DROP TABLE u;")
        + "CREATE TABLE u (x); INSERT INTO u VALUES (2), (3);";
    let lost = losses(&before, &two);
    assert!(
        both.iter().all(|one| lost.iter().any(|has| has == one)),
        "{lost:?}"
    );
}

#[test]
fn what_goes_with_a_table_or_a_column_is_not_told_twice() {
    let sql = "PRAGMA foreign_keys = OFF; DROP VIEW v; DROP TABLE t";
    assert_eq!(losses(TABLE, sql), ["table t 1/1"]);
    let sql = rebuilt(
        "id INTEGER PRIMARY KEY AUTOINCREMENT, b INTEGER REFERENCES p ON DELETE CASCADE) STRICT",
        "id, b",
    ) + "CREATE UNIQUE INDEX by_b ON t (b DESC); DROP VIEW v;"
        + REST;
    assert_eq!(losses(TABLE, &sql), ["column t.a 1/1"]);
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
        &["constraint t"],
        &["t.id: its type was INTEGER, it is INT now"],
    );
    let unique = format!("{as_select} CREATE UNIQUE INDEX u ON t (id)");
    assert_eq!(losses(before, &unique), [""; 0]);
    let two = "CREATE TABLE t (a, b, c, PRIMARY KEY (a, b)) WITHOUT ROWID; INSERT INTO t VALUES (1, 2, 3)";
    assert_eq!(losses(two, as_select), ["constraint t"]);
    let more = "CREATE TABLE n (a, b, c, PRIMARY KEY (a, b, c)); INSERT INTO n SELECT * FROM t;
        DROP TABLE t; ALTER TABLE n RENAME TO t;";
    assert_eq!(losses(two, more), ["constraint t"]);
}

#[test]
fn violations_that_are_new() {
    let sql = "PRAGMA foreign_keys = OFF; DELETE FROM posts WHERE id IN (1, 2)";
    expect(BLOG, sql, &["links comments 4/4", "rows posts 2/40"], &[]);
    // Those that were there before are not the migration's.
    let before = format!("{BLOG} PRAGMA foreign_keys = OFF; DELETE FROM posts WHERE id = 1;");
    assert_eq!(
        losses(&before, "UPDATE comments SET body = body || '!'"),
        [""; 0]
    );
    let sql = "PRAGMA foreign_keys = OFF; UPDATE comments SET post_id = 99 WHERE id = 5";
    assert_eq!(losses(&before, sql), ["links comments 1/3"]);
    // A foreign key that is new may find some at once.
    let sql = "PRAGMA foreign_keys = OFF; CREATE TABLE likes (id INTEGER PRIMARY KEY, post INT REFERENCES posts);
        INSERT INTO likes VALUES (1, 1000)";
    assert_eq!(losses(BLOG, sql), ["links likes 1/1"]);
    let keyless = "CREATE TABLE p (id INTEGER PRIMARY KEY);
        CREATE TABLE c (a TEXT PRIMARY KEY, p INT REFERENCES p) WITHOUT ROWID;
        INSERT INTO p VALUES (1); INSERT INTO c VALUES ('x', 1), ('y', 1)";
    let sql = "PRAGMA foreign_keys = OFF; UPDATE c SET p = 2 WHERE a = 'y'";
    assert_eq!(losses(keyless, sql), ["links c 1/1"]);
}

#[test]
fn old_violations_stay_old() {
    let before = "PRAGMA foreign_keys = OFF; CREATE TABLE p (id INTEGER PRIMARY KEY);
        CREATE TABLE c (id INTEGER PRIMARY KEY, p INT REFERENCES p, q INT REFERENCES p);
        CREATE TABLE k (p INT REFERENCES p, x);
        INSERT INTO p VALUES (1), (2);
        INSERT INTO c VALUES (1, 1, 1), (2, 8, 1), (3, 9, 1);
        INSERT INTO k VALUES (1, 1), (8, 2), (9, 3), (9, 4); DELETE FROM k WHERE p = 1";
    let off = "PRAGMA foreign_keys = OFF;";
    // Under another name of the parent, and numbered anew.
    let renamed = format!("{off} ALTER TABLE p RENAME TO parents");
    assert_eq!(losses(before, &renamed), [""; 0]);
    let rebuilt = format!(
        "{off} CREATE TABLE n (p INT REFERENCES p, x); INSERT INTO n SELECT * FROM k ORDER BY x DESC;
         DROP TABLE k; ALTER TABLE n RENAME TO k"
    );
    assert_eq!(losses(before, &rebuilt), [""; 0]);
    // One mended, and another instead.
    let sql = format!("{off} UPDATE k SET p = 2 WHERE x = 2; UPDATE k SET p = 7 WHERE x = 3");
    assert_eq!(losses(before, &sql), ["links k 1/2"]);
    let sql = format!("{rebuilt}; UPDATE k SET p = 7 WHERE x = 3");
    assert_eq!(losses(before, &sql), ["links k 1/3", "rows k 1/3"]);
    let sql = format!("{off} UPDATE c SET p = 1 WHERE id = 2; UPDATE c SET p = 8 WHERE id = 1");
    assert_eq!(losses(before, &sql), ["links c 1/2"]);
    // A second key of the same row to the same parent.
    let sql = format!("{off} UPDATE c SET q = 7 WHERE id = 2");
    assert_eq!(losses(before, &sql), ["links c 1/1"]);
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
            "constraint comments.post_id",
            "links comments 80/80",
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

/// As Django's CheckConstraint with `__regex` makes them.
#[test]
fn what_only_the_app_has_is_no_fault() {
    use rusqlite::functions::FunctionFlags;
    let rows = "CREATE TABLE other (id INTEGER PRIMARY KEY, x); INSERT INTO other VALUES (1, 'a');
        INSERT INTO t (id, body) VALUES (1, 'ab'), (2, 'ac'), (3, 'ad')";
    for table in [
        "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT CHECK (body REGEXP '^a'));",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT COLLATE icu);
         CREATE INDEX i ON t (body);",
        "CREATE TABLE t (id INT, body TEXT COLLATE icu PRIMARY KEY) WITHOUT ROWID;",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT, own AS (apps_own(body)));",
        "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT); CREATE INDEX i ON t (apps_own(body));",
    ] {
        for depth in [Depth::Quick, Depth::Full] {
            for (sql, lost) in [
                ("UPDATE t SET body = 'az' WHERE id = 1", &[][..]),
                ("ALTER TABLE t ADD COLUMN more", &[]),
                ("INSERT INTO t (id, body) VALUES (0, 'aa')", &[]),
                ("DELETE FROM t WHERE id = 2", &["rows t 1/3"]),
                ("DELETE FROM other", &["rows other 1/1"]),
            ] {
                let apps = |path: &std::path::Path| {
                    let conn = rusqlite::Connection::open(path).unwrap();
                    let flags = FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_UTF8;
                    conn.create_scalar_function("regexp", 2, flags, |_| Ok(true))
                        .unwrap();
                    conn.create_scalar_function("apps_own", 1, flags, |_| Ok(1))
                        .unwrap();
                    // The other way round.
                    conn.create_collation("icu", |a: &str, b: &str| b.cmp(a))
                        .unwrap();
                    conn
                };
                let pair = Pair::new("");
                apps(&pair.live)
                    .execute_batch(&format!("{table} {rows}"))
                    .unwrap();
                std::fs::copy(&pair.live, &pair.before).unwrap();
                apps(&pair.live).execute_batch(sql).unwrap();
                let report = pair.report(depth);
                let found: Vec<String> = report.losses.iter().map(shown).collect();
                let is_key = table.contains("body TEXT COLLATE icu PRIMARY KEY");
                match is_key && sql.starts_with("UPDATE") {
                    true => assert_eq!(found, ["rows t 1/3"], "{table} {sql}"),
                    false => assert_eq!(found, lost, "{table} {sql} {report:?}"),
                }
            }
        }
    }
}

#[test]
fn another_key_that_only_the_app_can_sort_hides_no_violation() {
    let before =
        "CREATE TABLE p (id INTEGER PRIMARY KEY, code TEXT UNIQUE, name TEXT COLLATE icu UNIQUE);
        CREATE TABLE c (p INT REFERENCES p, q TEXT REFERENCES p (code), r TEXT REFERENCES p (name));
        CREATE UNIQUE INDEX odd ON p (code COLLATE icu);
        INSERT INTO p VALUES (1, 'a', 'x'), (2, 'b', 'y'); INSERT INTO c VALUES (2, 'b', 'y')";
    let open = |path: &std::path::Path| {
        let conn = rusqlite::Connection::open(path).unwrap();
        conn.create_collation("icu", |a: &str, b: &str| b.cmp(a))
            .unwrap();
        conn
    };
    let pair = Pair::new("");
    open(&pair.live).execute_batch(before).unwrap();
    std::fs::copy(&pair.live, &pair.before).unwrap();
    let sql = "PRAGMA foreign_keys = OFF; UPDATE c SET p = 8, q = 'no', r = 'no'";
    open(&pair.live).execute_batch(sql).unwrap();
    let report = pair.report(Depth::Quick);
    let found: Vec<String> = report.losses.iter().map(shown).collect();
    assert_eq!(found, ["links c 1/1", "links c 1/1"], "{report:?}");
    let unseen = report
        .notes
        .iter()
        .filter(|note| note.text.contains("not counted"));
    assert_eq!(unseen.count(), 1, "{report:?}");
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
    expect(before, "DROP VIEW v", &[], &["view v: it was dropped"]);
}
