//! Which rows are gone, whatever tells them apart.

use monolite_guard::Depth;

use super::pair::{Pair, expect, losses, shown};

const REBUILT: &str = "CREATE TABLE n AS SELECT * FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t";

#[test]
fn tables_without_a_key_may_be_numbered_anew() {
    let sql = "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, NULL), (3, 'z');
        DELETE FROM t WHERE rowid = 1";
    expect(sql, REBUILT, &[], &[]);
    expect(
        sql,
        &format!("{REBUILT}; DELETE FROM t WHERE a = 3"),
        &["rows t 1/3"],
        &[],
    );
    expect(
        sql,
        &format!("{REBUILT}; INSERT INTO t VALUES (9, 9)"),
        &[],
        &["t: 1 row came, there are 4 now"],
    );
    // Each as often as it was.
    let twice = "CREATE TABLE t (a); INSERT INTO t VALUES (1), (1), (1), (2)";
    expect(twice, "DELETE FROM t WHERE rowid < 3", &["rows t 2/4"], &[]);
    expect(
        twice,
        "CREATE TABLE n AS SELECT DISTINCT a FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t",
        &["rows t 2/4"],
        &[],
    );
    // In another order.
    expect(
        "CREATE TABLE t (a, b); INSERT INTO t VALUES (1, NULL), (2, 'x'), (3, 'y')",
        "CREATE TABLE n AS SELECT * FROM t ORDER BY a DESC; DROP TABLE t; ALTER TABLE n RENAME TO t",
        &[],
        &[],
    );
}

#[test]
fn rows_of_any_key() {
    for key in [
        "(id TEXT PRIMARY KEY, n)",
        "(id TEXT PRIMARY KEY COLLATE NOCASE, n)",
        "(id TEXT PRIMARY KEY, n, x) WITHOUT ROWID",
        "(id INTEGER PRIMARY KEY AUTOINCREMENT, n)",
        "(id INTEGER PRIMARY KEY DESC, n)",
        "(rowid TEXT, id INTEGER PRIMARY KEY, n)",
        "(rowid, _rowid_, oid, id TEXT PRIMARY KEY, n)",
        "(id BLOB PRIMARY KEY, n)",
        "(id, n, PRIMARY KEY (id, n))",
        "(id, n, PRIMARY KEY (n, id)) WITHOUT ROWID",
    ] {
        let table = format!("CREATE TABLE t {key};");
        let rows = "INSERT INTO t (id, n) VALUES (1, 'a'), (2, 'b'), (3, 'c'), (40, 'd');";
        let before = format!("{table} {rows}");
        expect(
            &before,
            "DELETE FROM t WHERE n IN ('b', 'd')",
            &["rows t 2/4"],
            &[],
        );
        // Rebuilt, with its rows in the order they come.
        let again = format!(
            "ALTER TABLE t RENAME TO old; {table} INSERT INTO t (id, n) SELECT id, n FROM old;
             DROP TABLE old"
        );
        expect(&before, &again, &[], &[]);
        let sql = format!("{again}; UPDATE t SET n = 'other' WHERE id = 3");
        match key.contains("(id, n)") || key.contains("(n, id)") {
            // Part of the key: then it is another row.
            true => expect(&before, &sql, &["rows t 1/4"], &[]),
            false => expect(
                &before,
                &sql,
                &[],
                &["t.n: 1 of 4 values changed, for example 'c' → 'other'"],
            ),
        }
    }
}

/// Were each row sought in the whole table, this would take minutes.
#[test]
fn a_key_of_another_type_is_looked_up() {
    let numbers = "INSERT INTO t WITH RECURSIVE c (n) AS
          (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < 60000) SELECT n, 'x' || n FROM c";
    for (was, is) in [
        ("INTEGER PRIMARY KEY", "TEXT PRIMARY KEY NOT NULL"),
        ("TEXT PRIMARY KEY", "INTEGER PRIMARY KEY"),
        ("INTEGER PRIMARY KEY", "VARCHAR(36) UNIQUE"),
        ("INTEGER PRIMARY KEY", "BLOB PRIMARY KEY"),
        ("TEXT PRIMARY KEY", "TEXT COLLATE NOCASE PRIMARY KEY"),
        ("TEXT PRIMARY KEY", "INT"),
        ("INTEGER PRIMARY KEY", "TEXT"),
    ] {
        let before = format!("CREATE TABLE t (id {was}, x TEXT); {numbers}");
        let sql = format!(
            "CREATE TABLE n (id {is}, x TEXT); INSERT INTO n SELECT * FROM t WHERE x <> 'x500';
             UPDATE n SET x = NULL WHERE x = 'x400'; DROP TABLE t; ALTER TABLE n RENAME TO t"
        );
        let mut found = losses(&before, &sql);
        found.retain(|one| !one.starts_with("constraint"));
        assert_eq!(
            found,
            ["rows t 1/60000", "values t.x 1/59999"],
            "{was} {is}"
        );
    }
    // What is no number is not taken for one.
    let before =
        "CREATE TABLE t (id TEXT PRIMARY KEY, x); INSERT INTO t VALUES ('abc', 1), ('7', 2)";
    let sql = "CREATE TABLE n (id INTEGER PRIMARY KEY, x); INSERT INTO n VALUES (0, 1), (7, 2);
        DROP TABLE t; ALTER TABLE n RENAME TO t";
    expect(before, sql, &["rows t 1/2"], &["t.id: its type was TEXT"]);
}

