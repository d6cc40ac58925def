use super::*;

#[test]
fn another_row_is_one_more_and_the_same_is_none() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF;
         CREATE TABLE p (id INTEGER PRIMARY KEY);
         CREATE TABLE c (p INT REFERENCES p, q INT REFERENCES p (gone));
         INSERT INTO c (p) VALUES (7), (8), (8)",
    )
    .unwrap();
    let before = Orphans::of(&conn).unwrap();
    assert_eq!(
        before.iter().collect::<Vec<_>>(),
        [
            ("c", "foreign key mismatch - \"c\" referencing \"p\"", 1),
            ("c", "p", 3)
        ]
    );
    // As many as before, and another.
    conn.execute_batch("INSERT INTO p VALUES (7); INSERT INTO c (p) VALUES (9)")
        .unwrap();
    let more = Orphans::beyond(&conn, before.clone()).unwrap();
    assert_eq!(more.iter().collect::<Vec<_>>(), [("c", "p", 1)]);
    assert_eq!(more.to_string(), "1 row of c whose row of p does not exist");
    conn.execute_batch("DELETE FROM c WHERE p = 9; UPDATE c SET q = 5")
        .unwrap();
    assert!(Orphans::beyond(&conn, before).unwrap().is_empty());
}

#[test]
fn what_only_the_app_can_follow_is_the_same_before_and_after() {
    let conn = Connection::open_in_memory().unwrap();
    conn.create_collation("unicase", |a: &str, b: &str| a.cmp(b))
        .unwrap();
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF; CREATE TABLE p (k TEXT COLLATE unicase PRIMARY KEY); CREATE TABLE c (p REFERENCES p); INSERT INTO c VALUES ('a')",
    )
    .unwrap();
    conn.remove_collation("unicase").unwrap();
    let before = Orphans::of(&conn).unwrap();
    assert!(before.to_string().contains("unicase"), "{before}");
    assert!(Orphans::beyond(&conn, before).unwrap().is_empty());
}

#[test]
fn many_are_known_again_without_what_they_refer_to() {
    const ROWS: usize = 150_000;
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch(&format!(
        "PRAGMA foreign_keys = OFF;
         CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
         CREATE TABLE c (id INTEGER PRIMARY KEY, p TEXT REFERENCES p (name), q TEXT REFERENCES p (name));
         WITH n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
         INSERT INTO c (id, p) SELECT i, printf('%0200d', i) FROM n;
         UPDATE c SET q = p WHERE id <= 3",
    ))
    .unwrap();
    let before = Orphans::of(&conn).unwrap();
    let all: u64 = before.iter().map(|(_, _, rows)| rows).sum();
    assert_eq!(all, 150_003);
    let held: usize = before
        .links
        .values()
        .map(|link| {
            size_of_val(link.known.as_slice()) + link.example.iter().map(String::len).sum::<usize>()
        })
        .sum();
    assert!(held < ROWS * 17, "{held} bytes are kept");
    // Some go, and one of them is another.
    conn.execute_batch("DELETE FROM c WHERE id % 2 = 0; UPDATE c SET p = 'gone' WHERE id = 77")
        .unwrap();
    let more = Orphans::beyond(&conn, before.clone()).unwrap();
    assert_eq!(more.rows().collect::<Vec<_>>(), [("c", "p", 1, "'gone'")]);
    conn.execute_batch("DELETE FROM c WHERE p = 'gone'")
        .unwrap();
    assert!(Orphans::beyond(&conn, before).unwrap().is_empty());
}
