//! What is kept: nothing that may be the only copy of somebody's data goes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use monolite_guard::{
    Begun, Error, Guard, Interrupted, NoSnapshot, Options, Others, PutBack, Site, Survived, Turn,
    Verdict,
};
use rusqlite::Connection;

use super::volume::{NOON_MS, Volume};

const DAY_MS: i64 = 24 * 3_600_000;
const LOSES: &str = "DELETE FROM comments";

fn volume() -> (tempfile::TempDir, Volume) {
    let dir = tempfile::tempdir().unwrap();
    let volume = Volume::filled(dir.path());
    (dir, volume)
}

fn begin(volume: &Volume) -> Begun {
    let guard = Guard::enter(volume.site(), "the migration").unwrap();
    guard.begin(Options::default()).unwrap()
}

fn begin_with(volume: &Volume, change: &dyn Fn(&mut Site)) -> Begun {
    let mut site = volume.site();
    change(&mut site);
    let guard = Guard::enter(site, "the migration").unwrap();
    guard.begin(Options::default()).unwrap()
}

fn put_back(verdict: Verdict) -> PutBack {
    match verdict {
        Verdict::PutBack { put_back, .. } => put_back,
        other => panic!("{other:?}"),
    }
}

fn count(path: &Path, what: &str) -> i64 {
    let conn = Connection::open(path).unwrap();
    conn.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| {
        row.get(0)
    })
    .unwrap()
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_millis()).unwrap()
}

#[test]
fn what_others_wrote_meanwhile_is_kept_where_there_is_room() {
    let (_dir, volume) = volume();
    let before = volume.dump();
    let begun = begin(&volume);
    // Another process, gone again by the time of the judgement.
    volume.run(
        "app.sqlite3",
        "INSERT INTO users (name) VALUES ('order 4711')",
    );
    let kept = put_back(begun.finish(false).unwrap());
    assert_eq!(volume.dump(), before);
    assert_eq!(count(&kept.found[0], "users WHERE name = 'order 4711'"), 1);
    // No room: it is said, and put back all the same.
    let begun = begin(&volume);
    volume.run(
        "app.sqlite3",
        "INSERT INTO users (name) VALUES ('order 4712')",
    );
    volume.refuse(1, None);
    let kept = put_back(begun.finish(false).unwrap());
    assert_eq!(volume.dump(), before);
    assert!(kept.found.is_empty());
    let said = volume.sentences();
    assert!(
        said.iter()
            .any(|said| said.contains("no copy of its present state")),
        "{said:?}"
    );
}

#[test]
fn where_nobody_has_it_open_the_file_itself_is_the_copy() {
    let (_dir, mut volume) = volume();
    volume.is_alone = true;
    let before = volume.dump();
    let begun = begin(&volume);
    volume.run("app.sqlite3", LOSES);
    volume.refuse(1, None);
    let kept = put_back(begun.finish(true).unwrap());
    assert_eq!(volume.dump(), before);
    assert_eq!(kept.found.len(), 1);
    assert_eq!(count(&kept.found[0], "comments"), 0);
}

#[test]
fn what_is_written_between_the_copy_and_the_lock_is_kept_too() {
    for mode in ["WAL", "DELETE"] {
        let (_dir, volume) = volume();
        volume.run("app.sqlite3", &format!("PRAGMA journal_mode = {mode}"));
        let before = volume.dump();
        let begun = begin_with(&volume, &|site| {
            let (take, writer) = (site.snapshot.clone(), volume.clone());
            let late = std::sync::atomic::AtomicUsize::new(0);
            site.snapshot = std::sync::Arc::new(move |live, into| {
                let taken = take(live, into);
                // Twice, right after a copy of what is put back over.
                if into.to_string_lossy().contains("found")
                    && late.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2
                {
                    writer.run("app.sqlite3", "INSERT INTO users (name) VALUES ('late')");
                }
                taken
            });
        });
        volume.run("app.sqlite3", LOSES);
        let kept = put_back(begun.finish(true).unwrap());
        assert!(volume.dump() == before, "{mode}");
        let late: Vec<i64> = (kept.found.iter())
            .map(|found| count(found, "users WHERE name = 'late'"))
            .collect();
        assert_eq!(late, [0, 1, 2], "{mode}");
    }
}

