//! Each rule: what it finds, and what it does not.

use std::collections::BTreeSet;

use monolite_migrate::lint::{Level, RULES};

use crate::common::{big, blog, lint, names};

/// A statement and what is found in it, on the blog.
pub(crate) const FOUND: &[(&str, &[&str], &str)] = &[
    ("DROP TABLE tags", &["drop-table"], "drops tags and 1 row"),
    ("DROP TABLE IF EXISTS comments", &["drop-table"], "drops comments and 4 rows"),
    ("ALTER TABLE posts DROP COLUMN body", &["drop-column"], "drops posts.body and its values"),
    (
        "REBUILD TABLE tags (name TEXT PRIMARY KEY, x) ; ALTER TABLE tags DROP COLUMN x",
        &[],
        "",
    ),
    ("DELETE FROM comments", &["delete-all"], "deletes 4 rows of comments"),
    (
        "DELETE FROM users WHERE 1",
        &["delete-all"],
        "deletes 3 rows of users, and with them 3 rows of posts (ON DELETE CASCADE), 3 rows of comments (ON DELETE CASCADE), post_id in 2 rows of likes (ON DELETE SET NULL)",
    ),
    ("UPDATE posts SET title = upper(title), body = ''", &["update-all"], "overwrites title, body in 4 rows of posts"),
    ("INSERT OR REPLACE INTO posts (id) VALUES (1)", &["replace-cascades"], "3 rows of comments (ON DELETE CASCADE)"),
    (
        "DROP TABLE posts",
        &["drop-table", "orphans"],
        "leaves 3 rows of comments, 2 rows of likes without their parent rows",
    ),
    (
        "CREATE TABLE new (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER REFERENCES users ON DELETE CASCADE,
           title TEXT NOT NULL DEFAULT '', body TEXT, price INTEGER CHECK(price >= 0));
         INSERT INTO new SELECT * FROM posts; DROP TABLE posts; ALTER TABLE new RENAME TO posts;",
        &["drop-definition"],
        "rebuilds posts by hand, and does not make again: the index posts_title, the trigger posts_new",
    ),
    // Aside, anew, and back: the children follow the table that is dropped.
    (
        "ALTER TABLE posts RENAME TO old; CREATE TABLE posts (id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER
           REFERENCES users ON DELETE CASCADE, title TEXT NOT NULL DEFAULT '', body TEXT, price INTEGER CHECK (price >= 0));
         INSERT INTO posts SELECT * FROM old; DROP TABLE old;",
        &["drop-definition", "orphans"],
        "leaves comments, likes with a foreign key to old, which no longer exists",
    ),
    // By way of a temporary table.
    (
        "CREATE TEMP TABLE kept AS SELECT * FROM posts; DROP TABLE posts; CREATE TABLE posts (id INTEGER PRIMARY KEY
           AUTOINCREMENT, user_id INTEGER REFERENCES users ON DELETE CASCADE, title TEXT NOT NULL DEFAULT '', body TEXT,
           price INTEGER CHECK (price >= 0)); INSERT INTO posts SELECT * FROM kept; DROP TABLE kept;",
        &["drop-definition"],
        "the trigger posts_new",
    ),
    (
        "CREATE TABLE new (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts ON DELETE CASCADE, text TEXT);
         INSERT INTO new SELECT * FROM comments; DROP TABLE comments; ALTER TABLE new RENAME TO comments;",
        &[],
        "",
    ),
    ("DROP TABLE users", &["drop-table", "orphans"], "2 rows of audits without their parent rows"),
    ("ALTER TABLE tags RENAME TO labels", &["renames"], "renames tags to labels"),
    ("ALTER TABLE posts RENAME COLUMN body TO text", &["renames"], "renames posts.body to text"),
    ("REBUILD TABLE tags (label TEXT PRIMARY KEY) RENAME COLUMN name TO label", &["renames"], "renames tags.name to label"),
    ("DROP VIEW authors", &["drop-definition"], "drops the view authors"),
    ("DROP VIEW authors; CREATE VIEW authors AS SELECT name AS n FROM users", &["drop-definition"], "without name"),
    ("DROP TRIGGER posts_new", &["drop-definition"], "drops the trigger posts_new on posts"),
    (
        "REBUILD TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts ON DELETE CASCADE, text TEXT NOT NULL DEFAULT '')
           SET text = coalesce(text, '')",
        &["demands-more"],
        "comments.text becomes NOT NULL",
    ),
    ("REBUILD TABLE tags (name TEXT PRIMARY KEY, n INTEGER NOT NULL) SET n = 1", &["demands-more"], "tags.n is NOT NULL"),
    (
        "REBUILD TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts ON DELETE CASCADE, text TEXT AS ('x')) DROP COLUMN text",
        &["demands-more"],
        "comments.text becomes a generated column",
    ),
    ("REBUILD TABLE tags (name TEXT PRIMARY KEY CHECK (name <> ''))", &["demands-more"], "tags gets CHECK ( name <> '' )"),
    ("CREATE UNIQUE INDEX one ON comments (post_id, text)", &["demands-more"], "comments must be UNIQUE by (post_id, text)"),
    (
        "REBUILD TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT '', email TEXT, age INTEGER, upper_name TEXT AS (upper(name)))",
        &["drop-definition"],
        "UNIQUE any more by (email)",
    ),
    ("REBUILD TABLE audits (user_id INTEGER REFERENCES users REFERENCES posts)", &["demands-more"], "audits (user_id) must refer to a row of posts"),
    ("REBUILD TABLE tags (name BLOB PRIMARY KEY)", &["changes"], "tags.name changes from TEXT to BLOB"),
    ("REBUILD TABLE tags (name TEXT)", &["changes"], "tags: the primary key changes"),
    ("REBUILD TABLE tags (name TEXT PRIMARY KEY) WITHOUT ROWID", &["demands-more", "changes"], ""),
    ("REBUILD TABLE tags (name TEXT COLLATE NOCASE PRIMARY KEY)", &["changes"], "by NOCASE instead of BINARY"),
    ("REBUILD TABLE tags (name TEXT PRIMARY KEY) STRICT", &["demands-more", "demands-more"], "tags becomes STRICT"),
    (
        "REBUILD TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT UNIQUE, age INTEGER, upper_name TEXT AS (upper(name)))",
        &["drop-definition"],
        "users.name loses its default",
    ),
    ("REBUILD TABLE comments (id INTEGER PRIMARY KEY, text TEXT, post_id INTEGER REFERENCES posts ON DELETE CASCADE)", &["changes"], ""),
    ("REBUILD TABLE comments (id INTEGER PRIMARY KEY, new, post_id INTEGER REFERENCES posts ON DELETE CASCADE, text TEXT)", &["changes"], ""),
    // By hand, and not all of it.
    (
        "CREATE TABLE n (name TEXT PRIMARY KEY); INSERT INTO n SELECT * FROM tags LIMIT 0; DROP TABLE tags; ALTER TABLE n RENAME TO tags",
        &["drop-table"],
        "drops tags and 1 row, of which not all are copied",
    ),
    (
        "CREATE TABLE n (name TEXT PRIMARY KEY); INSERT INTO n SELECT * FROM tags WHERE name = 'zz'; DROP TABLE tags; ALTER TABLE n RENAME TO tags",
        &["drop-table"],
        "of which not all are copied",
    ),
    (
        "CREATE TABLE n (name TEXT PRIMARY KEY); INSERT INTO n SELECT * FROM tags; DELETE FROM n; DROP TABLE tags; ALTER TABLE n RENAME TO tags",
        &["drop-table"],
        "",
    ),
    (
        "CREATE TABLE n (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts ON DELETE CASCADE, text TEXT);
         INSERT INTO n (id, post_id) SELECT id, post_id FROM comments; DROP TABLE comments; ALTER TABLE n RENAME TO comments;",
        &["drop-column"],
        "does not copy the values of comments.text",
    ),
    (
        "CREATE TABLE n (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts, text TEXT);
         INSERT INTO n SELECT * FROM comments; UPDATE n SET text = ''; DROP TABLE comments; ALTER TABLE n RENAME TO comments;",
        &["drop-definition", "drop-column"],
        "does not make again: ON DELETE CASCADE of the foreign key to posts, which is NO ACTION now",
    ),
    // Aside only when it is copied.
    (
        "CREATE TABLE n (name TEXT PRIMARY KEY); INSERT INTO n (name) SELECT name FROM tags; ALTER TABLE tags RENAME TO old;
         ALTER TABLE n RENAME TO tags; DROP TABLE old",
        &[],
        "",
    ),
    (
        "CREATE TABLE n (name TEXT PRIMARY KEY); INSERT INTO n SELECT * FROM tags LIMIT 1; ALTER TABLE tags RENAME TO old;
         ALTER TABLE n RENAME TO tags; DROP TABLE old",
        &["renames", "drop-table"],
        "of which not all are copied",
    ),
    // Not only an UPDATE empties a column.
    ("REBUILD TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts ON DELETE CASCADE, text TEXT) SET text = NULL", &["update-all"], "overwrites text in 4 rows"),
    ("UPDATE posts AS p SET body = NULL FROM users", &["update-all"], "overwrites body"),
    ("UPDATE posts SET body = NULL WHERE 1", &["update-all"], ""),
    ("UPDATE posts AS p SET body = NULL WHERE p.id = id", &["update-all"], ""),
    // Another table's column of the same name.
    ("UPDATE posts SET title = t.title FROM (SELECT 'x' AS title) AS t", &["update-all"], "overwrites title in 4 rows"),
    ("UPDATE posts SET body = posts.body, title = (p.title) FROM posts AS p", &["update-all"], "overwrites title in 4 rows"),
    // A comma goes on with a SET.
    (
        "REBUILD TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts ON DELETE CASCADE, text TEXT) SET post_id = post_id, text = NULL",
        &["update-all"],
        "overwrites text in 4 rows",
    ),
    // The same in other words.
    (
        "REBUILD TABLE posts (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, user_id INTEGER REFERENCES users ON DELETE CASCADE,
           title TEXT NOT NULL DEFAULT '', body TEXT, price INTEGER CONSTRAINT cheap check(\"Price\">=0))",
        &[],
        "",
    ),
    (
        "REBUILD TABLE tags (name TEXT PRIMARY KEY CHECK (name <> 'A')); REBUILD TABLE tags (name TEXT PRIMARY KEY CHECK (name <> 'a'))",
        &["demands-more", "demands-more", "drop-definition"],
        "tags loses CHECK ( name <> 'A' )",
    ),
    ("INSERT INTO users (id) SELECT id FROM users WHERE 1 ON CONFLICT DO UPDATE SET age = NULL", &["update-all"], "overwrites age"),
    ("UPDATE OR REPLACE posts SET id = 1 WHERE id = 2", &["replace-cascades"], "3 rows of comments"),
    ("DELETE FROM comments WHERE id = id", &["delete-all"], ""),
    ("DELETE FROM sqlite_sequence", &["changes"], "counters of all"),
    ("DELETE FROM sqlite_sequence WHERE name = 'posts'", &["changes"], "a counter"),
    // Names that go round.
    (
        "ALTER TABLE tags RENAME TO x; ALTER TABLE empty RENAME TO tags; ALTER TABLE x RENAME TO empty",
        &["renames", "renames", "renames"],
        "renames tags to x; tags is another table then",
    ),
    ("ALTER TABLE tags RENAME TO t2; CREATE TABLE tags (name TEXT PRIMARY KEY)", &["renames"], "another table"),
    // What kept rows right.
    (
        "REBUILD TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER, text TEXT)",
        &["drop-definition"],
        "comments loses the foreign key to posts",
    ),
    (
        "REBUILD TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts, text TEXT)",
        &["drop-definition"],
        "ON DELETE CASCADE of the foreign key to posts, which is NO ACTION now",
    ),
    // Values that the copy changes, as an UPDATE would.
    (
        "CREATE TABLE n (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts ON DELETE CASCADE, text TEXT);
         INSERT INTO n SELECT id, post_id, substr(text, 1, 3) FROM comments; DROP TABLE comments; ALTER TABLE n RENAME TO comments;",
        &["update-all"],
        "copies text of comments by expressions",
    ),
    ("UPDATE comments SET text = substr(text, 1, 3)", &["update-all"], "changes text in 4 rows of comments"),
    // Keys that others refer to.
    (
        "CREATE TABLE n (id INTEGER PRIMARY KEY, name TEXT NOT NULL DEFAULT '', email TEXT UNIQUE, age INTEGER, upper_name TEXT AS (upper(name)));
         INSERT INTO n (name, email, age) SELECT name, email, age FROM users ORDER BY name; DROP TABLE users; ALTER TABLE n RENAME TO users;",
        &["new-keys"],
        "does not copy users.id, to which posts, audits refers",
    ),
    (
        "CREATE TABLE n (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts ON DELETE CASCADE, text TEXT);
         INSERT INTO n (post_id, text) SELECT post_id, text FROM comments; DROP TABLE comments; ALTER TABLE n RENAME TO comments;",
        &["changes"],
        "rows get other numbers",
    ),
    // Columns crossed.
    (
        "CREATE TABLE n (id INTEGER PRIMARY KEY, text TEXT, post_id INTEGER REFERENCES posts ON DELETE CASCADE);
         INSERT INTO n SELECT * FROM comments; DROP TABLE comments; ALTER TABLE n RENAME TO comments;",
        &["changes", "drop-column", "drop-column"],
        "does not copy the values of comments.text",
    ),
    // What moves somewhere else before it goes.
    (
        "CREATE TABLE profiles (user_id INTEGER PRIMARY KEY, age INTEGER); INSERT INTO profiles SELECT id, age FROM users;
         ALTER TABLE users DROP COLUMN age",
        &["drop-column"],
        "drops users.age and its values; a statement before it copies them",
    ),
    (
        "CREATE TABLE labels (label TEXT PRIMARY KEY); INSERT INTO labels SELECT name FROM tags; DROP TABLE tags",
        &["drop-table"],
        "drops tags and 1 row; a statement before it copies them",
    ),
    // Rows that the new key cannot have.
    (
        "CREATE TABLE n (post_id INTEGER NOT NULL REFERENCES posts ON DELETE CASCADE, text TEXT, PRIMARY KEY (post_id, text));
         INSERT OR IGNORE INTO n SELECT post_id, text FROM comments WHERE post_id IS NOT NULL; DROP TABLE comments; ALTER TABLE n RENAME TO comments;",
        &["changes", "changes", "demands-more", "drop-column", "drop-table"],
        "leaves out rows of comments",
    ),
    (
        "REBUILD TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts ON DELETE CASCADE, text TEXT DEFAULT 'x');
         REBUILD TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts ON DELETE CASCADE, text TEXT)",
        &["drop-definition"],
        "comments.text loses its default",
    ),
    ("CREATE TRIGGER no BEFORE INSERT ON posts BEGIN SELECT RAISE(ABORT, 'no'); END", &["demands-more"], "posts gets the trigger no, which refuses rows"),
    ("CREATE TABLE IF NOT EXISTS tags (other)", &["not-made"], "tags is there already with other columns"),
    (
        "DROP TRIGGER posts_new; CREATE TRIGGER posts_new AFTER INSERT ON posts BEGIN SELECT 1; END",
        &["drop-definition"],
        "makes the trigger posts_new on posts again with another text",
    ),
    ("DROP VIEW authors; CREATE VIEW authors AS SELECT email AS name FROM users", &["drop-definition"], "again with another text"),
    ("CREATE TEMP TABLE x (a); SELECT 1", &["not-a-migration"], "leaves the temporary table x behind"),
    ("SELECT load_extension('x')", &["not-a-migration"], "extension"),
    ("-- monolite: allow not-a-migration: x\nVACUUM", &["not-a-migration", "allow-wrong"], "is a rule"),
    ("-- monolite: allow fails: x\nALTER TABLE no ADD x", &["fails", "allow-wrong"], "is a rule"),
    ("INSERT INTO tags SELECT of_the_app(name) FROM tags", &["fails"], "no such function: of_the_app"),
    ("ALTER TABLE no ADD COLUMN x", &["fails"], "no such table: no"),
    ("INSERT INTO tags (nme) VALUES ('x')", &["fails"], "no column named nme"),
    ("ALTER TABLE tags ADD COLUMN x NOT NULL", &["fails"], "tags has 1 row"),
    ("REBUILD TABLE posts (id INTEGER PRIMARY KEY)", &["fails"], ""),
    ("COMMIT", &["not-a-migration"], "one transaction"),
    ("CREATE TABEL x (y)", &["not-a-migration"], "syntax error"),
    ("SELECT 'never", &["not-a-migration"], "never closed"),
        ("-- monolite: allow drop-table: x\nDROP TABLE tags", &["allow-wrong", "drop-table"], "name what is lost"),
    ("-- monolite: allow tags\nDROP TABLE tags", &["allow-wrong", "drop-table"], "gives no reason"),
];

