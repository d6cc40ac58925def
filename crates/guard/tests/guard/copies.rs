//! Which copies are kept, and for how long: nothing that may be the only copy of somebody's data goes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use monolite_guard::{Guard, IfOpen, Interrupted, Options};

use super::common::{DAY_MS, LOSES, begin, count, died, now_ms, rolled_back, volume};
use super::volume::{NOON_MS, Volume};

#[test]
fn what_others_wrote_meanwhile_is_kept_where_there_is_room() {
    let (_dir, volume) = volume();
    let before = volume.dump();
    let active = begin(&volume);
    // Another process, gone again by the time of the judgement.
    volume.run(
        "app.sqlite3",
        "INSERT INTO users (name) VALUES ('order 4711')",
    );
    let kept = rolled_back(active.finish(false).unwrap());
    assert_eq!(volume.dump(), before);
    assert_eq!(count(&kept.found[0], "users WHERE name = 'order 4711'"), 1);
    // No room: it is said, and put back all the same.
    let active = begin(&volume);
    volume.run(
        "app.sqlite3",
        "INSERT INTO users (name) VALUES ('order 4712')",
    );
    volume.refuse(1, None);
    let kept = rolled_back(active.finish(false).unwrap());
    assert_eq!(volume.dump(), before);
    assert!(kept.found.is_empty());
    let said = volume.warnings();
    assert!(
        said.iter()
            .any(|said| said.contains("no copy of its present state")),
        "{said:?}"
    );
}

#[test]
fn what_is_written_between_the_copy_and_the_lock_is_kept_too() {
    for mode in ["WAL", "DELETE"] {
        let (_dir, volume) = volume();
        volume.run("app.sqlite3", &format!("PRAGMA journal_mode = {mode}"));
        let before = volume.dump();
        let (writer, late) = (volume.clone(), AtomicUsize::new(0));
        let mut hosted = volume.clone();
        hosted.after_snapshot = Some(Arc::new(move |into| {
            // Twice, right after a copy of what is rolled back.
            let is_found = into.to_string_lossy().contains("found");
            if is_found && late.fetch_add(1, Ordering::Relaxed) < 2 {
                writer.run("app.sqlite3", "INSERT INTO users (name) VALUES ('late')");
            }
        }));
        let active = begin(&hosted);
        volume.run("app.sqlite3", LOSES);
        let kept = rolled_back(active.finish(true).unwrap());
        assert!(volume.dump() == before, "{mode}");
        let late: Vec<i64> = (kept.found.iter())
            .map(|found| count(found, "users WHERE name = 'late'"))
            .collect();
        assert_eq!(late, [0, 1, 2], "{mode}");
        assert!(kept.until_removed);
    }
}

#[test]
fn all_is_on_disk_before_the_note_goes() {
    for (sql, ends_well) in [("CREATE TABLE more (x)", true), (LOSES, false)] {
        let (_dir, volume) = volume();
        // It keeps its log.
        let open = volume.open("app.sqlite3");
        open.query_row("SELECT count(*) FROM posts", [], |_| Ok(()))
            .unwrap();
        let active = begin(&volume);
        volume.run("app.sqlite3", sql);
        volume.synced.lock().unwrap().clear();
        active.finish(ends_well).unwrap();
        let synced = volume.synced.lock().unwrap().clone();
        for name in ["app.sqlite3", "app.sqlite3-wal", "sub/other.db", "empty.db"] {
            let while_noted = (volume.path.join(name), true);
            assert!(synced.contains(&while_noted), "{name}: {synced:?}");
        }
        assert!(!volume.journal().exists());
    }
}

