//! A migration that was interrupted: what anybody may have written since is not rolled back unasked.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use monolite_guard::{
    Error, ExclusiveLock, Guard, IfOpen, Interrupted, NoSnapshot, Options, Survivors, migration,
};

use super::common::{DAY_MS, LOSES, count, died, now_ms, rolled_back, volume};
use super::volume::Volume;

#[test]
fn one_that_ran_beside_others_is_never_put_back_unasked() {
    let (_dir, volume) = volume();
    let options = Options::new().if_open(IfOpen::JudgeOnly);
    died(&volume, options.clone(), LOSES);
    volume.run(
        "app.sqlite3",
        "INSERT INTO users (name) VALUES ('meanwhile')",
    );
    let now = volume.dump();
    let left = volume.recover(Interrupted::default()).unwrap().unwrap();
    assert!(left.is_left && left.databases.is_empty());
    assert_eq!(volume.dump(), now);
    assert_eq!(volume.recover(Interrupted::default()).unwrap(), None);
    let snapshot = left.kept.join("before/app.sqlite3/snapshot.sqlite3");
    assert_eq!(count(&snapshot, "comments"), 80);
    // The only copy of what it deleted stays, whatever happens after it.
    let mut later = volume.clone();
    later.now_ms = now_ms() + 100 * DAY_MS;
    rolled_back(
        later
            .migrate(Options::new(), "DELETE FROM posts", false)
            .unwrap(),
    );
    later.refuse(1, Some(1));
    let _ = later.migrate(Options::new(), "", true);
    assert_eq!(count(&snapshot, "comments"), 80);
    // Asked for, it is put back, and what is there is kept.
    died(&volume, options, "DELETE FROM posts");
    let kept = volume.recover(Interrupted::RollBack).unwrap().unwrap();
    assert_eq!(volume.dump(), now);
    assert_eq!(count(&kept.found[0], "posts"), 0);
}

#[test]
fn what_is_found_is_kept_or_nothing_is_put_back() {
    let (_dir, volume) = volume();
    let before = volume.dump();
    died(&volume, Options::new(), LOSES);
    let now = volume.dump();
    volume.refuse(1, None);
    let error = volume.recover(Interrupted::default()).unwrap_err();
    assert!(matches!(error, Error::NoCopy { .. }), "{error}");
    assert!(
        error.to_string().contains("--interrupted put-back"),
        "{error}"
    );
    assert_eq!(volume.dump(), now);
    assert!(volume.journal().exists());
    // Nobody else begins or writes meanwhile.
    let active = Guard::enter(volume.host(), "x")
        .unwrap()
        .begin(Options::new());
    assert!(
        matches!(active, Err(Error::Interrupted { .. })),
        "{active:?}"
    );
    let cancel = volume.cancel.clone();
    let turn = ExclusiveLock::acquire(&volume.path, "up", &cancel, |_| {}).unwrap_err();
    assert!(turn.to_string().contains("`the migration`"), "{turn}");
    // Asked for, it does without.
    volume.refuse(1, None);
    let done = volume.recover(Interrupted::RollBack).unwrap().unwrap();
    assert!(done.found.is_empty());
    assert_eq!(volume.dump(), before);
    drop(ExclusiveLock::acquire(&volume.path, "up", &cancel, |_| {}).unwrap());
}

