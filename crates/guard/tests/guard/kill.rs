//! A guard that is killed at each of its steps: whoever comes next makes the
//! databases what they were before the migration or after it, and nothing else.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use monolite_guard::{Error, Guard, IfOpen, Interrupted, Options, Rollback, Verdict};

use super::volume::Volume;

const ADDS: &str =
    "BEGIN; ALTER TABLE posts ADD COLUMN slug TEXT; UPDATE posts SET slug = title; COMMIT";
const TAKES: &str = "BEGIN; DELETE FROM comments; COMMIT";

/// The steps that are left until this process dies.
static LEFT: AtomicUsize = AtomicUsize::new(0);

fn step() {
    if LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
    }
}

/// The whole migration, in a process of its own.
#[test]
#[ignore = "the other half of the tests below"]
fn migrate() {
    let volume = Volume::new(Path::new(&std::env::var_os("VOLUME").unwrap()));
    let die_at = std::env::var("DIE_AT").unwrap();
    LEFT.store(die_at.parse().unwrap(), Ordering::SeqCst);
    monolite_guard::steps::observe(|_| step());
    let has = |name: &str| std::env::var_os(name).is_some();
    let guard = Guard::enter(volume.host(), "killed").unwrap();
    guard.recover(Interrupted::default()).unwrap();
    let if_open = match has("LEAVES") {
        true => IfOpen::JudgeOnly,
        false => IfOpen::Refuse,
    };
    let active = guard.begin(Options::new().if_open(if_open)).unwrap();
    volume.run("app.sqlite3", if has("TAKES") { TAKES } else { ADDS });
    step();
    volume.run("sub/other.db", "UPDATE t SET x = x || '!'");
    volume.run("new.db", "CREATE TABLE IF NOT EXISTS made (x)");
    if has("DAMAGES") {
        std::fs::write(volume.path.join("sub/other.db"), "no more").unwrap();
    }
    let verdict = active.finish(true).unwrap();
    let is_right = match verdict {
        Verdict::Left { .. } => has("LEAVES"),
        Verdict::RolledBack { .. } => has("TAKES"),
        _ => !has("TAKES"),
    };
    assert!(is_right, "{verdict:?}");
    println!("steps {}", NEVER - LEFT.load(Ordering::SeqCst));
}

const NEVER: usize = usize::MAX / 2;

/// The signal it ended by, or how many steps it had.
fn run(volume: &Volume, die_at: usize, variables: &[&str]) -> Result<usize, i32> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["kill::migrate", "--exact", "--ignored", "--nocapture"])
        .env("VOLUME", &volume.path)
        .env("DIE_AT", die_at.to_string())
        .envs(variables.iter().map(|name| (name, "yes")))
        .output()
        .unwrap();
    if let Some(signal) = output.status.signal() {
        return Err(signal);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let steps = said
        .lines()
        .find_map(|line| line.split_once("steps ")?.1.parse().ok());
    let steps = steps.filter(|_| output.status.success());
    Ok(steps.unwrap_or_else(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        panic!("{die_at}: {said}{errors}")
    }))
}

/// The same databases each time.
fn volume() -> (tempfile::TempDir, Volume) {
    static FIRST: OnceLock<tempfile::TempDir> = OnceLock::new();
    let first = FIRST.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        Volume::filled(dir.path());
        dir
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    for name in ["app.sqlite3", "sub/other.db", "empty.db"] {
        std::fs::copy(first.path().join(name), dir.path().join(name)).unwrap();
    }
    let volume = Volume::new(dir.path());
    (dir, volume)
}

/// A volume on which the migration has died at the end of its command.
fn interrupted() -> (tempfile::TempDir, Volume, String) {
    let (dir, volume) = volume();
    let before = volume.dump();
    let guard = Guard::enter(volume.host(), "killed").unwrap();
    let active = guard.begin(Options::new()).unwrap();
    volume.run("app.sqlite3", ADDS);
    drop(active);
    (dir, volume, before)
}

/// What is there of copies that were put back over, by their columns.
fn is_kept(rollback: &Rollback, sql: &str) -> bool {
    rollback.found.iter().any(|path| {
        let conn = rusqlite::Connection::open(path).unwrap();
        conn.query_row(sql, [], |row| row.get(0)).unwrap_or(false)
    })
}