#[test]
fn what_was_there_or_is_anothers_is_not_moved_away() {
    let (_dir, volume) = volume();
    // No name of a database, and in WAL mode: only its log makes it one.
    volume.run(
        "production",
        "PRAGMA journal_mode = WAL; CREATE TABLE t (x)",
    );
    std::fs::rename(volume.path.join("production"), volume.path.join("late.txt")).unwrap();
    let active = begin(&volume);
    std::fs::rename(volume.path.join("late.txt"), volume.path.join("late.db")).unwrap();
    std::fs::write(volume.path.join("notes.db"), "not SQLite's").unwrap();
    volume.run("made.db", "CREATE TABLE t (x)");
    volume.run("queue.db", "CREATE TABLE jobs (x)");
    let mut other = Command::new("cat")
        .stdin(Stdio::piped())
        .stderr(std::fs::File::open(volume.path.join("queue.db")).unwrap())
        .spawn()
        .unwrap();
    let kept = rolled_back(active.finish(false).unwrap());
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(
        kept.made,
        ["late.db", "made.db"],
        "a new name, and a new one"
    );
    for stays in ["notes.db", "queue.db"] {
        assert!(volume.path.join(stays).exists(), "{stays}");
    }
    let said = volume.warnings().join("\n");
    assert!(
        said.contains("queue.db was made while the migration ran, and is open in `cat`"),
        "{said}"
    );
    // One that was there as a file is left, though it was not known as a database.
    std::fs::remove_file(volume.path.join("notes.db")).unwrap();
    let find = {
        let (root, log) = (volume.path.clone(), volume.path.join("old-wal"));
        volume.run("old", "CREATE TABLE t (x)");
        std::sync::Arc::new(move || match log.exists() {
            true => vec![root.join("app.sqlite3"), root.join("old")],
            false => vec![root.join("app.sqlite3")],
        })
    };
    let mut volume = volume;
    volume.find = Some(find);
    let active = begin(&volume);
    volume.run("app.sqlite3", LOSES);
    std::fs::write(volume.path.join("old-wal"), "").unwrap();
    let kept = rolled_back(active.finish(false).unwrap());
    assert!(kept.made.is_empty() && volume.path.join("old").exists());
    assert!(
        volume
            .warnings()
            .join("\n")
            .contains("old was there before")
    );
}

#[test]
fn the_newest_copy_stays_for_a_week() {
    let (_dir, mut volume) = volume();
    volume.now_ms = now_ms();
    let fails = |volume: &Volume| {
        let kept = rolled_back(volume.migrate(Options::new(), LOSES, true).unwrap());
        assert!(!kept.until_removed, "{kept:?}");
        assert_eq!(count(&kept.found[0], "comments"), 0);
        kept
    };
    let first = fails(&volume);
    volume.now_ms += 6 * DAY_MS;
    volume.migrate(Options::new(), "", true).unwrap();
    assert!(first.kept.exists());
    let second = fails(&volume);
    assert!(!first.kept.exists() && second.kept.exists());
    volume.now_ms += 2 * DAY_MS;
    volume.migrate(Options::new(), "", true).unwrap();
    assert!(!second.kept.exists());
    // A clock that was wrong costs nothing.
    volume.now_ms = NOON_MS / 2;
    let third = fails(&volume);
    volume.migrate(Options::new(), "", true).unwrap();
    assert!(third.kept.exists());
    // One that was interrupted is like any other, also if it is taken as it is.
    volume.now_ms += 1000;
    died(&volume, Options::new(), LOSES);
    let fourth = volume.recover(Interrupted::default()).unwrap().unwrap();
    assert!(!third.kept.exists() && fourth.kept.exists() && !fourth.until_removed);
    died(&volume, Options::new(), "CREATE TABLE more (x)");
    let fifth = volume.recover(Interrupted::Keep).unwrap().unwrap();
    assert!(!fourth.kept.exists() && fifth.kept.exists() && !fifth.until_removed);
}

