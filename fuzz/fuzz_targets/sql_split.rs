//! Any text as SQL: an error or statements, never a panic, and no byte of a statement
//! or a definition is lost.
//!
//! `cargo fuzz run sql_split fuzz/corpus/sql_split fuzz/seeds/sql_split`
#![no_main]

use libfuzzer_sys::fuzz_target;
use monolite_migrate::sql::{ColumnText, TableText, split, words};

fuzz_target!(|text: &str| {
    let Ok(statements) = split(text) else {
        return;
    };
    let mut end = 0;
    for statement in &statements {
        assert_eq!(text.get(statement.span.clone()), Some(statement.text.as_str()));
        assert!(statement.text.contains(&statement.sql));
        assert!(end <= statement.span.start, "statements overlap");
        end = statement.span.end;
        let line = 1 + text[..statement.span.start].matches('\n').count();
        assert!(line <= statement.line);
        // The same statement alone is one statement.
        let alone = split(&statement.sql).expect("a statement that was read");
        assert_eq!(alone.len(), 1);
        words(&statement.sql);
        if let Ok(table) = TableText::parse(&statement.sql) {
            assert!(statement.sql.starts_with(&table.to_string()), "a definition is kept");
            for item in table.items.iter().filter(|item| item.column.is_some()) {
                if let Ok(column) = ColumnText::parse(&item.body) {
                    assert!(column.text().starts_with(item.body.trim()));
                }
            }
        }
    }
});
