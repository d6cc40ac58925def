//! The trap, tables, and whole databases.

use monolite_guard::Depth;

use super::pair::{BLOG, Pair, expect, losses, shown};

/// As every tool that rebuilds a table inside a transaction does it.
const REBUILD_POSTS: &str = "
    CREATE TABLE new_posts (id INTEGER PRIMARY KEY, title VARCHAR NOT NULL,
        user_id INTEGER REFERENCES users (id) ON DELETE SET NULL);
    INSERT INTO new_posts SELECT * FROM posts;
    DROP TABLE posts;
    ALTER TABLE new_posts RENAME TO posts;";

#[test]
fn the_trap_deletes_the_children() {
    let sql = format!("PRAGMA foreign_keys = ON; BEGIN; {REBUILD_POSTS} COMMIT");
    expect(
        BLOG,
        &sql,
        &["rows comments 80/80"],
        &["posts.title: its type was TEXT"],
    );
    // Neither of these helps.
    let sql = format!(
        "PRAGMA foreign_keys = ON; BEGIN; PRAGMA foreign_keys = OFF;
         PRAGMA defer_foreign_keys = ON; {REBUILD_POSTS} COMMIT"
    );
    assert_eq!(losses(BLOG, &sql), ["rows comments 80/80"]);
}

#[test]
fn without_the_trap_nothing_is_lost() {
    let sql = format!("PRAGMA foreign_keys = OFF; BEGIN; {REBUILD_POSTS} COMMIT");
    assert_eq!(losses(BLOG, &sql), [""; 0]);
}

#[test]
fn a_parent_that_goes_sets_what_points_to_it_to_null() {
    let sql = "PRAGMA foreign_keys = ON; BEGIN;
        CREATE TABLE new_users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
        INSERT INTO new_users SELECT * FROM users;
        DROP TABLE users; ALTER TABLE new_users RENAME TO users; COMMIT";
    expect(BLOG, sql, &["values posts.user_id 40/40"], &[]);
}

#[test]
fn what_adds_only_takes_nothing() {
    for sql in [
        "ALTER TABLE posts ADD COLUMN slug TEXT",
        "ALTER TABLE posts ADD COLUMN n INTEGER NOT NULL DEFAULT 7",
        "CREATE INDEX i ON posts (title)",
        "CREATE TABLE tags (id INTEGER PRIMARY KEY); INSERT INTO tags DEFAULT VALUES",
        "CREATE TRIGGER t AFTER INSERT ON posts BEGIN SELECT 1; END",
        "VACUUM",
        "ANALYZE",
        "REINDEX",
        "PRAGMA journal_mode = WAL; CREATE TABLE in_the_log (x)",
        "PRAGMA auto_vacuum = FULL; VACUUM",
        "PRAGMA page_size = 8192; VACUUM",
        "PRAGMA user_version = 7",
        "",
    ] {
        expect(BLOG, sql, &[], &[]);
    }
}

#[test]
fn tables_that_go() {
    expect(BLOG, "DROP TABLE comments", &["table comments 80/80"], &[]);
    expect(
        BLOG,
        "DELETE FROM comments; DROP TABLE comments",
        &["table comments 80/80"],
        &[],
    );
    expect(
        "CREATE TABLE a (x); CREATE TABLE b (x); INSERT INTO b VALUES (1)",
        "DROP TABLE a",
        &[],
        &["a: the table is gone, it was empty"],
    );
    // Another table of that name is no successor.
    expect(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, x); INSERT INTO a VALUES (1, 2), (3, 4)",
        "DROP TABLE a; CREATE TABLE a (id INTEGER PRIMARY KEY, x)",
        &["rows a 2/2"],
        &[],
    );
}