pub(crate) const SLOW: &[(&str, &[&str], &str)] = &[
    (
        "CREATE INDEX i ON log (n)",
        &["slow"],
        "1,300,000 rows; writers wait for about 2 s",
    ),
    (
        "REBUILD TABLE log (id INTEGER PRIMARY KEY, n INTEGER DEFAULT 0)",
        &["slow"],
        "copies log: 1,300,000 rows",
    ),
    (
        "ALTER TABLE log DROP COLUMN n",
        &["slow", "drop-column"],
        "rewrites log",
    ),
    (
        "ALTER TABLE log ADD COLUMN m; UPDATE log SET m = n",
        &["slow"],
        "changes 1,300,000 rows",
    ),
    (
        "UPDATE log SET n = 1 WHERE n > 5",
        &["slow"],
        "changes up to 1,300,000 rows",
    ),
    ("UPDATE log SET n = 1 WHERE id BETWEEN 1 AND 10000", &[], ""),
    (
        "CREATE TABLE other (n); INSERT INTO other SELECT n FROM log",
        &["slow"],
        "copies from log",
    ),
];

#[test]
fn each_rule_finds_what_it_is_for_and_nothing_else() {
    let (blog, big) = (blog(), big());
    let mut seen = BTreeSet::new();
    let all = FOUND.iter().map(|one| (&blog, one));
    for (db, (text, rules, what)) in all.chain(SLOW.iter().map(|one| (&big, one))) {
        let found = lint(Some(db), text);
        let said: Vec<&str> = found.iter().map(|finding| finding.what.as_str()).collect();
        let (mut is, mut expected) = (names(&found), rules.to_vec());
        is.sort_unstable();
        expected.sort_unstable();
        assert_eq!(is, expected, "{text}\n{said:#?}");
        assert!(
            what.is_empty() || said.iter().any(|said| said.contains(what)),
            "{text}\n{said:#?}"
        );
        seen.extend(names(&found));
    }
    let all: BTreeSet<_> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!(seen, all, "a rule without a test");
}

