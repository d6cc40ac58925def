//! A guard that is killed at each of its steps: whoever comes next makes the
//! databases what they were before the migration or after it, and nothing else.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use monolite_migrate::guard::{Error, Guard, Interrupted, Options, Verdict};

use super::volume::Volume;

const ADDS: &str =
    "BEGIN; ALTER TABLE posts ADD COLUMN slug TEXT; UPDATE posts SET slug = title; COMMIT";
const TAKES: &str = "BEGIN; DELETE FROM comments; COMMIT";

/// The whole migration, in a process of its own.
#[test]
#[ignore = "the other half of the tests below"]
fn migrate() {
    let volume = Volume::new(Path::new(&std::env::var_os("VOLUME").unwrap()));
    monolite_migrate::steps::observe(|step| {
        static MET: AtomicUsize = AtomicUsize::new(1);
        let die_at = std::env::var("DIE_AT").unwrap_or_default();
        let (name, nth) = die_at.split_once(' ').unwrap_or((&die_at, "1"));
        if step == name && MET.fetch_add(1, Ordering::Relaxed) == nth.parse::<usize>().unwrap() {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        }
    });
    let takes = std::env::var_os("TAKES").is_some();
    let guard = Guard::enter(volume.site(), "killed").unwrap();
    guard.recover(Interrupted::default()).unwrap();
    let begun = guard.begin(Options::default()).unwrap();
    volume.run("app.sqlite3", if takes { TAKES } else { ADDS });
    if std::env::var("DIE_AT").is_ok_and(|at| at == "command") {
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
    }
    volume.run("sub/other.db", "UPDATE t SET x = x || '!'");
    volume.run("new.db", "CREATE TABLE IF NOT EXISTS made (x)");
    if std::env::var_os("DAMAGES").is_some() {
        std::fs::write(volume.path.join("sub/other.db"), "no more").unwrap();
    }
    let verdict = begun.finish(true).unwrap();
    assert_eq!(
        takes,
        matches!(verdict, Verdict::PutBack { .. }),
        "{verdict:?}"
    );
}

fn run(volume: &Volume, die_at: &str, variables: &[&str]) -> Option<i32> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["kill::migrate", "--exact", "--ignored", "--nocapture"])
        .env("VOLUME", &volume.path)
        .env("DIE_AT", die_at)
        .envs(variables.iter().map(|name| (name, "yes")))
        .output()
        .unwrap();
    let signal = output.status.signal();
    assert!(
        signal.is_some() || output.status.success(),
        "{die_at}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    signal
}

fn volume() -> (tempfile::TempDir, Volume) {
    let dir = tempfile::tempdir().unwrap();
    let volume = Volume::filled(dir.path());
    (dir, volume)
}

const BEGINS: [&str; 7] = [
    "guard.locked",
    "guard.snapshot-taken",
    "guard.snapshot-taken 2",
    "guard.snapshots-taken",
    "guard.intent-saved",
    "command",
    "guard.command-ended",
];

#[test]
fn one_that_would_be_accepted() {
    for step in BEGINS
        .into_iter()
        .chain(["guard.compared", "guard.accepting", "guard.accepted"])
    {
        let (_dir, volume) = volume();
        let before = volume.dump();
        assert_eq!(run(&volume, step, &[]), Some(9), "{step}");
        let died = volume.dump();
        let recovered = volume.recover(Interrupted::default()).unwrap();
        match step {
            "guard.accepted" => {
                assert_eq!(recovered, None);
                assert_eq!(volume.dump(), died);
                assert!(died.contains("slug") && died.contains("one!") && died.contains("made"));
                assert!(volume.kept().is_empty(), "its snapshots went");
                continue;
            }
            _ => assert_eq!(volume.dump(), before, "{step}"),
        }
        let had_begun = !BEGINS[..4].contains(&step);
        assert_eq!(recovered.is_some(), had_begun, "{step}");
        assert_eq!(volume.kept().len(), usize::from(had_begun), "{step}");
        if let Some(put_back) = recovered
            && step != "guard.intent-saved"
        {
            assert!(put_back.databases.contains(&"app.sqlite3".into()), "{step}");
            // Nothing of what was found is gone.
            let found = put_back
                .found
                .iter()
                .find(|path| path.ends_with("app.sqlite3/snapshot.sqlite3"));
            let found = rusqlite::Connection::open(found.unwrap()).unwrap();
            assert!(found.prepare("SELECT slug FROM posts").is_ok());
        }
        // And then it goes on.
        assert_eq!(run(&volume, "", &[]), None);
        assert!(volume.dump().contains("slug"), "{step}");
    }
}

