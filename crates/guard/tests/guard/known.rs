//! What is known of a snapshot without reading it changes nothing but the time.

use std::path::Path;
use std::sync::Arc;

use monolite_guard::{Guard, Options, Prints, Report, Site, Verdict};

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
fn the_verdict_is_the_same_whatever_is_known() {
    for sql in MIGRATIONS {
        let nothing = verdict(sql, |site| {
            site.same_blocks = Arc::new(|_, _| Vec::new());
        });
        let blocks = verdict(sql, |_| {});
        let prints = verdict(sql, |site| {
            site.same_blocks = Arc::new(|_, _| Vec::new());
            site.prints = Arc::new(|snapshot| Some(Arc::new(prints(snapshot))));
        });
        assert_eq!(nothing, blocks, "{sql}");
        assert_eq!(nothing, prints, "{sql}");
    }
}

#[test]
fn prints_of_another_file_are_not_believed() {
    let reports = verdict("DROP TABLE comments", |site| {
        site.same_blocks = Arc::new(|_, _| Vec::new());
        site.prints = Arc::new(|_| {
            let mut prints = Prints::default();
            prints.add(4096, &[0; 4096]);
            Some(Arc::new(prints))
        });
    });
    assert_eq!(reports[0].losses.len(), 1, "{reports:?}");
}

fn prints(snapshot: &Path) -> Prints {
    let bytes = std::fs::read(snapshot).unwrap();
    let mut prints = Prints::default();
    for some in bytes.chunks(3 * 4096) {
        prints.add(4096, some);
    }
    prints
}

fn verdict(sql: &str, with: impl Fn(&mut Site)) -> Vec<Report> {
    let dir = tempfile::tempdir().unwrap();
    let volume = Volume::filled(dir.path());
    let mut site = volume.site();
    with(&mut site);
    let guard = Guard::enter(site, "the migration").unwrap();
    let begun = guard.begin(Options::default()).unwrap();
    volume.run("app.sqlite3", sql);
    let verdict = begun.finish(true).unwrap();
    let is_kept = matches!(verdict, Verdict::Accepted { .. });
    let is_whole = verdict
        .reports()
        .iter()
        .all(|report| report.losses.is_empty());
    assert_eq!(is_kept, is_whole);
    verdict.reports().to_vec()
}