/// As it died after its command had run: the guard's own memory is gone.
fn died(volume: &Volume, options: Options, sql: &str) {
    let guard = Guard::enter(volume.site(), "the migration").unwrap();
    let begun = guard.begin(options).unwrap();
    volume.run("app.sqlite3", sql);
    drop(begun);
}

#[test]
fn one_that_ran_beside_others_is_never_put_back_unasked() {
    let (_dir, volume) = volume();
    let options = Options {
        others: Others::Leave,
        ..Options::default()
    };
    died(&volume, options.clone(), LOSES);
    volume.run(
        "app.sqlite3",
        "INSERT INTO users (name) VALUES ('meanwhile')",
    );
    let now = volume.dump();
    let left = volume.recover(Interrupted::default()).unwrap().unwrap();
    assert!(left.left && left.databases.is_empty());
    assert_eq!(volume.dump(), now);
    assert_eq!(volume.recover(Interrupted::default()).unwrap(), None);
    let snapshot = left.kept.join("before/app.sqlite3/snapshot.sqlite3");
    assert_eq!(count(&snapshot, "comments"), 80);
    // The only copy of what it deleted stays, whatever happens after it.
    let mut later = volume.clone();
    later.now_ms = now_ms() + 100 * DAY_MS;
    put_back(
        later
            .migrate(Options::default(), "DELETE FROM posts", false)
            .unwrap(),
    );
    later.refuse(1, Some(1));
    let _ = later.migrate(Options::default(), "", true);
    assert_eq!(count(&snapshot, "comments"), 80);
    // Asked for, it is put back, and what is there is kept.
    died(&volume, options, "DELETE FROM posts");
    let kept = volume.recover(Interrupted::PutBack).unwrap().unwrap();
    assert_eq!(volume.dump(), now);
    assert_eq!(count(&kept.found[0], "posts"), 0);
}

#[test]
fn what_is_found_is_kept_or_nothing_is_put_back() {
    let (_dir, volume) = volume();
    let before = volume.dump();
    died(&volume, Options::default(), LOSES);
    let now = volume.dump();
    volume.refuse(1, None);
    let error = volume.recover(Interrupted::default()).unwrap_err();
    assert!(matches!(error, Error::NoCopy { .. }), "{error}");
    assert!(
        error.to_string().contains("--interrupted put-back"),
        "{error}"
    );
    assert_eq!(volume.dump(), now);
    assert!(volume.note().exists());
    // Nobody else begins or writes meanwhile.
    let begun = Guard::enter(volume.site(), "x")
        .unwrap()
        .begin(Options::default());
    assert!(matches!(begun, Err(Error::Interrupted { .. })), "{begun:?}");
    let cancel = volume.cancel.clone();
    let turn = Turn::take(&volume.path, "up", &cancel, |_| {}).unwrap_err();
    assert!(turn.to_string().contains("`the migration`"), "{turn}");
    // Asked for, it does without.
    volume.refuse(1, None);
    let done = volume.recover(Interrupted::PutBack).unwrap().unwrap();
    assert!(done.found.is_empty());
    assert_eq!(volume.dump(), before);
    drop(Turn::take(&volume.path, "up", &cancel, |_| {}).unwrap());
}

