#![allow(clippy::unwrap_used)]

use super::*;

fn op(sql: &str) -> Op {
    Op::of(&crate::sql::split(sql).unwrap()[0])
}

#[test]
fn what_statements_do() {
    let name = |name: &str| name.to_owned();
    assert_eq!(
        op("DROP TABLE IF EXISTS main.\"a \"\"b\""),
        Op::DropTable(name("a \"b"))
    );
    assert_eq!(
        op("ALTER TABLE [x y] RENAME COLUMN `a` TO 'b'"),
        Op::RenameColumns {
            table: name("x y"),
            pairs: vec![(name("a"), name("b"))],
            rebuild: false
        }
    );
    assert_eq!(
        op(
            "REBUILD TABLE \"t\" (rename TEXT, b, c, e) STRICT RENAME COLUMN a TO \"b\" SET c = (SELECT rename FROM x) RENAME COLUMN d TO e DROP COLUMN f;"
        ),
        Op::RenameColumns {
            table: name("t"),
            pairs: vec![(name("a"), name("b")), (name("d"), name("e"))],
            rebuild: true,
        }
    );
    assert_eq!(
        op(
            "INSERT OR REPLACE INTO a SELECT * FROM b JOIN (SELECT * FROM c UNION SELECT * FROM d), e"
        ),
        Op::Insert {
            table: name("a"),
            from: ["b", "c", "d", "e"].map(name).to_vec(),
            replaces: true,
            overwrites: Vec::new(),
        }
    );
    assert!(matches!(
        op("REPLACE INTO a VALUES (1)"),
        Op::Insert { replaces: true, .. }
    ));
}

#[test]
fn a_condition_that_always_holds_is_none() {
    for sql in [
        "DELETE FROM t",
        "DELETE FROM t WHERE 1",
        "DELETE FROM t WHERE 1 = 1",
        "DELETE FROM t WHERE (true)",
        "DELETE FROM t WHERE a = a",
        "DELETE FROM t WHERE NOT 0",
        "DELETE FROM t WHERE NOT (1 <> 1)",
        "DELETE FROM t WHERE 1 = 1 OR id = 3",
        "DELETE FROM t WHERE (t.a = a) AND 2",
        "DELETE FROM t WHERE EXISTS (SELECT 1)",
    ] {
        assert!(matches!(op(sql), Op::Delete { all: true, .. }), "{sql}");
    }
    for sql in [
        "DELETE FROM t WHERE 0",
        "DELETE FROM t WHERE a",
        "DELETE FROM t WHERE a = b",
        "DELETE FROM t AS u WHERE t.a = u.a",
        "DELETE FROM t WHERE 1 AND id = 3",
        "DELETE FROM t WHERE NOT 1 OR id = 3",
        "DELETE FROM t WHERE EXISTS (SELECT 1 FROM x)",
        "DELETE FROM t WHERE EXISTS (SELECT 1 WHERE 0)",
    ] {
        assert!(matches!(op(sql), Op::Delete { all: false, .. }), "{sql}");
    }
}

#[test]
fn columns_that_only_an_empty_table_takes() {
    for (column, is_refused) in [
        ("x", false),
        ("x NOT NULL", true),
        ("x NOT NULL DEFAULT NULL", true),
        ("x NOT NULL DEFAULT 0", false),
        ("x NOT NULL DEFAULT -1", false),
        ("x DEFAULT CURRENT_TIMESTAMP", true),
        ("x DEFAULT (datetime())", true),
        ("x DEFAULT (1)", false),
        ("x DEFAULT true", false),
        ("x AS (y) STORED", true),
        ("x AS (y)", false),
        ("x NULL", false),
    ] {
        let Op::AddColumn { needs_no_rows, .. } = op(&format!("ALTER TABLE t ADD {column}")) else {
            unreachable!("{column}");
        };
        assert_eq!(needs_no_rows.is_some(), is_refused, "{column}");
        // SQLite itself says the same.
        let db = rusqlite::Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE t (y); INSERT INTO t VALUES (1)")
            .unwrap();
        let refused = db
            .execute_batch(&format!("ALTER TABLE t ADD {column}"))
            .is_err();
        assert_eq!(refused, is_refused, "{column}");
    }
}

#[test]
fn a_column_set_to_itself_is_not_changed() {
    let Op::Update { columns, all, .. } =
        op("UPDATE t AS u SET a = a, b = (u.b), c = \"C\", d = e, f = x.f FROM x WHERE 1")
    else {
        unreachable!("an UPDATE");
    };
    assert_eq!(
        (columns, all),
        (["d", "f"].map(str::to_owned).to_vec(), true)
    );
}

#[test]
fn what_a_rebuild_sets() {
    let sets = rebuild_sets(
        "REBUILD TABLE t (a TEXT, b, \"SET\" DEFAULT (1)) SET a = NULL, b = coalesce(b, (SELECT c)) DROP COLUMN x",
    );
    let set = |(column, names): &(String, Vec<String>)| {
        (column.clone(), names.iter().any(|name| name == column))
    };
    let sets: Vec<_> = sets.iter().map(set).collect();
    assert_eq!(sets, [("a".to_owned(), false), ("b".to_owned(), true)]);
}