#[test]
fn rows_without_a_key_are_told_by_what_is_in_them() {
    // Another type and other numbers.
    let before = "CREATE TABLE t (a INT, b); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z')";
    let sql = "CREATE TABLE n (a TEXT, b); INSERT INTO n SELECT * FROM t ORDER BY b DESC;
        DELETE FROM n WHERE rowid = 3; INSERT INTO n (rowid, a, b) VALUES (30, 1, 'x');
        DROP TABLE t; ALTER TABLE n RENAME TO t";
    expect(before, sql, &[], &["t.a: its type was INT"]);
    let less = format!("{sql}; DELETE FROM t WHERE a = '1'");
    expect(before, &less, &["rows t 1/3"], &[]);
    // Deleted with what they point to, and others in their places.
    let join =
        "CREATE TABLE posts (id INTEGER PRIMARY KEY); CREATE TABLE tags (id INTEGER PRIMARY KEY);
        CREATE TABLE tagged (post INT REFERENCES posts ON DELETE CASCADE,
            tag INT REFERENCES tags ON DELETE CASCADE);
        INSERT INTO posts VALUES (1), (2), (3), (4); INSERT INTO tags VALUES (1), (2), (3), (4);
        INSERT INTO tagged VALUES (1, 1), (2, 2), (3, 3)";
    let sql = "DELETE FROM tagged; INSERT INTO tagged VALUES (4, 2), (4, 3), (4, 4)";
    expect(join, sql, &["rows tagged 3/3"], &[]);
    // Those that point to something else now are still there.
    let sql = "UPDATE tagged SET tag = 4 WHERE tag = 3";
    expect(join, sql, &[], &["tagged.tag: 1 of 3 values changed"]);
}

#[test]
fn keys_that_are_null() {
    let before = "CREATE TABLE t (id TEXT PRIMARY KEY, n);
        INSERT INTO t VALUES (NULL, 1), (NULL, 2), ('a', 3)";
    expect(before, REBUILT, &["constraint t"], &[]);
    expect(before, "DELETE FROM t WHERE n = 2", &["rows t 1/3"], &[]);
    expect(before, "DELETE FROM t WHERE n = 3", &["rows t 1/3"], &[]);
}

#[test]
fn keys_that_are_renamed_or_replaced() {
    let before = "CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT);
        INSERT INTO t VALUES (1, 'a'), (2, 'b')";
    expect(
        before,
        "ALTER TABLE t RENAME COLUMN id TO number",
        &[],
        &["t.id: renamed to number"],
    );
    expect(
        before,
        "CREATE TABLE x (number INTEGER PRIMARY KEY, n TEXT); INSERT INTO x SELECT * FROM t;
         DROP TABLE t; ALTER TABLE x RENAME TO t",
        &[],
        &["t.id: renamed to number"],
    );
    expect(
        before,
        "CREATE TABLE x (uuid TEXT PRIMARY KEY, n TEXT);
         INSERT INTO x SELECT hex(randomblob(8)), n FROM t;
         DROP TABLE t; ALTER TABLE x RENAME TO t",
        &[],
        &["t: 2 rows have other keys now, for example"],
    );
    // As text they are the same numbers.
    expect(
        before,
        "CREATE TABLE x (id TEXT PRIMARY KEY, n TEXT); INSERT INTO x SELECT * FROM t;
         DROP TABLE t; ALTER TABLE x RENAME TO t",
        &[],
        &["t.id: its type was INTEGER, it is TEXT now"],
    );
}