#[test]
fn what_was_put_in_place_since_counts_as_used() {
    let (dir, volume) = volume();
    died(&volume, Options::default(), LOSES);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let names = ["app.sqlite3", "sub/other.db", "empty.db"].map(|name| volume.path.join(name));
    for path in names.into_iter().chain([volume.note()]) {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(old).unwrap();
    }
    // Both were changed a moment ago, as by a `chown -R` of the volume.
    let recovers = |volume: &Volume| {
        let site = volume.site();
        Guard::enter(site, "x")
            .unwrap()
            .recover(Interrupted::default())
    };
    std::thread::sleep(std::time::Duration::from_secs(6));
    // With its old time, but later than the note.
    let backup = dir.path().join("backup");
    std::fs::copy(volume.path.join("app.sqlite3"), &backup).unwrap();
    let file = std::fs::File::options().write(true).open(&backup).unwrap();
    file.set_modified(old).unwrap();
    std::fs::rename(&backup, volume.path.join("app.sqlite3")).unwrap();
    let error = recovers(&volume).unwrap_err();
    assert!(matches!(error, Error::WrittenSince { .. }), "{error}");
    // What its own processes wrote until they were ended does not.
    // … if one had it open; one that was idle changes nothing.
    let survived = |name: &str| Survived {
        ended: vec!["`sh` (pid 7)".into()],
        written: vec![volume.path.join(name)],
    };
    for written in [Vec::new(), survived("sub/other.db").written] {
        *volume.survivors.lock().unwrap() = Survived {
            written,
            ..survived("app.sqlite3")
        };
        let error = recovers(&volume).unwrap_err();
        assert!(
            matches!(&error, Error::WrittenSince { database, .. } if database == "app.sqlite3"),
            "{error}"
        );
    }
    // Not even should we die, or have to wait for somebody, after they have ended.
    *volume.survivors.lock().unwrap() = survived("app.sqlite3");
    let mut other = Command::new("cat")
        .stdin(Stdio::piped())
        .stderr(
            std::fs::File::options()
                .append(true)
                .open(volume.path.join("app.sqlite3"))
                .unwrap(),
        )
        .spawn()
        .unwrap();
    let error = recovers(&volume).unwrap_err();
    assert!(matches!(error, Error::StillRunning { .. }), "{error}");
    other.kill().unwrap();
    other.wait().unwrap();
    recovers(&volume).unwrap();
    let said = volume.sentences();
    assert!(
        said.iter().any(|said| said.contains("`sh` (pid 7)")),
        "{said:?}"
    );
}