#[test]
fn tables_that_are_renamed() {
    expect(
        BLOG,
        "ALTER TABLE comments RENAME TO notes",
        &[],
        &["comments: renamed to notes"],
    );
    expect(
        BLOG,
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT,
           post_id INTEGER NOT NULL REFERENCES posts (id) ON DELETE CASCADE, more TEXT);
         INSERT INTO notes (id, body, post_id) SELECT * FROM comments;
         DROP TABLE comments; CREATE INDEX i ON notes (post_id)",
        &[],
        &["comments: renamed to notes"],
    );
    // With fewer rows it is another one.
    expect(
        BLOG,
        "CREATE TABLE notes AS SELECT * FROM comments WHERE id > 1; DROP TABLE comments",
        &["table comments 80/80"],
        &[],
    );
    // Both at once, and a swap.
    expect(
        BLOG,
        "ALTER TABLE users RENAME TO people; ALTER TABLE posts RENAME TO articles;
         ALTER TABLE articles RENAME COLUMN title TO headline",
        &[],
        &[
            "users: renamed to people",
            "posts: renamed to articles",
            "posts.title: renamed to headline",
        ],
    );
    let two = "CREATE TABLE a (x INTEGER PRIMARY KEY); CREATE TABLE b (x INTEGER PRIMARY KEY);
        INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (3), (4)";
    let swap = "ALTER TABLE a RENAME TO c; ALTER TABLE b RENAME TO a; ALTER TABLE c RENAME TO b";
    // A name that stays means the same table.
    expect(two, swap, &["rows a 2/2", "rows b 2/2"], &[]);
}

#[test]
fn columns_that_go_or_are_renamed() {
    expect(
        BLOG,
        "ALTER TABLE posts DROP COLUMN title",
        &["column posts.title 40/40"],
        &[],
    );
    expect(
        BLOG,
        "ALTER TABLE posts RENAME COLUMN title TO t",
        &[],
        &["posts.title: renamed to t"],
    );
    expect(
        BLOG,
        "ALTER TABLE posts ADD COLUMN headline TEXT; UPDATE posts SET headline = title;
         ALTER TABLE posts DROP COLUMN title",
        &[],
        &["posts.title: renamed to headline"],
    );
    expect(
        BLOG,
        "ALTER TABLE posts ADD COLUMN headline TEXT;
         UPDATE posts SET headline = title WHERE id <> 7; ALTER TABLE posts DROP COLUMN title",
        &["column posts.title 40/40"],
        &[],
    );
    let table =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER DEFAULT 0, c TEXT DEFAULT 'x');
        INSERT INTO t (id) VALUES (1), (2), (3)";
    let unused = [
        "t.a: the column is gone, it held nothing",
        "t.b: the column",
        "t.c: the column",
    ];
    expect(
        table,
        "ALTER TABLE t DROP COLUMN a; ALTER TABLE t DROP COLUMN b; ALTER TABLE t DROP COLUMN c",
        &[],
        &unused,
    );
    expect(
        &format!("{table}; UPDATE t SET b = 1, c = NULL WHERE id = 2"),
        "ALTER TABLE t DROP COLUMN b; ALTER TABLE t DROP COLUMN c",
        &["column t.b 1/3"],
        &[],
    );
    // Cannot be told to be nothing: it is told.
    expect(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP);
         INSERT INTO t (id) VALUES (1)",
        "ALTER TABLE t DROP COLUMN at",
        &["column t.at 1/1"],
        &[],
    );
}

#[test]
fn values_that_become_null() {
    expect(
        BLOG,
        "UPDATE posts SET title = NULL WHERE id IN (3, 4)",
        &["values posts.title 2/40"],
        &[],
    );
    // What was NULL, or is something else now, is no loss.
    expect(
        BLOG,
        "UPDATE posts SET title = upper(title)",
        &[],
        &["posts.title: 40 of 40 values changed, for example 'post 1' → 'POST 1'"],
    );
}