#[test]
fn what_others_may_have_written_stays_until_somebody_removes_it() {
    let (_dir, mut volume) = volume();
    volume.now_ms = now_ms();
    let mut other = Command::new("cat")
        .stdin(Stdio::piped())
        .stderr(std::fs::File::open(volume.path.join("app.sqlite3")).unwrap())
        .spawn()
        .unwrap();
    let guard = Guard::enter(volume.host(), "x").unwrap();
    let options = Options::new().if_open(IfOpen::KeepCopy);
    let active = guard.begin(options).unwrap();
    volume.run("app.sqlite3", LOSES);
    other.kill().unwrap();
    other.wait().unwrap();
    let theirs = rolled_back(active.finish(true).unwrap());
    // So it is of one that was rolled back though a database may have been used.
    died(&volume, Options::new(), LOSES);
    let forced = volume.recover(Interrupted::RollBack).unwrap().unwrap();
    // Newer copies and time take nothing of that away, nor does a lack of room.
    for _ in 0..2 {
        volume.now_ms += 100 * DAY_MS;
        rolled_back(volume.migrate(Options::new(), LOSES, true).unwrap());
    }
    volume.now_ms = now_ms();
    rolled_back(volume.migrate(Options::new(), LOSES, true).unwrap());
    volume.refuse(1, Some(1));
    volume.migrate(Options::new(), "", true).unwrap();
    for kept in [&theirs, &forced] {
        assert!(kept.until_removed);
        assert_eq!(count(&kept.found[0], "comments"), 0);
    }
    assert_eq!(volume.kept().len(), 2);
    // Each migration says where it is, and how it is removed.
    volume.events.lock().unwrap().clear();
    volume.migrate(Options::new(), "", true).unwrap();
    let said = volume.warnings().concat();
    for kept in [&theirs, &forced] {
        assert!(
            said.contains(&format!(" {}", kept.kept.display())),
            "{said}"
        );
    }
    assert!(said.contains("rm -r "), "{said}");
}

#[test]
fn a_link_is_followed() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut volume = Volume::filled(dir.path());
    let real = out.path().join("real.sqlite3");
    std::fs::rename(volume.path.join("sub/other.db"), &real).unwrap();
    std::os::unix::fs::symlink(&real, volume.path.join("linked.sqlite3")).unwrap();
    // As the volume is looked through: links are no files.
    let app = volume.path.join("app.sqlite3");
    volume.find = Some(Arc::new(move || vec![app.clone()]));
    let active = begin(&volume);
    assert_eq!(active.databases(), 2);
    volume.run("linked.sqlite3", "DELETE FROM t");
    let kept = rolled_back(active.finish(true).unwrap());
    assert_eq!(kept.databases, ["linked.sqlite3"]);
    assert!(volume.path.join("linked.sqlite3").is_symlink());
    assert_eq!(count(&real, "t"), 2);
}

#[test]
fn a_file_that_is_written_anew_has_its_owner_and_its_mode() {
    let (_dir, volume) = volume();
    let path = volume.path.join("app.sqlite3");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).unwrap();
    let is_root = path.metadata().unwrap().uid() == 0;
    if is_root {
        std::os::unix::fs::chown(&path, Some(4711), Some(4712)).unwrap();
        std::os::unix::fs::chown(&volume.path, Some(4713), None).unwrap();
    }
    let active = begin(&volume);
    std::fs::write(&path, "not a database any more".repeat(1000)).unwrap();
    rolled_back(active.finish(true).unwrap());
    let now = path.metadata().unwrap();
    assert_eq!(now.mode() & 0o777, 0o660);
    if is_root {
        assert_eq!((now.uid(), now.gid()), (4711, 4712));
        for own in [
            ".monolite",
            ".monolite/migrating",
            ".monolite/migrating.lock",
        ] {
            let own = volume.path.join(own).metadata().unwrap();
            assert_eq!(own.uid(), 4713);
        }
    }
}

#[test]
fn copies_stay_though_the_disk_is_full_at_the_end() {
    let (_dir, volume) = volume();
    let active = begin(&volume);
    let copies = || {
        let kept = volume.kept().into_iter();
        let own = kept.filter(|name| !name.contains("intent"));
        let own: Vec<_> = own.collect();
        volume.path.join(".monolite/migrating").join(&own[0])
    };
    let mark = copies().join("kept");
    // What is said before the command is there at the end.
    assert_eq!(std::fs::read(&mark).unwrap(), b"for a week\n");
    std::fs::create_dir(mark.with_extension("new")).unwrap();
    volume.run("app.sqlite3", LOSES);
    let kept = rolled_back(active.finish(true).unwrap());
    assert!(kept.kept.exists() && !kept.until_removed);
    assert!(volume.warnings().is_empty(), "{:?}", volume.warnings());
    // Nor does anything go if it was never said.
    std::fs::remove_dir_all(&kept.kept).unwrap();
    let active = begin(&volume);
    let mark = copies().join("kept");
    std::fs::remove_file(&mark).unwrap();
    std::fs::create_dir(mark.with_extension("new")).unwrap();
    volume.run("app.sqlite3", LOSES);
    let kept = rolled_back(active.finish(true).unwrap());
    assert_eq!(count(&kept.found[0], "comments"), 0);
    assert!(kept.kept.exists());
    assert!(volume.warnings()[0].contains("may be removed"));
}