#[test]
fn all_is_on_disk_before_the_note_goes() {
    for (sql, ends_well) in [("CREATE TABLE more (x)", true), (LOSES, false)] {
        let (_dir, volume) = volume();
        // It keeps its log.
        let open = volume.open("app.sqlite3");
        open.query_row("SELECT count(*) FROM posts", [], |_| Ok(()))
            .unwrap();
        let begun = begin(&volume);
        volume.run("app.sqlite3", sql);
        volume.synced.lock().unwrap().clear();
        begun.finish(ends_well).unwrap();
        let synced = volume.synced.lock().unwrap().clone();
        for name in ["app.sqlite3", "app.sqlite3-wal", "sub/other.db", "empty.db"] {
            let while_noted = (volume.path.join(name), true);
            assert!(synced.contains(&while_noted), "{name}: {synced:?}");
        }
        assert!(!volume.note().exists());
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
    let begun = begin(&volume);
    std::fs::rename(volume.path.join("late.txt"), volume.path.join("late.db")).unwrap();
    std::fs::write(volume.path.join("notes.db"), "not SQLite's").unwrap();
    volume.run("made.db", "CREATE TABLE t (x)");
    volume.run("queue.db", "CREATE TABLE jobs (x)");
    let mut other = Command::new("cat")
        .stdin(Stdio::piped())
        .stderr(std::fs::File::open(volume.path.join("queue.db")).unwrap())
        .spawn()
        .unwrap();
    let kept = put_back(begun.finish(false).unwrap());
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
    let said = volume.sentences().join("\n");
    assert!(
        said.contains("queue.db came while the migration ran, and is open in `cat`"),
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
    let mut site = volume.site();
    site.find = find;
    let begun = Guard::enter(site, "x")
        .unwrap()
        .begin(Options::default())
        .unwrap();
    volume.run("app.sqlite3", LOSES);
    std::fs::write(volume.path.join("old-wal"), "").unwrap();
    let kept = put_back(begun.finish(false).unwrap());
    assert!(kept.made.is_empty() && volume.path.join("old").exists());
    assert!(
        volume
            .sentences()
            .join("\n")
            .contains("old was there before")
    );
}

#[test]
fn spare_snapshots_go_and_nothing_else() {
    let (_dir, mut volume) = volume();
    volume.now_ms = now_ms();
    let fails =
        |volume: &Volume| put_back(volume.migrate(Options::default(), LOSES, true).unwrap());
    let first = fails(&volume);
    let spare = |of: &PutBack| of.kept.join("before").exists();
    volume.now_ms += 6 * DAY_MS;
    volume.migrate(Options::default(), "", true).unwrap();
    assert!(spare(&first));
    let second = fails(&volume);
    assert!(!spare(&first) && spare(&second));
    volume.now_ms += 2 * DAY_MS;
    volume.migrate(Options::default(), "", true).unwrap();
    assert!(!spare(&second));
    for of in [&first, &second] {
        assert_eq!(count(&of.found[0], "comments"), 0);
    }
    // Whoever comes hears of it, and how it is removed.
    volume.said.lock().unwrap().clear();
    volume.migrate(Options::default(), "", true).unwrap();
    let said = volume.sentences().concat();
    for of in [&first, &second] {
        let found = of.kept.join("found");
        assert!(said.contains(&format!(" {}", found.display())), "{said}");
    }
    assert!(said.contains("rm -r "), "{said}");
    // A clock that was wrong costs nothing.
    volume.now_ms = NOON_MS / 2;
    let third = fails(&volume);
    volume.migrate(Options::default(), "", true).unwrap();
    assert!(spare(&third));
}

#[test]
fn a_link_is_followed() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let volume = Volume::filled(dir.path());
    let real = out.path().join("real.sqlite3");
    std::fs::rename(volume.path.join("sub/other.db"), &real).unwrap();
    std::os::unix::fs::symlink(&real, volume.path.join("linked.sqlite3")).unwrap();
    // As the volume is looked through: links are no files.
    let mut site = volume.site();
    let app = volume.path.join("app.sqlite3");
    site.find = std::sync::Arc::new(move || vec![app.clone()]);
    let begun = Guard::enter(site, "x")
        .unwrap()
        .begin(Options::default())
        .unwrap();
    assert_eq!(begun.databases(), 2);
    volume.run("linked.sqlite3", "DELETE FROM t");
    let kept = put_back(begun.finish(true).unwrap());
    assert_eq!(kept.databases, ["linked.sqlite3"]);
    assert!(volume.path.join("linked.sqlite3").is_symlink());
    assert_eq!(count(&real, "t"), 2);
}

#[test]
fn an_exchanged_file_stays_whose_it_was() {
    let (_dir, volume) = volume();
    let path = volume.path.join("app.sqlite3");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).unwrap();
    let is_root = path.metadata().unwrap().uid() == 0;
    if is_root {
        std::os::unix::fs::chown(&path, Some(4711), Some(4712)).unwrap();
        std::os::unix::fs::chown(&volume.path, Some(4713), None).unwrap();
    }
    let begun = begin(&volume);
    std::fs::write(&path, "not a database any more".repeat(1000)).unwrap();
    put_back(begun.finish(true).unwrap());
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

/// All of a volume as it is on the disk, while its databases are open.
fn after_a_power_cut(running: &Volume) -> (tempfile::TempDir, Volume) {
    let dir = tempfile::tempdir().unwrap();
    let copied = Command::new("cp")
        .args(["-r", "-T"])
        .args([&running.path, dir.path()])
        .status();
    assert!(copied.unwrap().success());
    let volume = Volume::new(dir.path());
    (dir, volume)
}

#[test]
fn a_log_that_was_moved_aside_is_followed_by_its_database() {
    let (_dir, running) = volume();
    let before = running.dump();
    let open = running.open("app.sqlite3");
    open.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
    died(&running, Options::default(), LOSES);
    open.execute_batch("INSERT INTO users (name) VALUES ('only in the log')")
        .unwrap();
    let (_copy, volume) = after_a_power_cut(&running);
    let kept = volume.path.join(".monolite/migrating").join(
        (volume.kept().into_iter())
            .find(|name| name != "intent.json")
            .unwrap(),
    );
    std::fs::create_dir(kept.join("aside")).unwrap();
    let aside = kept.join("aside/app.sqlite3");
    std::fs::rename(
        volume.path.join("app.sqlite3-wal"),
        kept.join("aside/app.sqlite3-wal"),
    )
    .unwrap();
    std::fs::remove_file(volume.path.join("app.sqlite3-shm")).unwrap();
    let done = volume.recover(Interrupted::default()).unwrap().unwrap();
    assert!(volume.dump() == before);
    assert!(done.found.contains(&aside), "{done:?}");
    assert_eq!(count(&aside, "users WHERE name = 'only in the log'"), 1);
    assert_eq!(count(&aside, "comments"), 0);
}

#[test]
fn a_snapshot_that_fails_otherwise_stops_the_recovery_too() {
    let (_dir, volume) = volume();
    died(&volume, Options::default(), LOSES);
    let why = NoSnapshot::Other("it hangs".into());
    volume.refusals.lock().unwrap().push(why);
    let error = volume.recover(Interrupted::default()).unwrap_err();
    assert!(error.to_string().contains("it hangs"), "{error}");
}

#[test]
fn own_work_of_the_newest_three_stays() {
    let (_dir, mut volume) = volume();
    let fails = |volume: &Volume| {
        let verdict = volume.migrate(Options::default(), LOSES, false).unwrap();
        put_back(verdict)
    };
    // While others have it open, all of it is theirs.
    let mut other = Command::new("cat")
        .stdin(Stdio::piped())
        .stderr(std::fs::File::open(volume.path.join("app.sqlite3")).unwrap())
        .spawn()
        .unwrap();
    let guard = Guard::enter(volume.site(), "x").unwrap();
    let options = Options {
        others: Others::Keep,
        ..Options::default()
    };
    let begun = guard.begin(options).unwrap();
    volume.run("app.sqlite3", LOSES);
    other.kill().unwrap();
    other.wait().unwrap();
    let theirs = put_back(begun.finish(false).unwrap());
    assert!(!theirs.alone);
    // So it is of one that died, and was taken for used.
    died(&volume, Options::default(), LOSES);
    let forced = volume.recover(Interrupted::PutBack).unwrap().unwrap();
    assert!(!forced.alone);
    let mut own = Vec::new();
    for n in 0..5 {
        volume.now_ms += 1000;
        let kept = match n {
            2 => {
                died(&volume, Options::default(), LOSES);
                volume.recover(Interrupted::default()).unwrap().unwrap()
            }
            _ => fails(&volume),
        };
        assert!(kept.alone && kept.found.len() == 1, "{kept:?}");
        own.push(kept);
    }
    let is_there: Vec<bool> = own.iter().map(|of| of.kept.exists()).collect();
    assert_eq!(is_there, [false, false, true, true, true]);
    for there in [&theirs, &forced, &own[2], &own[4]] {
        assert_eq!(count(&there.found[0], "comments"), 0);
    }
    // Whoever comes hears which is which.
    volume.said.lock().unwrap().clear();
    volume.migrate(Options::default(), "", true).unwrap();
    let said = volume.sentences();
    let names = |which: &str, kept: &PutBack| {
        let found = kept.kept.join("found").display().to_string();
        (said.iter()).any(|said| said.contains(which) && said.contains(&found))
    };
    for (kept, is_own) in [(&theirs, false), (&forced, false), (&own[4], true)] {
        assert_eq!(names("the newest three", kept), is_own, "{said:?}");
        assert_eq!(names("the only copy", kept), !is_own, "{said:?}");
    }
}

#[test]
fn a_half_exchange_is_undone_before_what_is_there_is_taken() {
    // The log alone was moved, or all of it.
    for moved in [&["-wal"][..], &["-wal", ""]] {
        let (_dir, running) = volume();
        let open = running.open("app.sqlite3");
        open.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
        died(&running, Options::default(), LOSES);
        open.execute_batch("INSERT INTO users (name) VALUES ('only in the log')")
            .unwrap();
        let (_copy, volume) = after_a_power_cut(&running);
        let after = running.dump();
        let stamp = (volume.kept().into_iter()).find(|name| name != "intent.json");
        let kept = volume.path.join(".monolite/migrating").join(stamp.unwrap());
        std::fs::create_dir(kept.join("aside")).unwrap();
        for suffix in moved {
            let name = format!("app.sqlite3{suffix}");
            std::fs::rename(volume.path.join(&name), kept.join("aside").join(&name)).unwrap();
        }
        std::fs::remove_file(volume.path.join("app.sqlite3-shm")).unwrap();
        if moved.len() == 1 {
            // With somebody's hands on it, the two belong together no more.
            let log = volume.path.join("app.sqlite3-wal");
            std::fs::write(&log, "another").unwrap();
            let error = volume.recover(Interrupted::Keep).unwrap_err();
            assert!(matches!(error, Error::Parted { .. }), "{error}");
            assert!(volume.note().exists());
            std::fs::remove_file(log).unwrap();
        }
        let done = volume.recover(Interrupted::Keep).unwrap().unwrap();
        assert!(done.left);
        assert!(volume.dump() == after, "{moved:?}");
        assert_eq!(
            count(
                &volume.path.join("app.sqlite3"),
                "users WHERE name = 'only in the log'"
            ),
            1
        );
    }
}

/// In a process of its own, on a disk that is full.
#[test]
#[ignore = "the other half of the test below"]
fn on_a_full_disk() {
    let path = PathBuf::from(std::env::var_os("VOLUME").unwrap());
    let mut volume = Volume::new(&path);
    volume.is_alone = true;
    volume.run(
        "app.sqlite3",
        "CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(3000000))",
    );
    let before = volume.dump();
    let begun = begin(&volume);
    volume.run(
        "app.sqlite3",
        "PRAGMA journal_mode = MEMORY; UPDATE t SET x = randomblob(3000000)",
    );
    let now = std::fs::read(path.join("app.sqlite3")).unwrap();
    // 8 MB are too few for a third.
    volume.refuse(1, None);
    let kept = put_back(begun.finish(false).unwrap());
    assert_eq!(volume.dump(), before);
    assert_eq!(std::fs::read(&kept.found[0]).unwrap(), now);
    assert!(
        !kept
            .kept
            .join("before/app.sqlite3/snapshot.sqlite3")
            .exists()
    );
    assert_eq!(volume.recover(Interrupted::default()).unwrap(), None);
}

/// In a process of its own, with `sub` on another disk.
#[test]
#[ignore = "the other half of the test below"]
fn on_two_disks() {
    let path = PathBuf::from(std::env::var_os("VOLUME").unwrap());
    let mut volume = Volume::filled(&path);
    volume.is_alone = true;
    let before = volume.dump();
    let begun = begin(&volume);
    let damaged = "no database any more".repeat(1000);
    std::fs::write(path.join("sub/other.db"), &damaged).unwrap();
    volume.run("sub/made.db", "CREATE TABLE t (x)");
    let kept = put_back(begun.finish(true).unwrap());
    assert_eq!(volume.dump(), before);
    let stamp = kept.kept.file_name().unwrap().to_str().unwrap();
    let aside = path.join(format!("sub/other.db.aside-{stamp}"));
    assert_eq!(kept.found, std::slice::from_ref(&aside));
    assert!(!kept.alone, "there nobody sweeps");
    assert_eq!(std::fs::read(&aside).unwrap(), damaged.as_bytes());
    let new = path.join(format!("sub/made.db.new-{stamp}"));
    assert_eq!(kept.set_aside, [new]);
    std::fs::remove_file(aside).unwrap();
    // With no room for a copy, SQLite writes it where it is.
    let begun = begin(&volume);
    volume.run("sub/other.db", "DELETE FROM t");
    volume.refuse(1, None);
    let kept = put_back(begun.finish(true).unwrap());
    assert_eq!(volume.dump(), before);
    assert!(kept.found.is_empty(), "{kept:?}");
    // With no room for the snapshot either, it is left as it is.
    let begun = begin(&volume);
    std::fs::write(path.join("sub/other.db"), &damaged).unwrap();
    let mut filler = std::fs::File::create(path.join("sub/filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
    let error = begun.finish(true).unwrap_err();
    assert!(matches!(error, Error::PutBack { .. }), "{error}");
    let now = std::fs::read(path.join("sub/other.db")).unwrap();
    assert_eq!(now, damaged.as_bytes());
    drop(filler);
    std::fs::remove_file(path.join("sub/filler")).unwrap();
    volume.recover(Interrupted::default()).unwrap().unwrap();
    assert_eq!(volume.dump(), before);
}

#[test]
fn a_database_on_another_disk_is_kept_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    let script = "mount -t tmpfs -o size=1m none \"$VOLUME/sub\" && exec \"$0\" \
        kept::on_two_disks --exact --ignored --nocapture";
    unshared(dir.path(), script);
}

#[test]
fn the_snapshot_takes_its_place_where_there_is_no_room_for_another() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=8m none \"$VOLUME\" && exec \"$0\" \
        kept::on_a_full_disk --exact --ignored --nocapture";
    unshared(dir.path(), script);
}

/// With mounts of its own.
fn unshared(volume: &Path, script: &str) {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("VOLUME", volume)
        .output()
        .expect("unshare, of util-linux, is needed");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}