/// Rails copies a table twice, dropping what its children point to.
#[test]
fn values_that_become_what_they_are_by_default() {
    let before = "CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT);
        CREATE TABLE c (id INTEGER PRIMARY KEY,
            p_id INTEGER NOT NULL DEFAULT 1 REFERENCES p ON DELETE SET DEFAULT);
        INSERT INTO p VALUES (1, 'nobody'), (2, 'a'), (3, 'b');
        INSERT INTO c VALUES (1, 1), (2, 2), (3, 3), (4, 3)";
    let sql = "PRAGMA foreign_keys = ON; BEGIN; PRAGMA defer_foreign_keys = ON;
        CREATE TEMP TABLE n AS SELECT * FROM p; DROP TABLE p;
        CREATE TABLE p (id INTEGER PRIMARY KEY, name VARCHAR);
        INSERT INTO p SELECT * FROM n; COMMIT";
    expect(before, sql, &["values c.p_id 3/4"], &[]);
    expect(
        before,
        "UPDATE c SET p_id = 1 WHERE id = 3",
        &[],
        &["c.p_id: 1 of 4 values changed, for example 3 → 1"],
    );
    expect(before, "UPDATE c SET p_id = 2", &["values c.p_id 3/4"], &[]);
    // Made anew under its own name, last or not.
    let before = "CREATE TABLE t (id INTEGER PRIMARY KEY, views INTEGER NOT NULL DEFAULT 0, x TEXT,
            likes INTEGER, old BOOLEAN DEFAULT 't');
        INSERT INTO t (views, x, likes) VALUES (7, 'a', 3), (0, 'b', 0), (9, 'c', NULL)";
    let again = |column: &str, rest: &str| {
        format!("ALTER TABLE t DROP COLUMN {column}; ALTER TABLE t ADD COLUMN {column} {rest}")
    };
    let sql = again("views", "INTEGER NOT NULL DEFAULT 0");
    expect(before, &sql, &["values t.views 2/3"], &[]);
    let sql = again("likes", "INTEGER DEFAULT (0)");
    expect(before, &sql, &["values t.likes 1/2"], &[]);
    let sql = again("likes", "INTEGER DEFAULT \"none\"");
    expect(before, &sql, &["values t.likes 2/2"], &[]);
    // Some of them are an ordinary update; what was a default, another default.
    let sql = "UPDATE t SET views = 0 WHERE views > 7";
    expect(before, sql, &[], &["t.views: 1 of 3 values changed"]);
    // All of them are one now.
    let sql = "UPDATE t SET views = 0; ALTER TABLE t ADD COLUMN more INT";
    expect(before, sql, &["values t.views 2/3"], &[]);
    // Of the last column nobody can tell.
    let last = "CREATE TABLE t (id INTEGER PRIMARY KEY, views INTEGER DEFAULT 0);
        INSERT INTO t (views) VALUES (7), (0)";
    let sql = again("views", "INTEGER DEFAULT 0");
    expect(last, &sql, &["values t.views 1/2"], &[]);
    expect(last, "UPDATE t SET views = 0", &["values t.views 1/2"], &[]);
    // There was one, and there is another one.
    let sql = again("old", "BOOLEAN DEFAULT 1");
    expect(before, &sql, &[], &["t.old: 3 of 3 values changed"]);
}

#[test]
fn columns_dropped_and_added_in_their_order() {
    let before = |rest: &str| {
        format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, views INTEGER DEFAULT 0, likes INTEGER DEFAULT 0{rest});
             CREATE TABLE u (x); INSERT INTO u VALUES (1);
             INSERT INTO t (views) VALUES (7), (8), (0)"
        )
    };
    let sql = "ALTER TABLE t DROP COLUMN likes; ALTER TABLE t DROP COLUMN views;
        ALTER TABLE t ADD COLUMN views INTEGER DEFAULT 0;
        ALTER TABLE t ADD COLUMN likes INTEGER DEFAULT 0";
    expect(&before(""), sql, &["values t.views 2/3"], &[]);
}

#[test]
fn another_table_in_the_place_of_one_that_went() {
    let before = "CREATE TABLE colours (id INTEGER PRIMARY KEY, name TEXT);
        INSERT INTO colours VALUES (1, 'red'), (2, 'blue')";
    let sql = "DROP TABLE colours; CREATE TABLE sizes (id INTEGER PRIMARY KEY, name TEXT);
        INSERT INTO sizes VALUES (1, 'small'), (2, 'large'), (3, 'huge')";
    expect(before, sql, &["table colours 2/2"], &[]);
    let wider = sql.replace("name TEXT)", "name TEXT, n INT DEFAULT 0)");
    expect(
        before,
        &wider.replace("VALUES", "(id, name) VALUES"),
        &["table colours 2/2"],
        &[],
    );
    // Renamed, and written to.
    let renamed = "ALTER TABLE colours RENAME TO sizes; UPDATE sizes SET name = upper(name)";
    let notes = [
        "colours: renamed to sizes",
        "colours.name: 2 of 2 values changed",
    ];
    expect(before, renamed, &[], &notes);
    let index = format!("{renamed}; CREATE INDEX by_name ON sizes (name)");
    expect(before, &index, &[], &notes);
    // Nobody can tell, however much of it is there: that is for people to say.
    let settings = "CREATE TABLE a (id INTEGER PRIMARY KEY, name TEXT, enabled BOOLEAN, at TEXT);
        INSERT INTO a VALUES (1, 'red', 1, ''), (2, 'blue', 1, '')";
    let sql = "ALTER TABLE a RENAME TO b; UPDATE b SET name = upper(name);
        ALTER TABLE b ADD COLUMN c; ALTER TABLE b ADD COLUMN d";
    expect(settings, sql, &["table a 2/2"], &[]);
    let dated = format!("{settings}; UPDATE a SET at = 'day ' || id");
    expect(&dated, sql, &["table a 2/2"], &[]);
    let later = format!("{before}; CREATE TABLE u (x); INSERT INTO u VALUES (1)");
    let more = format!(
        "{renamed}; ALTER TABLE sizes ADD COLUMN n INT; ALTER TABLE sizes ADD COLUMN m INT"
    );
    expect(&later, &more, &[], &notes);
}

