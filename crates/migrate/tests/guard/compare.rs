//! The trap, tables, and whole databases.

use monolite_migrate::guard::Depth;

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
    expect(
        BLOG,
        sql,
        &["values posts.user_id 40/40"],
        &["posts: 40 of 40 rows have other values"],
    );
}

#[test]
fn what_adds_only_takes_nothing() {
    for sql in [
        "ALTER TABLE posts ADD COLUMN slug TEXT",
        "ALTER TABLE posts ADD COLUMN n INTEGER NOT NULL DEFAULT 7",
        "CREATE INDEX i ON posts (title)",
        "CREATE TABLE tags (id INTEGER PRIMARY KEY); INSERT INTO tags DEFAULT VALUES",
        "INSERT INTO posts (title) VALUES ('new')",
        "CREATE TRIGGER t AFTER INSERT ON posts BEGIN SELECT 1; END",
        "VACUUM",
        "ANALYZE",
        "REINDEX",
        "PRAGMA journal_mode = WAL; INSERT INTO posts (title) VALUES ('in the log')",
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
        &["posts: 2 of 40"],
    );
    // What was NULL, or is something else now, is no loss.
    expect(
        BLOG,
        "UPDATE posts SET title = upper(title)",
        &[],
        &["posts: 40 of 40 rows have other values now"],
    );
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
        &["rows schema_migrations 2/2"],
        &[],
    );
    expect(
        sql,
        "DELETE FROM \"SequelizeMeta\"",
        &["rows SequelizeMeta 1/1"],
        &[],
    );
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
    assert_eq!(kinds(&pair), ["unreadable"]);
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
