//! What a finding depends on: earlier and later statements, other files, comments.

use monolite_migrate::lint::Linter;
use rusqlite::Connection;

use crate::common::{BLOG, blog, lint, names};

#[test]
fn without_a_database_the_files_before_are_what_is_there() {
    let mut linter = Linter::new(None).unwrap();
    assert!(linter.file("0001_a.sql", BLOG).unwrap().is_empty());
    let found = linter
        .file("0002_a.sql", "SELECT 1;\nDROP TABLE posts;")
        .unwrap();
    assert_eq!(names(&found), ["drop-table", "orphans"]);
    assert!(
        found[1].what.contains("leaves its rows of comments"),
        "{}",
        found[1].what
    );
    assert_eq!(
        (found[1].line, &*found[1].statement, &*found[1].file),
        (2, "DROP TABLE posts", "0002_a.sql")
    );
    let found = linter
        .file("0003_a.sql", "ALTER TABLE posts ADD COLUMN x")
        .unwrap();
    assert_eq!(names(&found), ["fails"]);
    let found = linter
        .file("0004_a.sql", "ALTER TABLE tags ADD COLUMN x NOT NULL")
        .unwrap();
    assert!(
        found[0].what.contains("tags may have rows"),
        "{}",
        found[0].what
    );
    let found = linter
        .file("0005_a.sql", "UPDATE tags SET name = ''")
        .unwrap();
    assert_eq!(names(&found), ["update-all"]);
}

#[test]
fn what_later_statements_name_is_as_it_is_then() {
    let blog = blog();
    let text = "ALTER TABLE posts RENAME TO articles;
        ALTER TABLE articles RENAME COLUMN body TO text;
        ALTER TABLE articles DROP COLUMN text;
        DELETE FROM articles;";
    let found = lint(Some(&blog), text);
    assert_eq!(
        names(&found),
        ["renames", "renames", "drop-column", "delete-all"]
    );
    assert_eq!(found[2].what, "drops posts.text and its values");
    assert!(
        found[3]
            .what
            .starts_with("deletes 4 rows of articles, and with them 3 rows of comments"),
        "{}",
        found[3].what
    );
    // Files one after another, too.
    let mut linter = Linter::new(Some(&blog)).unwrap();
    linter
        .file(
            "0001_a.sql",
            "CREATE TABLE later (x); ALTER TABLE posts ADD COLUMN later TEXT",
        )
        .unwrap();
    let found = linter
        .file(
            "0002_a.sql",
            "DROP TABLE later; UPDATE posts SET later = ''",
        )
        .unwrap();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_unique_index_made_again_is_neither_gone_nor_new() {
    let blog = blog();
    blog.execute_batch("CREATE UNIQUE INDEX ut ON tags (lower(name)) WHERE name <> ''")
        .unwrap();
    let drop = "DROP INDEX ut; CREATE UNIQUE INDEX";
    for (made, expected) in [
        ("ut ON tags (lower(name)) WHERE name <> ''", &[][..]),
        ("other ON \"tags\"(LOWER(name)) WHERE name<>''", &[]),
        (
            "ut ON tags (upper(name)) WHERE name <> ''",
            &["drop-definition", "demands-more"],
        ),
    ] {
        let found = lint(Some(&blog), &format!("{drop} {made}"));
        assert_eq!(names(&found), expected, "{made}");
    }
}

#[test]
fn a_rebuild_by_hand_tells_what_it_forgets() {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch("CREATE TABLE t (a, b NOT NULL DEFAULT 1 UNIQUE CHECK (b > 0)); CREATE INDEX i ON t (a); CREATE INDEX j ON t (b);
        CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END;").unwrap();
    let found = lint(
        Some(&db),
        "CREATE TABLE n AS SELECT b FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t; CREATE INDEX j ON t (b)",
    );
    assert_eq!(
        names(&found),
        [
            "drop-definition",
            "drop-column",
            "drop-definition",
            "drop-definition"
        ]
    );
    assert_eq!(
        found[0].what,
        "rebuilds t by hand, and does not make again: the trigger tr, CHECK ( b > 0 )"
    );
    assert_eq!(found[0].allow.as_deref(), Some("trigger:tr, constraint:t"));
}

#[test]
fn what_is_allowed_is_told_with_its_reason() {
    let blog = blog();
    let text = "-- The labels took its place.
        -- monolite: allow table:tags: replaced by labels in 0007
        DROP TABLE tags;
        DROP TABLE empty;";
    let found = lint(Some(&blog), text);
    assert_eq!(names(&found), ["drop-table", "drop-table"]);
    assert_eq!(
        found[0].allowed.as_deref(),
        Some("replaced by labels in 0007")
    );
    assert!(!found[0].is_error());
    assert!(found[1].is_error(), "of its own statement only");
}

#[test]
fn what_only_the_app_can_make_is_not_judged() {
    let db = Connection::open_in_memory().unwrap();
    // As a database has it whose app brings the module.
    db.execute_batch(
        "CREATE TABLE u (x); PRAGMA writable_schema = ON;
         INSERT INTO sqlite_schema VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING no_such_module(a)');
         PRAGMA writable_schema = RESET;",
    )
    .unwrap();
    let found = lint(
        Some(&db),
        "INSERT INTO v VALUES (1); DROP TABLE \"V\"; DROP TABLE u",
    );
    assert_eq!(names(&found), ["drop-table"]);
}

#[test]
fn where_a_text_cannot_be_read_is_its_line() {
    let found = lint(None, "SELECT 1;\n\nSELECT 'never closed;\n");
    assert_eq!(
        (found[0].line, &*found[0].what),
        (3, "a quote that is never closed")
    );
}

/// What only breaks code of the release before is an error where such code runs on.
#[test]
fn a_rolling_deploy_is_judged_harder() {
    let blog = blog();
    let errors = |rolling: bool, text: &str| {
        let mut linter = Linter::new(Some(&blog)).unwrap().rolling(rolling);
        let found = linter.file("0001_a.sql", text).unwrap();
        assert!(!found.is_empty(), "{text}");
        found.iter().filter(|finding| finding.is_error()).count()
    };
    for text in [
        "ALTER TABLE posts RENAME COLUMN body TO text",
        "ALTER TABLE tags RENAME TO labels",
        "REBUILD TABLE tags (name TEXT PRIMARY KEY, n INTEGER NOT NULL) SET n = 1",
        "CREATE UNIQUE INDEX one ON comments (post_id, text)",
    ] {
        assert_eq!((errors(false, text), errors(true, text)), (0, 1), "{text}");
    }
    let allowed = "-- monolite: allow posts.body: no release before is left\nALTER TABLE posts RENAME COLUMN body TO text";
    assert_eq!(errors(true, allowed), 0);
}

/// The index is of the table that was renamed, or of the one that took its name.
#[test]
fn a_unique_index_that_is_made_again_after_a_rename_is_not_dropped() {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(
        "CREATE TABLE m (id INTEGER PRIMARY KEY, checksum TEXT, path VARCHAR(50)); CREATE UNIQUE INDEX m_c ON m (checksum)",
    )
    .unwrap();
    let found = lint(
        Some(&db),
        "ALTER TABLE m RENAME TO m_old;
         CREATE TABLE m (id INTEGER PRIMARY KEY, checksum TEXT, path VARCHAR(200));
         DROP INDEX m_c; CREATE UNIQUE INDEX m_c ON m (checksum);
         INSERT INTO m SELECT * FROM m_old; DROP TABLE m_old",
    );
    assert!(found.is_empty(), "{found:#?}");
}