#[test]
fn another_column_in_the_place_of_one_that_went() {
    let before = |rest: &str| {
        format!(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, is_admin INTEGER NOT NULL DEFAULT 0{rest});
             WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < 1000)
               INSERT INTO t (id, is_admin) SELECT n, n % 100 = 0 FROM n"
        )
    };
    let another = "ALTER TABLE t DROP COLUMN is_admin;
        ALTER TABLE t ADD COLUMN is_active INTEGER NOT NULL DEFAULT 0";
    let sql = format!("{another}; UPDATE t SET is_active = 1 WHERE id % 3 = 0");
    expect(&before(""), &sql, &["column t.is_admin 10/1000"], &[]);
    let two = before(", state INTEGER DEFAULT 0");
    let sql = format!(
        "ALTER TABLE t DROP COLUMN state; {sql}; ALTER TABLE t ADD COLUMN state INTEGER DEFAULT 0"
    );
    expect(&two, &sql, &["column t.is_admin 10/1000"], &[]);
    // Half of them, and still it is another one.
    let half = format!("{another}; UPDATE t SET is_active = 1 WHERE id % 200 = 0");
    expect(&before(""), &half, &["column t.is_admin 10/1000"], &[]);
    // As Rails renames: the table is made again. That the new column is the old one with another
    // value in it, nobody can tell.
    let rails =
        "CREATE TABLE n (id INTEGER PRIMARY KEY, is_owner INTEGER NOT NULL DEFAULT 0, at TEXT);
        INSERT INTO n SELECT * FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t;
        UPDATE t SET is_owner = 0 WHERE id = 100";
    expect(
        &before(", at TEXT"),
        rails,
        &["column t.is_admin 10/1000"],
        &[],
    );
    let (rails, _) = rails.split_once("UPDATE").unwrap();
    expect(
        &before(", at TEXT"),
        rails,
        &[],
        &["t.is_admin: renamed to is_owner"],
    );
    let renamed =
        "ALTER TABLE t RENAME COLUMN is_admin TO is_owner; UPDATE t SET is_owner = 2 + is_owner";
    expect(
        &before(""),
        renamed,
        &[],
        &["t.is_admin: renamed to is_owner"],
    );
}

#[test]
fn what_says_nothing_may_become_nothing() {
    let before = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT);
        INSERT INTO t VALUES (1, '', ''), (2, 'x', ''), (3, '', '')";
    let sql = "UPDATE t SET a = NULL WHERE a = ''; ALTER TABLE t DROP COLUMN b";
    expect(
        before,
        sql,
        &[],
        &[
            "t.a: 2 rows without a value have another word for none",
            "t.b: the column is gone",
        ],
    );
    expect(before, "UPDATE t SET a = NULL", &["values t.a 1/1"], &[]);
}

