//! What it costs: nothing is written, little is read, nothing is without an end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use monolite_migrate::lint::Linter;
use rusqlite::Connection;

use crate::common::{big, blog, lint, names};
use crate::rules::{FOUND, SLOW};

/// Before a file is applied, nobody waits for its tables to be read through.
#[test]
fn without_counting_hardly_anything_is_read() {
    let big = big();
    big.execute_batch(
        "CREATE TABLE part (log_id REFERENCES log ON DELETE CASCADE);
         INSERT INTO part SELECT NULL FROM log; CREATE TABLE empty (x)",
    )
    .unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let thousands = Arc::clone(&read);
    let count = move || {
        thousands.fetch_add(1, Ordering::Relaxed);
        false
    };
    big.progress_handler(1_000, Some(count)).unwrap();
    let texts = SLOW
        .iter()
        .map(|(text, ..)| *text)
        .chain(["DROP TABLE log", "ALTER TABLE log ADD COLUMN x NOT NULL"]);
    let mut found = BTreeSet::new();
    for text in texts {
        let mut linter = Linter::uncounted(&big).unwrap();
        found.extend(names(&linter.file("0001_a.sql", text).unwrap()));
    }
    // What takes long is not known; an empty table is known as one.
    let expected = ["drop-column", "drop-table", "orphans", "fails"];
    assert_eq!(found, BTreeSet::from(expected));
    let mut linter = Linter::uncounted(&big).unwrap();
    let add = "ALTER TABLE empty ADD COLUMN y NOT NULL DEFAULT CURRENT_TIMESTAMP";
    assert!(linter.file("0001_a.sql", add).unwrap().is_empty());
    let thousands = read.load(Ordering::Relaxed);
    assert!(thousands < 1_000, "{thousands} thousand steps");
}

/// Were each compared with each, this would take minutes.
#[test]
fn hundreds_of_triggers_are_judged_at_once() {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch("CREATE TABLE t (a, b); CREATE TABLE u (x)")
        .unwrap();
    let trigger = |name: &str| {
        format!(
            "CREATE TRIGGER {name} BEFORE INSERT ON t WHEN new.a = '{name}' BEGIN
               SELECT RAISE(ABORT, 'no {name}') FROM u WHERE x = new.b AND new.a <> 'some more words';
             END;"
        )
    };
    for number in 0..300 {
        db.execute_batch(&trigger(&format!("t{number}"))).unwrap();
    }
    let statements: Vec<String> = (0..40).map(|n| format!("CREATE TABLE n{n} (x);")).collect();
    assert!(lint(Some(&db), &statements.concat()).is_empty());
    let found = lint(
        Some(&db),
        &format!("{}{}", trigger("new"), statements.concat()),
    );
    assert_eq!(names(&found), ["demands-more"]);
    // The same under another name.
    let renamed = trigger("t7").replacen("t7", "seven", 1);
    let found = lint(Some(&db), &format!("DROP TRIGGER t7; {renamed}"));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn nothing_is_written_to_the_database() {
    let blog = blog();
    let count = || {
        blog.query_row("SELECT total_changes()", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let before = count();
    let schema = |db: &Connection| {
        let mut all = db.prepare("SELECT sql FROM sqlite_schema").unwrap();
        let all = all
            .query_map([], |row| row.get::<_, Option<String>>(0))
            .unwrap();
        all.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let was = schema(&blog);
    for (text, ..) in FOUND {
        lint(Some(&blog), text);
    }
    assert_eq!((count(), schema(&blog)), (before, was));
}

#[test]
fn a_table_without_end_is_not_waited_for() {
    let text = "CREATE TABLE endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n;
        ALTER TABLE endless ADD COLUMN x; DROP TABLE tags;";
    assert_eq!(names(&lint(Some(&blog()), text)), ["drop-table"]);
}

/// Deeper than a person nests, and as deep as a stack that overflows.
#[test]
fn any_depth_is_judged() {
    for many in [2_000, 100_000] {
        let (open, close) = ("(".repeat(many), ")".repeat(many));
        for text in [
            format!("DELETE FROM t WHERE {open}1{close}"),
            format!("ALTER TABLE t ADD COLUMN x DEFAULT {open}1{close}"),
            format!(
                "INSERT INTO t {}SELECT 1{close}",
                "SELECT * FROM (".repeat(many)
            ),
        ] {
            let found = lint(None, &text);
            let has_bound = found
                .iter()
                .any(|one| one.what.contains("more than 2500 parentheses"));
            assert_eq!(has_bound, many > 2_500, "{found:?}");
        }
        // What is nested without parentheses.
        for text in [
            format!("SELECT {}1", "- ".repeat(many)),
            format!(
                "CREATE TRIGGER t AFTER INSERT ON t BEGIN SELECT {}; END",
                "CASE WHEN 1 THEN ".repeat(many)
            ),
        ] {
            lint(None, &text);
        }
    }
}
