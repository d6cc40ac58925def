use monolite_migrate::files::{Error, Event, Options, State, applied, pending, status, up};
use rusqlite::Connection;

use crate::common::{NOW_MS, apply, dump, files, one, versions};

const POSTS: &str = "CREATE TABLE post (id INTEGER PRIMARY KEY, title TEXT NOT NULL);
    INSERT INTO post VALUES (1, 'one; two'), (2, '-- three');
    CREATE TRIGGER louder AFTER INSERT ON post BEGIN
        UPDATE post SET title = upper(title) WHERE id = new.id; -- in; here
    END;";

#[test]
fn each_is_applied_once_in_order_and_recorded() {
    let db = Connection::open_in_memory().unwrap();
    let second = "INSERT INTO post VALUES (3, 'four')";
    assert_eq!(versions(&apply(&db, &[POSTS, second]).unwrap()), [1, 2]);
    assert!(apply(&db, &[POSTS, second]).unwrap().is_empty());
    let third = "SELECT * FROM post; PRAGMA user_version = 7; ALTER TABLE post ADD COLUMN x";
    assert_eq!(versions(&apply(&db, &[POSTS, second, third]).unwrap()), [3]);
    assert_eq!(
        one::<String>(&db, "SELECT title FROM post WHERE id = 3"),
        "FOUR"
    );
    assert_eq!(one::<i64>(&db, "PRAGMA user_version"), 7);

    let all = files(&[POSTS, second, third]);
    let records = applied(&db).unwrap();
    assert_eq!(records.len(), 3);
    for (record, file) in records.iter().zip(all.files()) {
        assert_eq!(
            (record.version, &*record.name),
            (file.version(), file.name())
        );
        assert_eq!(record.checksum, file.checksum());
        assert!((NOW_MS..NOW_MS + 60_000).contains(&record.applied_at_ms));
        assert!(record.took_ms.unwrap() < 60_000);
    }
}

#[test]
fn what_each_statement_took_is_told() {
    let db = Connection::open_in_memory().unwrap();
    let migrations = files(&[POSTS]);
    let mut said = Vec::new();
    let done = up(
        &db,
        &migrations,
        &Options::new(NOW_MS),
        &mut |event| match event {
            Event::Statement { line, words, .. } => said.push((line, words.to_owned())),
            Event::Applied(done) => said.push((0, done.applied.name.clone())),
            _ => panic!("{event:?}"),
        },
    );
    let steps = &done.unwrap()[0].statements;
    let expected = [
        (1, "CREATE TABLE post (id"),
        (2, "INSERT INTO post VALUES"),
        (3, "CREATE TRIGGER louder AFTER"),
        (0, "0001_a"),
    ];
    assert_eq!(said, expected.map(|(line, words)| (line, words.to_owned())));
    let lines: Vec<_> = steps.iter().map(|step| step.line).collect();
    assert_eq!(lines, [1, 2, 3]);
}

#[test]
fn a_file_that_fails_leaves_nothing_and_those_before_it_stay() {
    let db = Connection::open_in_memory().unwrap();
    let wrong = "CREATE TABLE left_over (x);\nINSERT INTO post VALUES (9, 'x');\n\nINSERT INTO no VALUES (1);";
    let error = apply(&db, &[POSTS, wrong, "SELECT 1"]).unwrap_err();
    let Error::Statement { file, line, source } = &error else {
        panic!("{error}");
    };
    assert_eq!((file.as_str(), *line), ("0002_a.sql", 4));
    assert!(source.to_string().contains("no such table: no"), "{source}");
    assert!(db.is_autocommit());
    let reference = Connection::open_in_memory().unwrap();
    apply(&reference, &[POSTS]).unwrap();
    assert_eq!(dump(&db), dump(&reference));
    // Mended, it goes on.
    assert_eq!(versions(&apply(&db, &[POSTS, "SELECT 2"]).unwrap()), [2]);
}

#[test]
fn a_statement_that_rolls_back_by_itself_is_an_error() {
    let db = Connection::open_in_memory().unwrap();
    let wrong = "INSERT INTO post VALUES (7, 'x'); INSERT OR ROLLBACK INTO post VALUES (1, 'x')";
    let error = apply(&db, &[POSTS, wrong]).unwrap_err();
    assert!(matches!(error, Error::Statement { .. }), "{error}");
    assert!(db.is_autocommit());
    assert_eq!(one::<i64>(&db, "SELECT count(*) FROM post"), 2);
    assert_eq!(applied(&db).unwrap().len(), 1);
}