#[test]
fn a_renamed_column_may_be_written_to() {
    let before = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT);
        INSERT INTO t VALUES (1, 'x', 'p'), (2, 'y', 'q'), (3, NULL, 'r')";
    let sql = "ALTER TABLE t RENAME COLUMN a TO title; UPDATE t SET title = 'z' WHERE id = 1";
    expect(before, sql, &[], &["t.a: renamed to title"]);
    let sql = "ALTER TABLE t RENAME COLUMN a TO title; UPDATE t SET title = NULL WHERE id = 1";
    expect(before, sql, &["values t.a 1/2"], &["t.a: renamed to title"]);
    // Another one in its place.
    let sql = "ALTER TABLE t DROP COLUMN b; ALTER TABLE t ADD COLUMN c TEXT";
    expect(before, sql, &["column t.b 3/3"], &[]);
    let sql = "ALTER TABLE t DROP COLUMN b; ALTER TABLE t ADD COLUMN c TEXT DEFAULT 'p'";
    expect(before, sql, &["column t.b 3/3"], &[]);
}

#[test]
fn a_table_of_the_apps_that_is_called_migrations() {
    let rows = "INSERT INTO migrations VALUES (1, 'geese', 3), (2, 'storks', 4)";
    let own = format!("CREATE TABLE migrations (id INTEGER PRIMARY KEY, birds, n); {rows}");
    let sql = "DELETE FROM migrations WHERE id = 1";
    expect(&own, sql, &["rows migrations 1/2"], &[]);
    let laravels =
        format!("CREATE TABLE migrations (id INTEGER PRIMARY KEY, migration, batch); {rows}");
    expect(&laravels, sql, &[], &["migrations: 1 of 2 rows are gone"]);
}

#[test]
fn bookkeeping_comes_and_goes() {
    let sql = "CREATE TABLE schema_migrations (version TEXT PRIMARY KEY);
        INSERT INTO schema_migrations VALUES ('1'), ('2');
        CREATE TABLE \"SequelizeMeta\" (name TEXT PRIMARY KEY);
        INSERT INTO \"SequelizeMeta\" VALUES ('a.js')";
    expect(
        sql,
        "DELETE FROM schema_migrations WHERE version = '2'",
        &[],
        &["schema_migrations: 1 of 2 rows are gone"],
    );
    expect(
        sql,
        "DELETE FROM schema_migrations",
        &[],
        &["schema_migrations: 2 of 2 rows are gone"],
    );
    // The version is the key: at each migration one goes and another one comes.
    expect(sql, "UPDATE \"SequelizeMeta\" SET name = 'b.js'", &[], &[]);
    expect(
        sql,
        "DROP TABLE schema_migrations",
        &["table schema_migrations 2/2"],
        &[],
    );
}

#[test]
fn names_of_all_kinds() {
    let sql = "CREATE TABLE \"a.b \"\"c\" (\"select\" INTEGER PRIMARY KEY, [x y] TEXT, `é'` TEXT);
        INSERT INTO \"a.b \"\"c\" VALUES (1, 'x', 'y'), (2, NULL, 'z');
        CREATE TABLE \"GROUP\" (\"order\" TEXT PRIMARY KEY) WITHOUT ROWID;
        INSERT INTO \"GROUP\" VALUES ('é'), ('x')";
    expect(
        sql,
        "DELETE FROM \"a.b \"\"c\" WHERE \"select\" = 2; UPDATE \"a.b \"\"c\" SET [x y] = NULL;
         DELETE FROM \"GROUP\" WHERE \"order\" = 'é'",
        &[
            "rows GROUP 1/2",
            "rows a.b \"c 1/2",
            "values a.b \"c.x y 1/1",
        ],
        &[],
    );
}

#[test]
fn the_whole_database() {
    let pair = Pair::new(BLOG);
    std::fs::remove_file(&pair.live).unwrap();
    let kinds = |pair: &Pair| -> Vec<String> {
        pair.report(Depth::Full).losses.iter().map(shown).collect()
    };
    assert_eq!(kinds(&pair), ["database"]);
    std::fs::write(&pair.live, "").unwrap();
    assert_eq!(kinds(&pair), ["database"]);
    std::fs::write(
        &pair.live,
        "no database at all, but long enough to be taken for one".repeat(99),
    )
    .unwrap();
    assert_eq!(kinds(&pair), ["damage"]);
    std::fs::remove_file(&pair.live).unwrap();
    pair.run("CREATE TABLE other (x)");
    let mut all = kinds(&pair);
    all.sort();
    assert_eq!(
        all,
        [
            "table comments 80/80",
            "table posts 40/40",
            "table users 40/40"
        ]
    );
}

