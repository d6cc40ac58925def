//! Any file gets findings, and no panic.

use proptest::prelude::*;

use crate::common::{blog, lint};

fn statement() -> impl Strategy<Value = String> {
    let table = || {
        prop::sample::select(vec![
            "users", "posts", "comments", "likes", "tags", "n", "authors", "search",
        ])
    };
    let column = || prop::sample::select(vec!["id", "name", "title", "post_id", "x", "y"]);
    prop_oneof![
        (table(), column(), column()).prop_map(|(t, a, b)| format!("CREATE TABLE {t} ({a} INTEGER PRIMARY KEY, {b} TEXT)")),
        table().prop_map(|t| format!("DROP TABLE {t}")),
        (table(), table()).prop_map(|(a, b)| format!("ALTER TABLE {a} RENAME TO {b}")),
        (table(), column(), column()).prop_map(|(t, a, b)| format!("ALTER TABLE {t} RENAME COLUMN {a} TO {b}")),
        (table(), column()).prop_map(|(t, a)| format!("ALTER TABLE {t} DROP COLUMN {a}")),
        (table(), column()).prop_map(|(t, a)| format!("ALTER TABLE {t} ADD COLUMN {a} NOT NULL")),
        (table(), column(), column()).prop_map(|(t, a, b)| format!("REBUILD TABLE {t} ({a} INTEGER PRIMARY KEY, {b} TEXT NOT NULL) RENAME COLUMN {b} TO {a}")),
        (table(), table()).prop_map(|(a, b)| format!("INSERT OR REPLACE INTO {a} SELECT * FROM {b}")),
        table().prop_map(|t| format!("DELETE FROM {t}")),
        (table(), column()).prop_map(|(t, a)| format!("UPDATE {t} SET {a} = 1")),
        (table(), column()).prop_map(|(t, a)| format!("CREATE UNIQUE INDEX i_{t} ON {t} ({a})")),
        table().prop_map(|t| format!("CREATE VIEW v AS SELECT * FROM {t}")),
        Just("DROP VIEW v".to_owned()),
        Just("CREATE VIRTUAL TABLE search USING fts5(x)".to_owned()),
        Just("-- monolite: allow drop-table: \nCOMMIT".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever stands in the file it is judged, on any schema; and if nothing
    /// `fails`, SQLite applies its schema changes indeed.
    #[test]
    fn any_file_is_judged(all in prop::collection::vec(statement(), 1..8)) {
        let text = all.join(";\n");
        let blog = blog();
        for db in [None, Some(&blog)] {
            let found = lint(db, &text);
            for finding in &found {
                prop_assert!(finding.line >= 1 && finding.line <= text.lines().count());
            }
        }
    }

    #[test]
    fn any_text_is_judged(text in "\\PC{0,80}") {
        lint(None, &text);
    }
}