#[test]
fn what_was_put_in_place_since_counts_as_used() {
    let (dir, volume) = volume();
    died(&volume, Options::new(), LOSES);
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let names = ["app.sqlite3", "sub/other.db", "empty.db"].map(|name| volume.path.join(name));
    for path in names.into_iter().chain([volume.journal()]) {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(old).unwrap();
    }
    // Both were changed a moment ago, as by a `chown -R` of the volume.
    let recovers = |volume: &Volume| volume.recover(Interrupted::default());
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
    let survived = |name: &str| Survivors {
        ended: vec!["`sh` (pid 7)".into()],
        written: vec![volume.path.join(name)],
    };
    for written in [Vec::new(), survived("sub/other.db").written] {
        *volume.survivors.lock().unwrap() = Survivors {
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
    let said = volume.warnings();
    assert!(
        said.iter().any(|said| said.contains("`sh` (pid 7)")),
        "{said:?}"
    );
}

#[test]
fn a_snapshot_that_fails_otherwise_stops_the_recovery_too() {
    let (_dir, volume) = volume();
    died(&volume, Options::new(), LOSES);
    let why = NoSnapshot::Other("it hangs".into());
    volume.refusals.lock().unwrap().push(why);
    let error = volume.recover(Interrupted::default()).unwrap_err();
    assert!(error.to_string().contains("it hangs"), "{error}");
}

#[test]
fn a_stop_while_it_is_put_back_is_no_reason_to_do_without_a_copy() {
    for how in [Interrupted::RollBack, Interrupted::default()] {
        let (_dir, volume) = volume();
        died(&volume, Options::new(), LOSES);
        let now = volume.dump();
        // As a copy answers that was cancelled.
        let why = NoSnapshot::Other("it was cancelled".into());
        volume.refusals.lock().unwrap().push(why);
        volume.cancel.cancel();
        let guard = Guard::enter(Volume::new(&volume.path).host(), "x").unwrap();
        let error = guard
            .hand_over(volume.host(), "x")
            .recover(how)
            .unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
        assert_eq!(volume.dump(), now);
        assert!(volume.journal().exists());
    }
}

#[test]
fn only_a_full_disk_does_without_a_copy() {
    let (_dir, volume) = volume();
    died(&volume, Options::new(), LOSES);
    let now = volume.dump();
    let why = NoSnapshot::Other("the disk fails".into());
    volume.refusals.lock().unwrap().push(why);
    let error = volume.recover(Interrupted::RollBack).unwrap_err();
    assert!(matches!(error, Error::NoCopy { .. }), "{error}");
    assert_eq!(volume.dump(), now);
    // What is damaged cannot be copied, and is moved away.
    let path = volume.path.join("app.sqlite3");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(4096 * 3).unwrap();
    let why = NoSnapshot::Other("it is malformed".into());
    volume.refusals.lock().unwrap().push(why);
    let kept = volume.recover(Interrupted::RollBack).unwrap().unwrap();
    assert_eq!(kept.found[0].metadata().unwrap().len(), 4096 * 3);
    assert_eq!(count(&path, "comments"), 80);
}

#[test]
fn the_only_copy_stays_if_a_put_back_that_died_is_not_gone_on_with() {
    let (_dir, mut volume) = volume();
    volume.now_ms = now_ms();
    died(&volume, Options::new(), LOSES);
    // As it dies between the move and the new file.
    let path = volume.path.join("app.sqlite3");
    let found = copies(&volume).join("found");
    std::fs::create_dir(&found).unwrap();
    std::fs::rename(&path, found.join("app.sqlite3")).unwrap();
    let kept = volume.recover(Interrupted::Keep).unwrap().unwrap();
    assert!(kept.is_left && kept.until_removed);
    volume.now_ms += 100 * DAY_MS;
    volume.run("sub/other.db", "DELETE FROM t");
    volume
        .migrate(Options::new(), "CREATE TABLE t (x)", true)
        .unwrap();
    assert_eq!(count(&found.join("app.sqlite3"), "comments"), 0);
}

#[test]
fn a_file_that_was_moved_away_before_a_death_says_the_owner_and_the_mode() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, volume) = volume();
    let before = volume.dump();
    let path = volume.path.join("app.sqlite3");
    died(&volume, Options::new(), LOSES);
    let found = copies(&volume).join("found");
    std::fs::create_dir(&found).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o664)).unwrap();
    std::fs::rename(&path, found.join("app.sqlite3")).unwrap();
    volume.recover(Interrupted::RollBack).unwrap().unwrap();
    assert_eq!(volume.dump(), before);
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o664);
}

#[test]
fn a_damaged_snapshot_moves_no_database_away() {
    let (_dir, volume) = volume();
    died(&volume, Options::new(), LOSES);
    let now = volume.dump();
    let snapshot = copies(&volume).join("before/app.sqlite3/snapshot.sqlite3");
    let whole = std::fs::read(&snapshot).unwrap();
    for damaged in [&b"no database"[..], &whole[..whole.len() / 2 / 4096 * 4096]] {
        std::fs::write(&snapshot, damaged).unwrap();
        let error = volume.recover(Interrupted::RollBack).unwrap_err();
        assert!(matches!(error, Error::Rollback { .. }), "{error}");
        assert!(
            error.to_string().contains("its snapshot cannot be used"),
            "{error}"
        );
        assert!(volume.path.join("app.sqlite3").exists());
        assert_eq!(volume.dump(), now);
    }
}

