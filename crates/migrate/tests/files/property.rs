//! Whatever the files hold and wherever one fails: each is applied whole and
//! once, or not at all.

use monolite_migrate::files::{Options, applied, up};
use proptest::prelude::*;
use rusqlite::Connection;

use crate::common::{NOW_MS, dump, files};

/// Statements that succeed, or fail by what went before, or never parse.
fn statement() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (0..4u8).prop_map(|n| format!("CREATE TABLE t{n} (id INTEGER PRIMARY KEY, x TEXT UNIQUE, p REFERENCES t{} ON DELETE CASCADE)", (n + 1) % 4)),
        8 => (0..4u8, 0..6u8, 0..6u8).prop_map(|(t, x, p)| format!("INSERT INTO t{t} (x, p) VALUES ('{x};', nullif({p}, 5))")),
        4 => (0..4u8).prop_map(|n| format!("DELETE FROM t{n} WHERE id > 1")),
        3 => (0..4u8).prop_map(|n| format!("DROP TABLE t{n}")),
        3 => (0..4u8).prop_map(|n| format!("REBUILD TABLE t{n} (id INTEGER PRIMARY KEY, x TEXT NOT NULL DEFAULT '-', p REFERENCES t{} ON DELETE CASCADE)", (n + 1) % 4)),
        2 => (0..4u8).prop_map(|n| format!("CREATE TRIGGER r{n} AFTER INSERT ON t{n} BEGIN UPDATE t{n} SET x = x || '!' WHERE id = new.id; END")),
        1 => Just("ROLLBACK".to_owned()),
        1 => Just("this is not SQL".to_owned()),
    ]
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    let file = prop::collection::vec(statement(), 1..5).prop_map(|all| all.join(";\n"));
    prop::collection::vec(file, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whole_and_once_or_not_at_all(texts in texts()) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let all = files(&texts);
        let db = Connection::open_in_memory().unwrap();
        let result = up(&db, &all, &Options::new(NOW_MS), &mut |_| {});
        let done = applied(&db).unwrap();
        let numbers: Vec<u32> = done.iter().map(|one| one.version).collect();
        prop_assert_eq!(&numbers, &(1..=u32::try_from(done.len()).unwrap()).collect::<Vec<_>>());
        match &result {
            Ok(done) => prop_assert_eq!(done.len(), texts.len()),
            Err(_) => prop_assert!(done.len() < texts.len()),
        }
        prop_assert!(db.is_autocommit());
        let orphans: i64 = db.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0)).unwrap_or(0);
        prop_assert_eq!(orphans, 0);
        // What is there is what exactly those files make, applied one at a time.
        let reference = Connection::open_in_memory().unwrap();
        for last in 1..=done.len() {
            let some = files(&texts[..last]);
            up(&reference, &some, &Options::new(NOW_MS), &mut |_| {}).unwrap();
        }
        prop_assert_eq!(dump(&db), dump(&reference));
        // Again: the same, and nothing more.
        let again = up(&db, &all, &Options::new(NOW_MS), &mut |_| {});
        prop_assert_eq!(again.is_err(), result.is_err());
        prop_assert_eq!(dump(&db), dump(&reference));
    }

    /// Any text at all is read or refused, and never panics.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        let _ = files(&[&text]).check();
    }

    #[test]
    fn anything_like_sql_is_read_or_refused(words in prop::collection::vec(prop_oneof![
        Just("CREATE"), Just("TABLE"), Just("TRIGGER"), Just("BEGIN"), Just("END"), Just(";"), Just("("),
        Just(")"), Just("'a;'"), Just("\"b\""), Just("--c\n"), Just("/*d*/"), Just("SELECT"), Just("CASE"),
        Just("REBUILD"), Just("RENAME"), Just("COLUMN"), Just("TO"), Just("SET"), Just("DROP"), Just("x"),
        Just("WITH"), Just("AS"), Just("INSERT"), Just("INTO"), Just("1"), Just("''''"), Just("[e]"), Just("\"\""),
    ], 0..30)) {
        let _ = files(&[&words.join(" ")]).check();
    }
}