/// One that dies at each of its steps: before or after, and never between.
fn dies_everywhere(variables: &[&str]) {
    let (_dir, whole) = volume();
    let total = run(&whole, NEVER, variables).unwrap();
    let after = whole.dump();
    assert!(total > 10, "{total}");
    let (mut put_back, mut done) = (0, 0);
    for die_at in 1..=total {
        let (_dir, volume) = volume();
        let before = volume.dump();
        assert_eq!(run(&volume, die_at, variables), Err(9), "{die_at}");
        let (noted, died) = (volume.journal().exists(), volume.dump_as_it_is());
        let recovered = volume.recover(Interrupted::default()).unwrap();
        let now = volume.dump();
        assert_eq!(recovered.is_some(), noted, "{die_at}");
        if let Some(recovered) = &recovered {
            assert!(now == before, "{die_at}");
            put_back += 1;
            // Nothing of what was found is gone.
            let slug = "SELECT count(*) > 0 FROM pragma_table_info('posts') WHERE name = 'slug'";
            if died.is_some_and(|died| died.contains("slug")) {
                assert!(is_kept(recovered, slug), "{die_at}: {recovered:?}");
            }
        } else {
            assert!(now == before || now == after, "{die_at}");
            done += usize::from(now == after);
        }
        // And then it goes on.
        if now == before {
            run(&volume, NEVER, variables).unwrap();
            assert!(volume.dump() == after, "{die_at}");
        }
    }
    assert!(put_back > 5 && done > 0, "{put_back}, {done}");
}

#[test]
fn one_that_would_be_accepted() {
    dies_everywhere(&[]);
}

#[test]
fn one_that_is_put_back() {
    dies_everywhere(&["TAKES"]);
}

#[test]
fn one_whose_database_is_damaged() {
    dies_everywhere(&["TAKES", "DAMAGES"]);
}

/// Others wrote beside it: whatever is there stays, and so do the snapshots.
#[test]
fn one_that_is_left_to_others() {
    const LEFT: [&str; 2] = ["TAKES", "LEAVES"];
    let (_dir, whole) = volume();
    let total = run(&whole, NEVER, &LEFT).unwrap();
    let mut left = 0;
    for die_at in 1..=total {
        let (_dir, volume) = volume();
        assert_eq!(run(&volume, die_at, &LEFT), Err(9), "{die_at}");
        volume.run("app.sqlite3", "INSERT INTO users (name) VALUES ('another')");
        let (noted, died) = (volume.journal().exists(), volume.dump());
        let recovered = volume.recover(Interrupted::default()).unwrap();
        assert_eq!(
            recovered.as_ref().is_some_and(|of| of.is_left),
            noted,
            "{die_at}"
        );
        assert!(volume.dump() == died, "{die_at}");
        let has_lost = !died.contains("80 ");
        let snapshot = |name: &String| {
            let dir = volume.path.join(".monolite/migrating").join(name);
            dir.join("before/app.sqlite3/snapshot.sqlite3").exists()
        };
        if noted || has_lost {
            put_to_the_test(&volume);
            assert!(volume.kept().iter().any(snapshot), "{die_at}");
            left += 1;
        }
    }
    assert!(left > 5, "{left}");
}

/// Later migrations that fail, and time, take away what is spare.
fn put_to_the_test(volume: &Volume) {
    let mut later = volume.clone();
    later.now_ms *= 2;
    later.migrate(Options::new(), "", true).unwrap();
    later
        .migrate(Options::new(), "DELETE FROM users", false)
        .unwrap();
}

#[test]
fn one_that_dies_again_while_it_is_recovered() {
    let (_dir, whole, _) = interrupted();
    let total = run(&whole, NEVER, &[]).unwrap();
    let mut seen = 0;
    for die_at in 1..=total {
        let (_dir, volume, before) = interrupted();
        assert_eq!(run(&volume, die_at, &[]), Err(9), "{die_at}");
        let noted = volume.journal().exists();
        volume.recover(Interrupted::default()).unwrap();
        let now = volume.dump();
        assert!(
            now == before || (!noted && now.contains("made")),
            "{die_at}"
        );
        seen += usize::from(noted);
    }
    assert!(seen > 10, "{seen} of {total}");
}

#[test]
fn what_was_used_since_is_not_put_back_unasked() {
    let dies = || {
        let (dir, volume, before) = interrupted();
        let note = std::fs::File::options().write(true).open(volume.journal());
        // A beat, and what its last processes may have written until they ended.
        let died = SystemTime::now() - Duration::from_secs(6);
        note.unwrap().set_modified(died).unwrap();
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
    volume.recover(Interrupted::RollBack).unwrap();
    assert!(volume.dump() == before);
    let (_dir, volume, _) = dies();
    let now = volume.dump();
    volume.recover(Interrupted::Keep).unwrap();
    assert!(volume.dump() == now);
    assert_eq!(volume.recover(Interrupted::default()).unwrap(), None);
}

#[test]
fn a_note_that_is_not_understood_stops_everything() {
    let (_dir, volume, _) = interrupted();
    let note = volume.journal();
    for text in ["", "{", "{\"version\": 9}", "[]"] {
        std::fs::write(&note, text).unwrap();
        let before = volume.dump();
        let error = volume.recover(Interrupted::default()).unwrap_err();
        assert!(matches!(error, Error::Journal { .. }), "{error}");
        assert!(volume.dump() == before);
    }
}