#[test]
fn the_log_of_an_empty_database_that_is_open_stays() {
    let (_dir, volume) = volume();
    died(&volume, Options::new(), LOSES);
    let path = volume.path.join("app.sqlite3");
    let log = volume.path.join("app.sqlite3-wal");
    std::fs::write(&path, "").unwrap();
    std::fs::write(&log, "what only the log has").unwrap();
    let mut other = Command::new("cat")
        .stdin(Stdio::piped())
        .stderr(std::fs::File::open(&path).unwrap())
        .spawn()
        .unwrap();
    let error = volume.recover(Interrupted::RollBack).unwrap_err();
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(matches!(error, Error::Rollback { .. }), "{error}");
    assert!(error.to_string().contains("is open in `cat`"), "{error}");
    assert!(log.exists());
}

#[test]
fn what_an_older_version_has_begun_to_put_back_is_left_to_it() {
    for left in [
        Some("COPIES/aside/app.sqlite3-wal"),
        Some("app.sqlite3.aside-STAMP-wal"),
        Some("sub/other.db.aside-STAMP"),
        Some("app.sqlite3.put-back"),
        None,
    ] {
        let (_dir, volume) = volume();
        let before = volume.dump();
        died(&volume, Options::new(), LOSES);
        let now = volume.dump();
        let copies = copies(&volume);
        let journal = std::fs::read_to_string(volume.journal()).unwrap();
        let older = journal.replace("\"version\": 3", "\"version\": 2");
        assert_ne!(journal, older);
        std::fs::write(volume.journal(), older).unwrap();
        let snapshot = copies.join("before/app.sqlite3/snapshot.sqlite3");
        let hidden = copies.join("hidden");
        let left = left.map(|left| {
            let stamp = copies.file_name().unwrap().to_str().unwrap();
            let left = left.replace("STAMP", stamp);
            match left.strip_prefix("COPIES/") {
                Some(left) => copies.join(left),
                None => volume.path.join(left),
            }
        });
        match &left {
            Some(left) => {
                std::fs::create_dir_all(left.parent().unwrap()).unwrap();
                std::fs::write(left, "x").unwrap();
            }
            None => std::fs::rename(&snapshot, &hidden).unwrap(),
        }
        for how in [
            Interrupted::default(),
            Interrupted::RollBack,
            Interrupted::Keep,
        ] {
            let error = volume.recover(how).unwrap_err();
            let said = error.to_string();
            assert!(matches!(error, Error::Journal { .. }), "{said}");
            assert!(said.contains("the monolite that began it"), "{said}");
            assert_eq!(volume.dump(), now);
        }
        // Where that one had put nothing back, this one does.
        match &left {
            Some(left) => {
                std::fs::remove_file(left).unwrap();
                let _ = std::fs::remove_dir(copies.join("aside"));
            }
            None => std::fs::rename(&hidden, &snapshot).unwrap(),
        }
        volume.recover(Interrupted::default()).unwrap().unwrap();
        assert_eq!(volume.dump(), before);
    }
}

#[test]
fn a_stop_does_not_lose_what_was_put_back() {
    let (_dir, mut volume) = volume();
    let before = volume.dump();
    died(&volume, Options::new(), LOSES);
    let is_at_work = Arc::new(AtomicBool::new(false));
    let (begun, cancel) = (Arc::clone(&is_at_work), volume.cancel.clone());
    // The copy is taken; the stop comes, and finds the rest still to be done.
    volume.after_snapshot = Some(Arc::new(move |_| {
        begun.store(true, Ordering::SeqCst);
        while !cancel.is_cancelled() {
            std::thread::yield_now();
        }
    }));
    let stop = std::future::poll_fn(|context| match is_at_work.load(Ordering::SeqCst) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    });
    let guard = Guard::enter(volume.host(), "x").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let recovered = migration::recover(guard, Interrupted::default(), stop);
    let (guard, rollback) = runtime.block_on(recovered).unwrap();
    assert!(guard.is_none());
    assert_eq!(rollback.unwrap().databases, ["app.sqlite3"]);
    assert_eq!(volume.dump(), before);
}

/// The directory of the migration that died.
fn copies(volume: &Volume) -> std::path::PathBuf {
    let kept = volume.kept();
    let stamp = kept.iter().find(|name| !name.contains("intent"));
    volume.path.join(".monolite/migrating").join(stamp.unwrap())
}