#[test]
fn what_only_adds_is_not_found_fault_with() {
    let blog = blog();
    for text in [
        "CREATE TABLE more (id INTEGER PRIMARY KEY, post_id NOT NULL REFERENCES posts); CREATE UNIQUE INDEX m ON more (post_id);
         INSERT INTO more SELECT id, id FROM posts; DELETE FROM more; UPDATE more SET post_id = 1; DROP TABLE more;",
        "ALTER TABLE posts ADD COLUMN subtitle TEXT; UPDATE posts SET subtitle = title; ALTER TABLE posts RENAME COLUMN subtitle TO sub;
         ALTER TABLE posts DROP COLUMN sub;",
        "ALTER TABLE posts ADD COLUMN n INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE posts ADD COLUMN tag TEXT REFERENCES tags CHECK (tag <> 'x')",
        "ALTER TABLE empty ADD COLUMN n NOT NULL DEFAULT CURRENT_TIMESTAMP",
        "CREATE INDEX i ON comments (post_id); DROP INDEX posts_title",
        "CREATE VIEW v AS SELECT * FROM posts; DROP VIEW v",
        "DROP VIEW authors; CREATE VIEW IF NOT EXISTS main.\"authors\" AS select name FROM users",
        "DROP TRIGGER posts_new; CREATE TRIGGER anew AFTER INSERT ON posts BEGIN UPDATE users SET age = age WHERE id = new.user_id; END",
        "CREATE TRIGGER tr AFTER INSERT ON posts BEGIN SELECT 1; END; DROP TRIGGER tr",
        "UPDATE posts SET body = body, title = (title)",
        "UPDATE posts SET body = c.text FROM comments AS c WHERE posts.id = c.id",
        "UPDATE posts AS p SET body = text FROM comments WHERE comments.id = p.id AND 1",
        "INSERT INTO users (id, age) SELECT id, age FROM users WHERE 1 ON CONFLICT DO UPDATE SET age = 0 WHERE excluded.age = age",
        "CREATE TABLE kept AS SELECT * FROM tags; ALTER TABLE kept RENAME TO saved",
        "ALTER TABLE tags RENAME TO x; ALTER TABLE x RENAME TO tags",
        "CREATE TRIGGER more AFTER DELETE ON posts BEGIN DELETE FROM tags; END",
        "DELETE FROM posts WHERE price < 0; UPDATE posts SET title = 'x' WHERE id = 1",
        "INSERT INTO tags VALUES ('b') ON CONFLICT DO NOTHING; INSERT OR REPLACE INTO tags VALUES ('c')",
        "PRAGMA user_version = 3; SELECT 1; ANALYZE; REINDEX",
        "CREATE TABLE IF NOT EXISTS tags (name TEXT PRIMARY KEY, CHECK (name <> ''))",
        "CREATE TEMP TABLE x AS SELECT 1 AS a; CREATE TEMP VIEW y AS SELECT a FROM x; DROP VIEW y; DROP TABLE x",
        // No type of SQLite's, and no constraint, is another one.
        "REBUILD TABLE tags (name VARCHAR(200) PRIMARY KEY)",
        "PRAGMA foreign_keys = OFF; CREATE TABLE n (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts ON DELETE CASCADE, text TEXT);
         INSERT INTO n SELECT * FROM comments; DROP TABLE comments; ALTER TABLE n RENAME TO comments; PRAGMA foreign_keys = ON",
        "-- nothing to be done for SQLite",
        "",
        "CREATE TABLE n (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts ON DELETE CASCADE, text TEXT DEFAULT '');
         INSERT INTO n SELECT id, post_id, coalesce(text, '') FROM comments; DROP TABLE comments; ALTER TABLE n RENAME TO comments;",
        "REBUILD TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER REFERENCES posts ON DELETE SET NULL, text TEXT)",
        "CREATE VIRTUAL TABLE search USING fts5(body); INSERT INTO search SELECT body FROM posts; DROP TABLE search",
    ] {
        let found = lint(Some(&blog), text);
        assert!(found.is_empty(), "{text}\n{found:#?}");
    }
}

#[test]
fn findings_are_facts_for_programs_too() {
    let found = lint(Some(&blog()), "DROP TABLE tags");
    let rule = found[0].rule;
    assert_eq!((rule.level, found[0].level), (Level::Error, Level::Error));
    assert_eq!(found[0].instead, rule.instead);
}

/// `docs/migrations.md` lists each rule with its level, and no other.
#[test]
fn the_documentation_lists_each_rule() {
    let text = include_str!("../../../../docs/migrations.md");
    let (_, list) = text.split_once("<!-- rules -->").expect("the list begins");
    let (list, _) = list
        .split_once("<!-- end of rules -->")
        .expect("the list ends");
    let rows = list.lines().filter(|line| line.starts_with("| `"));
    let listed: Vec<(String, String)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            (cells[1].trim_matches('`').to_owned(), cells[2].to_owned())
        })
        .collect();
    let level = |level: Level| format!("{level:?}").to_lowercase();
    let rules: Vec<_> = RULES
        .iter()
        .map(|rule| (rule.name.to_owned(), level(rule.level)))
        .collect();
    assert_eq!(listed, rules);
    for rule in RULES {
        assert!(
            list.contains(rule.when) && list.contains(rule.instead),
            "{}",
            rule.name
        );
    }
}
