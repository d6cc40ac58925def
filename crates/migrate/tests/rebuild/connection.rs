//! The connection, its transaction, and others beside it.

use crate::corpus;
use crate::corpus::{database, dump, query};
use crate::{BLOG, count, refused};
use monolite_migrate::rebuild::{Error, Rebuild, Step};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

#[test]
fn a_transaction_with_foreign_keys_is_refused_and_stays() {
    let conn = database(BLOG);
    conn.execute_batch("BEGIN; INSERT INTO users VALUES (3, 'cy')")
        .unwrap();
    let error = Rebuild::table("users").run(&conn).unwrap_err();
    assert!(matches!(error, Error::ForeignKeysOn { .. }));
    assert!(
        error
            .to_string()
            .contains("PRAGMA foreign_keys = OFF before BEGIN"),
        "{error}"
    );
    assert!(!conn.is_autocommit());
    conn.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&conn, "users"), 3);
}

#[test]
fn a_failure_in_a_callers_transaction_undoes_only_itself() {
    let conn = database(BLOG);
    conn.execute_batch("PRAGMA foreign_keys = OFF; BEGIN; INSERT INTO users VALUES (3, 'cy')")
        .unwrap();
    let before = dump(&conn);
    Rebuild::table("posts").drop("name").run(&conn).unwrap_err();
    Rebuild::table("posts")
        .column("name", |name| name.not_null(true))
        .run(&conn)
        .unwrap_err();
    assert!(!conn.is_autocommit());
    assert_eq!(dump(&conn), before);
    Rebuild::table("users").strict(true).run(&conn).unwrap();
    conn.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&conn, "users"), 3);
    assert_eq!(query(&conn, "PRAGMA foreign_keys"), "Integer(0)|\n");
}

#[test]
fn settings_are_as_they_were() {
    let conn = database(BLOG);
    let settings = [
        "foreign_keys",
        "legacy_alter_table",
        "cache_size",
        "threads",
        "ignore_check_constraints",
        "reverse_unordered_selects",
        "writable_schema",
    ];
    let all = |conn: &Connection| settings.map(|name| query(conn, &format!("PRAGMA {name}")));
    for setup in [
        "",
        "PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; PRAGMA cache_size = 50; PRAGMA reverse_unordered_selects = ON",
        "PRAGMA cache_size = -900000",
    ] {
        conn.execute_batch(setup).unwrap();
        let before = all(&conn);
        Rebuild::table("posts").threads(2).run(&conn).unwrap();
        assert_eq!(all(&conn), before);
        Rebuild::table("posts").drop("name").run(&conn).unwrap_err();
        assert_eq!(all(&conn), before);
    }
}

#[test]
fn defensive_connections_and_distrusted_schemas() {
    let conn = database(BLOG);
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)
        .unwrap();
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)
        .unwrap();
    let before = dump(&conn);
    Rebuild::table("posts").run(&conn).unwrap();
    assert_eq!(dump(&conn), before);
}

#[test]
fn readers_go_on() {
    for mode in ["WAL", "DELETE"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sqlite3");
        let conn = Connection::open(&path).unwrap();
        conn.pragma_update(None, "journal_mode", mode).unwrap();
        corpus::fill(&conn, BLOG);
        let reader = Connection::open(&path).unwrap();
        if mode == "WAL" {
            reader.execute_batch("BEGIN").unwrap();
            assert_eq!(count(&reader, "posts"), 3);
        }
        let rebuild = Rebuild::table("posts")
            .drop("price")
            .column("name", |name| name.default("'x'"));
        rebuild
            .run_with(&conn, &mut |step| {
                if let Step::Checking = step {
                    assert_eq!(count(&reader, "posts WHERE price > 1"), 1);
                }
            })
            .unwrap();
        if mode == "WAL" {
            assert_eq!(count(&reader, "posts WHERE price > 1"), 1);
            reader.execute_batch("COMMIT").unwrap();
        }
        assert!(
            reader
                .query_row("SELECT price FROM posts", [], |_| Ok(()))
                .is_err()
        );
        assert_eq!(count(&reader, "names"), 3);
    }
}

#[test]
fn a_writer_in_the_way_is_an_error_and_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sqlite3");
    let conn = Connection::open(&path).unwrap();
    corpus::fill(&conn, BLOG);
    conn.busy_timeout(std::time::Duration::ZERO).unwrap();
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let said = refused(&conn, Ok(Rebuild::table("posts")));
    assert!(said.contains("locked"), "{said}");
    writer.execute_batch("COMMIT; BEGIN").unwrap();
    // In rollback mode a reader stands in the way of the commit.
    assert_eq!(count(&writer, "posts"), 3);
    let said = refused(&conn, Ok(Rebuild::table("posts").strict(true)));
    assert!(said.contains("locked"), "{said}");
    writer.execute_batch("COMMIT").unwrap();
    Rebuild::table("posts").strict(true).run(&conn).unwrap();
}

#[test]
fn progress_is_told() {
    let conn = database(BLOG);
    let mut steps = Vec::new();
    Rebuild::table("posts")
        .run_with(&conn, &mut |step| steps.push(format!("{step:?}")))
        .unwrap();
    assert_eq!(
        steps,
        [
            "Copying { rows: 3 }",
            "Indexing { name: \"posts_user\", number: 1, of: 2 }",
            "Indexing { name: \"posts_name\", number: 2, of: 2 }",
            "Checking",
            "Committing"
        ]
    );
}