/// A process that this one has not started, with the database open for writing until `end` exists.
fn other_writer(volume: &Volume, dir: &std::path::Path) {
    let script = format!(
        "(exec 3>>'{}'; : > started; while [ ! -e end ]; do sleep 0.01; done; exec 3>&-; : > gone) > out 2>&1 &",
        volume.path.join("app.sqlite3").display()
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).current_dir(dir);
    assert!(
        shell
            .env_remove("MONOLITE_GUARDED")
            .status()
            .unwrap()
            .success()
    );
    while !dir.join("started").exists() {
        std::thread::yield_now();
    }
}

#[test]
fn who_wrote_while_a_migration_ran_is_named() {
    let (_dir, volume) = volume();
    let dir = tempfile::tempdir().unwrap();
    let before = volume.dump();
    let active = begin(&volume);
    volume.run("app.sqlite3", LOSES);
    other_writer(&volume, dir.path());
    let verdict = active.finish(true).unwrap();
    std::fs::write(dir.path().join("end"), "").unwrap();
    let said = monolite_guard::messages::refused(&verdict).join("\n");
    let rollback = rolled_back(verdict);
    // What it starts has the database open, too.
    let mut writers = rollback.writers.iter();
    let writer = writers.find(|of| of.process.contains("sh")).unwrap();
    assert_eq!(writer.database, std::path::Path::new("app.sqlite3"));
    assert!(rollback.until_removed);
    let copy = rollback.found[0].display().to_string();
    for part in [
        format!("{} had app.sqlite3 open for writing at ", writer.process),
        format!("what it wrote is only in that copy; to look for it: sqlite3 {copy}"),
        "which is kept until you remove it".into(),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    assert_eq!(volume.dump(), before);
}

#[test]
fn who_writes_while_the_databases_are_compared_is_named() {
    let (_dir, mut volume) = volume();
    let dir = tempfile::tempdir().unwrap();
    let is_judging = Arc::new(AtomicBool::new(false));
    let (writing, path) = (Arc::clone(&is_judging), dir.path().to_owned());
    let other = volume.clone();
    volume.on_report = Some(Arc::new(move || {
        if writing.swap(false, Ordering::Relaxed) {
            other_writer(&other, &path);
            // It is seen when it opens the file, which nothing shows here.
            std::thread::sleep(Duration::from_millis(500));
            std::fs::write(path.join("end"), "").unwrap();
            while !path.join("gone").exists() {
                std::thread::yield_now();
            }
        }
    }));
    let active = begin(&volume);
    volume.run("app.sqlite3", LOSES);
    is_judging.store(true, Ordering::Relaxed);
    let rollback = rolled_back(active.finish(true).unwrap());
    assert!(
        !is_judging.load(Ordering::Relaxed),
        "it reports while it compares"
    );
    let mut writers = rollback.writers.iter();
    assert!(
        writers.any(|of| of.process.contains("sh")),
        "{:?}",
        rollback.writers
    );
    assert!(rollback.until_removed);
}

#[test]
fn a_disk_that_the_migration_filled_has_room_again() {
    let (_dir, mut volume) = volume();
    volume.free_bytes = 1 << 20;
    let before = volume.dump();
    let active = begin(&volume);
    volume.run("app.sqlite3", LOSES);
    let rollback = rolled_back(active.finish(false).unwrap());
    assert_eq!(volume.dump(), before);
    assert!(!rollback.kept.exists() && volume.kept().is_empty());
    let warnings = volume.warnings().join("\n");
    assert!(
        warnings.contains("less than 64 MB of the disk are free"),
        "{warnings}"
    );
    // What may be another process's stays all the same.
    let dir = tempfile::tempdir().unwrap();
    let active = begin(&volume);
    volume.run("app.sqlite3", LOSES);
    other_writer(&volume, dir.path());
    let rollback = rolled_back(active.finish(true).unwrap());
    std::fs::write(dir.path().join("end"), "").unwrap();
    assert!(rollback.kept.exists());
}
