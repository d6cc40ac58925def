//! A process that is killed at each step.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use monolite_replica::backup::local;
use monolite_testkit::Signal;

use super::other::start;
use super::place::{database, last, names, state};

/// Has another process do `role` and die at `step`.
fn dies(role: &str, db: &Path, out: &Path, step: &str) {
    let with = |command: &mut std::process::Command| {
        command.env("OUT", out).env("DIE_AT", step);
    };
    let (status, output) = start(role, db, with).end();
    let killed = Signal::KILL.as_raw();
    assert_eq!(status.signal(), Some(killed), "{role} {step}: {output}");
}

fn lives(role: &str, db: &Path, out: &Path) {
    let (status, output) = start(role, db, |command| {
        command.env("OUT", out);
    })
    .end();
    assert!(status.success(), "{role}: {output}");
}

#[test]
fn a_copy_has_its_name_when_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let db = database(dir.path(), "WAL", 100);
    for name in ["copy.sqlite3", "copy.sqlite3.gz"] {
        let out = tempfile::tempdir().unwrap();
        let copy = out.path().join(name);
        for step in ["backup.created", "backup.synced", "backup.publishing"] {
            dies("to_file", &db, &copy, step);
            assert!(!copy.exists(), "{step}");
            assert_eq!(names(out.path()).len(), 1, "one left behind, and not two");
        }
        dies("to_file", &db, &copy, "backup.renamed");
        assert_eq!(names(out.path()), [name]);
        // The one that is there stays until the next is whole.
        dies("to_file", &db, &copy, "backup.publishing");
        assert!(copy.exists());
        lives("to_file", &db, &copy);
        assert_eq!(names(out.path()), [name]);
    }
}

pub(crate) fn a_snapshot_has_its_name_when_it_is_whole(db: &Path, dir: &Path, steps: &[&str]) {
    let done = last(db);
    for step in steps {
        dies("take", db, dir, step);
        assert_eq!(local::list(dir).unwrap(), [], "{step}");
        assert!(!names(dir).is_empty(), "{step}");
    }
    dies("take", db, dir, "backup.renamed");
    let taken = local::list(dir).unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(names(dir).len(), 1, "what the others left is gone");
    assert_eq!(state(&taken[0].path), done);
}