#[test]
fn virtual_tables_by_what_they_hold() {
    let sql = "CREATE VIRTUAL TABLE search USING fts5 (body);
        INSERT INTO search VALUES ('one'), ('two'), ('three');
        CREATE VIRTUAL TABLE places USING rtree (id, x0, x1);
        INSERT INTO places VALUES (1, 0, 1), (2, 0, 1)";
    expect(
        sql,
        "INSERT INTO search (search) VALUES ('optimize')",
        &[],
        &[],
    );
    expect(
        sql,
        "INSERT INTO search (search) VALUES ('rebuild')",
        &[],
        &[],
    );
    expect(
        sql,
        "DELETE FROM search WHERE rowid = 2",
        &["rows search 1/3"],
        &[],
    );
    expect(sql, "DROP TABLE search", &["table search 3/3"], &[]);
    expect(
        sql,
        "DELETE FROM places WHERE id = 1",
        &["rows places 1/2"],
        &[],
    );
    expect(
        sql,
        "ALTER TABLE search RENAME TO finder",
        &["table search 3/3"],
        &[],
    );
}

#[test]
fn full_text_tables_by_what_is_in_them() {
    // The only copy of its texts.
    let sql = "CREATE VIRTUAL TABLE search USING fts5 (title, body);
        INSERT INTO search VALUES ('one', 'long'), ('two', 'longer'), ('three', '')";
    let less = "CREATE VIRTUAL TABLE n USING fts5 (title); INSERT INTO n SELECT title FROM search;
        DROP TABLE search; CREATE VIRTUAL TABLE search USING fts5 (title);
        INSERT INTO search SELECT title FROM n; DROP TABLE n";
    expect(sql, less, &["column search.body 2/3"], &[]);
    let anew =
        "DROP TABLE search; CREATE VIRTUAL TABLE search USING fts5 (title, body, prefix='2')";
    let kept = format!(
        "CREATE TABLE n AS SELECT * FROM search; {anew}; INSERT INTO search SELECT * FROM n;
         DROP TABLE n"
    );
    let holes = format!("{sql}; DELETE FROM search WHERE rowid = 1");
    expect(&holes, &kept, &[], &[]);
    let less = format!("{kept}; DELETE FROM search WHERE title = 'two'");
    expect(&holes, &less, &["rows search 1/2"], &[]);
    // The texts are another table's.
    let sql = "CREATE TABLE posts (id INTEGER PRIMARY KEY, title, body);
        INSERT INTO posts VALUES (1, 'one', 'long'), (2, 'two', 'longer'), (3, 'three', 'x');
        CREATE VIRTUAL TABLE search USING fts5 (title, body, content=posts, content_rowid=id);
        INSERT INTO search (search) VALUES ('rebuild'); CREATE TABLE u (x)";
    let delete = "INSERT INTO search (search) VALUES ('delete-all')";
    expect(sql, delete, &["rows search 3/3"], &[]);
    let one =
        "INSERT INTO search (search, rowid, title, body) VALUES ('delete', 2, 'two', 'longer')";
    expect(sql, one, &["rows search 1/3"], &[]);
    expect(sql, "INSERT INTO u VALUES (1)", &[], &["u: 1 row came"]);
    let less = "DROP TABLE search;
        CREATE VIRTUAL TABLE search USING fts5 (title, content=posts, content_rowid=id);
        INSERT INTO search (search) VALUES ('rebuild')";
    expect(sql, less, &[], &["search.body: the column is gone"]);
    expect(sql, "DROP TABLE search", &["table search 3/3"], &[]);
}

#[test]
fn texts_of_any_encoding() {
    for encoding in ["UTF-16le", "UTF-16be"] {
        let before = format!("PRAGMA encoding = '{encoding}'; {BLOG}");
        expect(
            &before,
            "UPDATE posts SET title = NULL WHERE id = 3",
            &["values posts.title 1/40"],
            &[],
        );
        expect(
            &before,
            "DROP TABLE comments",
            &["table comments 80/80"],
            &[],
        );
        let other = "DROP TABLE comments; DROP TABLE posts; DROP TABLE users; PRAGMA encoding = 'UTF-8'; VACUUM";
        assert_eq!(losses(&before, other).len(), 3);
    }
}
