//! What SQLite finds, and whose fault it is.

use std::os::unix::fs::FileExt;

use monolite_guard::{About, Depth, Kind};

use super::pair::{BLOG, Pair};

/// Overwrites a page of the index on comments.
fn damage(file: &std::path::Path) {
    let conn = rusqlite::Connection::open(file).unwrap();
    let root: u64 = conn
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'comments_by_post'",
            [],
            |row| row.get::<_, i64>(0),
        )
        .unwrap()
        .unsigned_abs();
    drop(conn);
    let file = std::fs::File::options().write(true).open(file).unwrap();
    // The keys in the last of its cells: they are not what the table has.
    file.write_all_at(&[7; 40], root * 4096 - 50).unwrap();
}

fn kinds(pair: &Pair, depth: Depth) -> Vec<Kind> {
    pair.report(depth)
        .losses
        .iter()
        .map(|loss| loss.kind)
        .collect()
}

#[test]
fn damage_is_found_as_deep_as_it_is_looked_for() {
    let pair = Pair::new(BLOG);
    damage(&pair.live);
    assert!(kinds(&pair, Depth::None).is_empty());
    let full = kinds(&pair, Depth::Full);
    assert!(
        !full.is_empty() && full.iter().all(|kind| *kind == Kind::Damage),
        "{full:?}"
    );
}

#[test]
fn damage_from_before_is_told_and_not_charged() {
    let pair = Pair::new(BLOG);
    damage(&pair.live);
    std::fs::copy(&pair.live, &pair.before).unwrap();
    pair.run("CREATE TABLE more (x)");
    let report = pair.report(Depth::Full);
    assert!(report.losses.is_empty(), "{report:?}");
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.about == About::OlderDamage),
        "{report:?}"
    );
}

#[test]
fn a_table_that_cannot_be_read_any_more() {
    let pair = Pair::new(BLOG);
    let conn = pair.open();
    let root: i64 = conn
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'comments'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    drop(conn);
    let file = std::fs::File::options()
        .write(true)
        .open(&pair.live)
        .unwrap();
    file.write_all_at(&[0xff; 100], (root.unsigned_abs() - 1) * 4096)
        .unwrap();
    pair.run("PRAGMA foreign_keys = OFF; DELETE FROM users WHERE id = 3");
    for depth in [Depth::None, Depth::Quick, Depth::Full] {
        let report = pair.report(depth);
        let mut found: Vec<(Kind, Option<&str>)> = (report.losses.iter())
            .map(|loss| (loss.kind, loss.table.as_deref()))
            .filter(|(kind, _)| *kind != Kind::Links)
            .collect();
        found.sort();
        found.dedup();
        // Whoever allows it has not allowed anything else.
        assert_eq!(
            found,
            [
                (Kind::Damage, Some("comments")),
                (Kind::Rows, Some("users"))
            ],
            "{depth:?}"
        );
    }
}

#[test]
fn any_bytes_are_borne() {
    let pair = Pair::new(BLOG);
    let whole = std::fs::read(&pair.live).unwrap();
    let mut random = 12345_u64;
    let mut unnoticed = 0;
    for _ in 0..150 {
        let mut bytes = whole.clone();
        for _ in 0..20 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let at = (random >> 33) as usize % bytes.len();
            bytes[at] = (random >> 20) as u8;
        }
        std::fs::write(&pair.live, &bytes).unwrap();
        let tell = monolite_guard::DatabaseProgress::new("app", &|_| {});
        let compared = monolite_guard::compare(&pair.live, &pair.before, Depth::Full, &tell);
        // Where it finds nothing, there is nothing: all can be read, and is there.
        if compared.is_ok_and(|report| report.losses.is_empty()) {
            unnoticed += 1;
            let conn = pair.open();
            let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0));
            let mut check = conn.prepare("PRAGMA integrity_check").unwrap();
            let said: String = check.query_row([], |row| row.get(0)).unwrap();
            assert_eq!(said, "ok");
            for (table, rows) in [("users", 40), ("posts", 40), ("comments", 80)] {
                let sql = format!("SELECT count(*) FROM (SELECT * FROM {table})");
                assert!(number(&sql).unwrap() >= rows, "{table}");
            }
        }
    }
    assert!(unnoticed < 150, "it finds nothing at all");
}