#[test]
fn the_connection_is_as_it_was_before() {
    let db = Connection::open_in_memory().unwrap();
    let setting = |name: &str| one::<i64>(&db, &format!("PRAGMA {name}"));
    for (foreign_keys, busy) in [(1, 1234), (0, 0)] {
        db.pragma_update(None, "foreign_keys", foreign_keys)
            .unwrap();
        db.pragma_update(None, "busy_timeout", busy).unwrap();
        let drops = ["CREATE TABLE a (x)", "DROP TABLE a"];
        let _ = apply(&db, &drops);
        let _ = apply(&db, &["CREATE TABLE a (x)", "no"]);
        assert_eq!(
            (setting("foreign_keys"), setting("busy_timeout")),
            (foreign_keys, busy)
        );
    }
    db.execute_batch("BEGIN").unwrap();
    let error = apply(&db, &["SELECT 1"]).unwrap_err();
    assert!(matches!(error, Error::InTransaction), "{error}");
}

#[test]
fn up_to_a_number_and_no_further() {
    let db = Connection::open_in_memory().unwrap();
    let all = files(&[
        "CREATE TABLE a (x)",
        "CREATE TABLE b (x)",
        "CREATE TABLE c (x)",
    ]);
    let options = Options::new(NOW_MS).up_to(2);
    assert_eq!(
        versions(&up(&db, &all, &options, &mut |_| {}).unwrap()),
        [1, 2]
    );
    assert!(up(&db, &all, &options, &mut |_| {}).unwrap().is_empty());
    let options = options.up_to(1);
    assert!(up(&db, &all, &options, &mut |_| {}).unwrap().is_empty());
    let error = up(&db, &all, &options.up_to(4), &mut |_| {}).unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoSuch {
                version: 4,
                newest: 3
            }
        ),
        "{error}"
    );
}

#[test]
fn an_older_app_on_a_newer_database_is_told_or_lives_with_it() {
    let db = Connection::open_in_memory().unwrap();
    apply(&db, &["CREATE TABLE a (x)", "CREATE TABLE b (x)"]).unwrap();
    let older = files(&["CREATE TABLE a (x)"]);
    let options = Options::new(NOW_MS);
    let error = up(&db, &older, &options, &mut |_| {}).unwrap_err();
    assert!(matches!(error, Error::Newer { newest: 1, .. }), "{error}");
    let options = options.accept_newer(true);
    assert!(up(&db, &older, &options, &mut |_| {}).unwrap().is_empty());
}

#[test]
fn the_status_of_each_is_told_though_they_do_not_fit_together() {
    let db = Connection::open_in_memory().unwrap();
    let none = status(&db, &files(&["SELECT 1"])).unwrap();
    assert_eq!(
        (none[0].state, none[0].applied_at_ms),
        (State::Pending, None)
    );
    apply(&db, &["SELECT 1", "SELECT 2", "SELECT 3"]).unwrap();
    db.execute("DELETE FROM _monolite_migration WHERE version = 2", [])
        .unwrap();
    let now = files(&["SELECT 1 /* edited */", "SELECT 2"]);
    let all = status(&db, &now).unwrap();
    let states: Vec<_> = all.iter().map(|entry| entry.state).collect();
    assert_eq!(states, [State::Edited, State::Pending, State::Gone]);
    assert!(pending(&db, &now, false).is_err());
}

#[test]
fn virtual_tables_and_other_peoples_sql() {
    let db = Connection::open_in_memory().unwrap();
    let text = "\u{feff}-- first\r\nCREATE VIRTUAL TABLE search USING fts5(body);\r\n\
        INSERT INTO search VALUES ('semi;colon');;\r\n\
        CREATE VIEW \"a;b\" AS SELECT CASE WHEN 1 THEN 'BEGIN' END AS x;\r\n\
        SAVEPOINT s; CREATE TABLE gone (x); ROLLBACK TO s; RELEASE s;\r\n\
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3)\r\n\
        INSERT INTO search SELECT 'n' || i FROM n RETURNING rowid\r\n-- the end";
    apply(&db, &[text]).unwrap();
    assert_eq!(one::<i64>(&db, "SELECT count(*) FROM search"), 4);
    assert_eq!(one::<String>(&db, "SELECT x FROM \"a;b\""), "BEGIN");
    // Ends of lines as another editor has them: the same file.
    assert!(
        apply(&db, &[&text.replace("\r\n", "\n")])
            .unwrap()
            .is_empty()
    );
}
