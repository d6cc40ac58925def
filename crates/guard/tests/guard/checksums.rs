//! To know the checksums of a snapshot changes the time that a comparison takes, and nothing else.

use std::path::Path;

use monolite_guard::{Checksums, Guard, Options, Report, Verdict};

use super::volume::Volume;

const MIGRATIONS: [&str; 7] = [
    "SELECT 1",
    "UPDATE posts SET title = title WHERE id = 1",
    "DELETE FROM comments WHERE id = 7",
    "DROP TABLE comments",
    "UPDATE posts SET title = NULL; VACUUM",
    "DELETE FROM comments; VACUUM",
    "CREATE TABLE more (a); INSERT INTO more SELECT hex(randomblob(500)) FROM comments",
];

#[test]
fn the_verdict_is_the_same_with_checksums() {
    for sql in MIGRATIONS {
        assert_eq!(verdict(sql, None), verdict(sql, Some(right)), "{sql}");
    }
}

#[test]
fn checksums_of_another_file_are_not_believed() {
    let reports = verdict("DROP TABLE comments", Some(of_another_file));
    assert_eq!(reports[0].losses.len(), 1, "{reports:?}");
}

fn right(snapshot: &Path) -> Checksums {
    let bytes = std::fs::read(snapshot).unwrap();
    let mut checksums = Checksums::default();
    for some in bytes.chunks(3 * 4096) {
        checksums.add(4096, some);
    }
    checksums
}

fn of_another_file(_: &Path) -> Checksums {
    let mut checksums = Checksums::default();
    checksums.add(4096, &[0; 4096]);
    checksums
}

fn verdict(sql: &str, checksums: Option<fn(&Path) -> Checksums>) -> Vec<Report> {
    let dir = tempfile::tempdir().unwrap();
    let mut volume = Volume::filled(dir.path());
    volume.checksums = checksums;
    let guard = Guard::enter(volume.host(), "the migration").unwrap();
    let active = guard.begin(Options::new()).unwrap();
    volume.run("app.sqlite3", sql);
    let verdict = active.finish(true).unwrap();
    let is_accepted = matches!(verdict, Verdict::Accepted { .. });
    let is_whole = (verdict.reports().iter()).all(|report| report.losses.is_empty());
    assert_eq!(is_accepted, is_whole);
    verdict.reports().to_vec()
}