#[test]
fn one_that_is_put_back() {
    let steps = [
        "guard.compared",
        "guard.putting-back",
        "guard.writing-back",
        "guard.written-back",
        "guard.put-back",
        "guard.put-back 2",
        "guard.set-aside",
        "guard.all-put-back",
        "guard.accepting",
        "guard.accepted",
    ];
    for step in steps {
        let (_dir, volume) = volume();
        let before = volume.dump();
        assert_eq!(run(&volume, step, &["TAKES"]), Some(9), "{step}");
        volume.recover(Interrupted::default()).unwrap();
        assert_eq!(volume.dump(), before, "{step}");
        assert_eq!(run(&volume, "", &["TAKES"]), None);
        assert_eq!(volume.dump(), before, "{step}");
        assert_eq!(volume.kept().len(), 1, "{step}");
    }
}

#[test]
fn one_whose_database_has_to_be_exchanged() {
    for step in [
        "guard.put-back",
        "guard.moved-aside",
        "guard.written-back",
        "guard.put-back 2",
    ] {
        let (_dir, volume) = volume();
        let before = volume.dump();
        assert_eq!(run(&volume, step, &["TAKES", "DAMAGES"]), Some(9), "{step}");
        volume.recover(Interrupted::default()).unwrap();
        assert_eq!(volume.dump(), before, "{step}");
    }
}

#[test]
fn one_that_dies_again_while_it_is_recovered() {
    let steps = [
        "guard.recovering",
        "guard.found-kept",
        "guard.writing-back",
        "guard.written-back",
        "guard.put-back",
        "guard.set-aside",
        "guard.all-put-back",
        "guard.accepting",
        "guard.accepted",
    ];
    for first in ["command", "guard.compared"] {
        for step in steps {
            if first == "command" && step == "guard.set-aside" {
                continue;
            }
            let (_dir, volume) = volume();
            let before = volume.dump();
            assert_eq!(run(&volume, first, &[]), Some(9));
            assert_eq!(run(&volume, step, &[]), Some(9), "{step}");
            volume.recover(Interrupted::default()).unwrap();
            assert_eq!(volume.dump(), before, "{first}, {step}");
        }
    }
}

#[test]
fn what_was_used_since_is_not_put_back_unasked() {
    let dies = || {
        let (dir, volume) = volume();
        let before = volume.dump();
        assert_eq!(run(&volume, "guard.compared", &[]), Some(9));
        let note = std::fs::File::options()
            .write(true)
            .open(volume.path.join(".monolite/migrating/intent.json"))
            .unwrap();
        note.set_modified(SystemTime::now() - Duration::from_secs(3600))
            .unwrap();
        volume.run(
            "app.sqlite3",
            "INSERT INTO users (name) VALUES ('who came since')",
        );
        (dir, volume, before)
    };
    let (_dir, volume, before) = dies();
    let error = volume.recover(Interrupted::default()).unwrap_err();
    assert!(matches!(error, Error::WrittenSince { .. }), "{error}");
    assert!(volume.dump().contains("who came since"));
    volume.recover(Interrupted::PutBack).unwrap();
    assert_eq!(volume.dump(), before);
    let (_dir, volume, _) = dies();
    let now = volume.dump();
    volume.recover(Interrupted::Keep).unwrap();
    assert_eq!(volume.dump(), now);
    assert_eq!(volume.recover(Interrupted::default()).unwrap(), None);
}

#[test]
fn a_note_that_is_not_understood_stops_everything() {
    let (_dir, volume) = volume();
    assert_eq!(run(&volume, "guard.compared", &[]), Some(9));
    let note = volume.path.join(".monolite/migrating/intent.json");
    for text in ["", "{", "{\"version\": 9}", "[]"] {
        std::fs::write(&note, text).unwrap();
        let before = volume.dump();
        let error = volume.recover(Interrupted::default()).unwrap_err();
        assert!(matches!(error, Error::Intent { .. }), "{error}");
        assert_eq!(volume.dump(), before);
    }
}