#[test]
fn rows_as_long_as_they_come() {
    let before = "CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB, b TEXT);
        INSERT INTO t VALUES (1, randomblob(300000), 'x'), (2, randomblob(5000), 'y'),
            (3, zeroblob(100000), 'z'), (4, NULL, NULL);
        CREATE TABLE u (id INTEGER PRIMARY KEY, a BLOB); INSERT INTO u SELECT id, a FROM t";
    expect(before, "DELETE FROM t WHERE id = 1", &["rows t 1/4"], &[]);
    // Only the middle of a row changes, on a page that no tree names.
    let pair = Pair::new(before);
    pair.run("UPDATE t SET a = zeroblob(300000) WHERE id = 1");
    let report = pair.report(Depth::Full);
    assert!(report.losses.is_empty());
    let notes: Vec<&str> = report.notes.iter().map(|note| note.text.as_str()).collect();
    assert_eq!(
        notes,
        ["t.a: 1 of 3 values changed, for example a blob of 300000 bytes → a blob of 300000 bytes"]
    );
    expect(
        before,
        "UPDATE t SET a = NULL WHERE id = 1",
        &["values t.a 1/3"],
        &[],
    );
    expect(
        before,
        "UPDATE t SET b = NULL; ALTER TABLE t RENAME TO v",
        &["values t.b 3/3"],
        &[],
    );
}

#[test]
fn many_tables_of_which_few_change() {
    let mut before = String::new();
    for n in 0..60 {
        before += &format!(
            "CREATE TABLE t{n} (id INTEGER PRIMARY KEY, a TEXT); CREATE INDEX i{n} ON t{n} (a);
             INSERT INTO t{n} WITH RECURSIVE c (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < 200)
               SELECT n, hex(randomblob(40)) FROM c;"
        );
    }
    expect(
        &before,
        "DELETE FROM t7 WHERE id = 150; UPDATE t8 SET a = NULL WHERE id = 200; DROP TABLE t9",
        &["rows t7 1/200", "table t9 200/200", "values t8.a 1/200"],
        &[],
    );
}

#[test]
fn generated_columns_hold_nothing_of_their_own() {
    let before =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT AS (a + 1) STORED, c INT AS (a + 2));
        INSERT INTO t (a) VALUES (1), (2)";
    let note = ["t.c: the generated column is gone"];
    expect(before, "ALTER TABLE t DROP COLUMN c", &[], &note);
    expect(
        before,
        "CREATE TABLE n (id INTEGER PRIMARY KEY, a INT, b INT AS (a + 1) STORED, c INT AS (a + 2));
         INSERT INTO n (id, a) SELECT id, a FROM t; DROP TABLE t; ALTER TABLE n RENAME TO t",
        &[],
        &[],
    );
}

/// What the comparison says is what rows there are, whatever is done to them.
#[test]
fn any_deletes_and_updates_are_counted() {
    use proptest::prelude::*;
    let without_rowid = proptest::bool::ANY;
    let rows = proptest::collection::vec((1..400_i64, 0..3000_usize), 1..80);
    let doomed = proptest::collection::btree_set(1..400_i64, 0..60);
    let nulled = proptest::collection::btree_set(1..400_i64, 0..20);
    let shuffle = proptest::bool::ANY;
    let config = ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(without_rowid in without_rowid, rows in rows, doomed in doomed, nulled in nulled, rebuilt in shuffle)| {
        let tail = if without_rowid { "WITHOUT ROWID" } else { "" };
        let table = |name: &str| format!("CREATE TABLE {name} (id TEXT PRIMARY KEY, a BLOB NOT NULL, b INT) {tail};");
        let rows: std::collections::BTreeMap<i64, usize> = rows.into_iter().collect();
        let mut sql = table("t") + "CREATE TABLE other AS SELECT randomblob(9000) AS x;";
        for (id, bytes) in &rows {
            sql += &format!("INSERT INTO t VALUES ('k{id}', randomblob({bytes}), {id});");
        }
        let pair = Pair::new(&sql);
        let mut sql = String::from("BEGIN;");
        for id in &doomed {
            sql += &format!("DELETE FROM t WHERE id = 'k{id}';");
        }
        for id in &nulled {
            sql += &format!("UPDATE t SET b = NULL WHERE id = 'k{id}';");
        }
        if rebuilt {
            sql += &table("n");
            sql += "INSERT INTO n SELECT * FROM t ORDER BY random(); DROP TABLE t; ALTER TABLE n RENAME TO t;";
        }
        pair.run(&(sql + "COMMIT"));
        let lost = rows.keys().filter(|id| doomed.contains(id)).count();
        let kept = rows.len() - lost;
        let nulls = rows.keys().filter(|id| nulled.contains(id) && !doomed.contains(id)).count();
        let mut expected = Vec::new();
        if lost > 0 {
            expected.push(format!("rows t {lost}/{}", rows.len()));
        }
        if nulls > 0 {
            expected.push(format!("values t.b {nulls}/{kept}"));
        }
        let found: Vec<String> = pair.report(Depth::Quick).losses.iter().map(shown).collect();
        prop_assert_eq!(found, expected);
    });
}

