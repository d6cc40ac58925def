//! Any text as a migration file: `check` and lint answer, never panic, and end.
//!
//! `cargo fuzz run migration_file fuzz/corpus/migration_file fuzz/seeds/migration_file`
#![no_main]

use libfuzzer_sys::fuzz_target;
use monolite_migrate::files::Migrations;
use monolite_migrate::lint::Linter;
// Brings SQLite.
use rusqlite as _;

const FIRST: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL, b INT CHECK (b > 0));
    CREATE TABLE c (t_id REFERENCES t ON DELETE CASCADE); CREATE INDEX i ON t (a);
    CREATE VIEW v AS SELECT a FROM t;";

fuzz_target!(|text: &str| {
    let Ok(migrations) = Migrations::new([("0001_first.sql", FIRST), ("0002_next.sql", text)]) else {
        return;
    };
    let runs = migrations.check();
    let mut linter = Linter::new(None).expect("an empty schema");
    linter.file("0001_first.sql", FIRST).expect("the first file");
    let found = linter.file("0002_next.sql", text).expect("the schema in memory");
    // What `up` refuses before it runs, lint finds.
    assert!(runs.is_ok() || found.iter().any(|one| one.is_error()), "{runs:?}");
});