/// `w`, of so many columns `c1`, `c2` …, with 20 rows.
fn wide(key: &str, columns: usize) -> String {
    let names: Vec<String> = (1..=columns).map(|n| format!("c{n} TEXT")).collect();
    let values: Vec<String> = (1..=columns)
        .map(|n| format!("'{n} of ' || (n * 7919)"))
        .collect();
    let first = match key {
        "" => "",
        _ => "n, ",
    };
    format!(
        "CREATE TABLE w ({key}{});
         WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < 20)
           INSERT INTO w SELECT {first}{} FROM n;",
        names.join(", "),
        values.join(", ")
    )
}

#[test]
fn of_as_many_columns_as_sqlite_takes() {
    let keyed = wide("id INTEGER PRIMARY KEY, ", 1999);
    expect(&keyed, "UPDATE w SET c1 = c1", &[], &[]);
    expect(
        &keyed,
        "UPDATE w SET c1 = NULL",
        &["values w.c1 20/20"],
        &[],
    );
    expect(
        &keyed,
        "UPDATE w SET c7 = c1999, c1999 = c7",
        &["values w.c1999 20/20", "values w.c7 20/20"],
        &[],
    );
    // With the rowid that is one more than SQLite gives: it cannot be judged to be well.
    let without = wide("", 2000);
    let found = losses(&without, "UPDATE w SET c1 = NULL");
    assert_eq!(found, ["damage w"]);
}

#[test]
fn columns_of_a_wide_table_that_are_crossed() {
    let before = wide("id INTEGER PRIMARY KEY, ", 66);
    expect(
        &before,
        "UPDATE w SET c1 = c2, c2 = c1",
        &["values w.c1 20/20", "values w.c2 20/20"],
        &[],
    );
    expect(
        &before,
        "UPDATE w SET c1 = c2, c2 = c3, c3 = c1 WHERE id > 5",
        &[
            "values w.c1 15/20",
            "values w.c2 15/20",
            "values w.c3 15/20",
        ],
        &[],
    );
    // Over another one, whose values stay.
    expect(&before, "UPDATE w SET c9 = c5", &["values w.c9 20/20"], &[]);
    // A column that is renamed is the same.
    expect(
        &before,
        "CREATE TABLE n AS SELECT * FROM w LIMIT 0; DROP TABLE n; ALTER TABLE w RENAME COLUMN c1 TO first",
        &[],
        &["renamed to first"],
    );
}

#[test]
fn a_flag_is_in_a_table_that_refers_to_its_rows() {
    let users = "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, is_admin INTEGER);
        INSERT INTO users VALUES (1, 'ann', 1), (2, 'bob', 0), (3, 'cy', 0)";
    let dropped = "ALTER TABLE users DROP COLUMN is_admin";
    // A number of its own is the key of some row.
    for new in [
        "CREATE TABLE settings (id INTEGER PRIMARY KEY, theme TEXT); INSERT INTO settings (theme) VALUES ('dark')",
        "CREATE TABLE plans (id INTEGER PRIMARY KEY, name TEXT, deleted_at TEXT); INSERT INTO plans (name) VALUES ('free')",
        "CREATE TABLE teams (no INTEGER PRIMARY KEY, size INTEGER); INSERT INTO teams (size) VALUES (1)",
        "CREATE TABLE plans (no INTEGER PRIMARY KEY, user_id INTEGER); INSERT INTO plans (user_id) VALUES (NULL)",
        "CREATE TABLE admins (user_id INTEGER); INSERT INTO admins VALUES (1), (NULL)",
    ] {
        let found = losses(users, &format!("{new}; {dropped}"));
        assert_eq!(found, ["column users.is_admin 3/3"], "{new}");
    }
    for new in [
        "CREATE TABLE admins (user_id INTEGER PRIMARY KEY); INSERT INTO admins VALUES (1)",
        "CREATE TABLE admins (id INTEGER PRIMARY KEY REFERENCES users); INSERT INTO admins VALUES (1)",
    ] {
        let found = losses(users, &format!("{new}; {dropped}"));
        assert!(found.is_empty(), "{new}: {found:?}");
    }
}
