//! Full disks, and volumes on more than one.

use std::path::{Path, PathBuf};
use std::process::Command;

use monolite_guard::{Error, Interrupted};

use super::common::{begin, rolled_back};
use super::volume::Volume;

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
    let active = begin(&volume);
    volume.run(
        "app.sqlite3",
        "PRAGMA journal_mode = MEMORY; UPDATE t SET x = randomblob(3000000)",
    );
    let now = std::fs::read(path.join("app.sqlite3")).unwrap();
    // 8 MB are too few for a third, even in SQLite's journal.
    volume.refuse(1, None);
    let error = active.finish(false).unwrap_err();
    assert!(matches!(error, Error::Rollback { .. }), "{error}");
    assert_eq!(std::fs::read(path.join("app.sqlite3")).unwrap(), now);
    // The error says what to run.
    let said = error.to_string();
    let commands = said.split('`').nth(1).unwrap();
    let run = |commands: &str| {
        let status = Command::new("sh").args(["-c", commands]).status();
        status.unwrap().success()
    };
    // While it is full they change nothing.
    assert!(!run(commands), "{said}");
    assert!(!path.join("app.sqlite3.restored").exists());
    assert_eq!(std::fs::read(path.join("app.sqlite3")).unwrap(), now);
    assert!(run("mount -o remount,size=16m \"$VOLUME\""));
    std::fs::write(path.join("app.sqlite3-wal"), "a log that is not its own").unwrap();
    assert!(run(commands), "{said}");
    assert_eq!(
        std::fs::read(path.join("app.sqlite3.replaced")).unwrap(),
        now
    );
    assert!(path.join("app.sqlite3.replaced-wal").exists());
    assert!(
        said.contains("`monolite migrate --interrupted keep`"),
        "{said}"
    );
    // Without the snapshot there is nothing to run.
    let Error::Rollback {
        file,
        database,
        why,
        ..
    } = error
    else {
        unreachable!()
    };
    let error = Error::Rollback {
        snapshot: path.join("gone"),
        file,
        database,
        why,
    };
    let said = error.to_string();
    assert!(!said.contains("mv ") && !said.contains("cp "), "{said}");
    volume.recover(Interrupted::Keep).unwrap().unwrap();
    assert_eq!(volume.dump(), before);
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
    let active = begin(&volume);
    let damaged = "no database any more".repeat(1000);
    std::fs::write(path.join("sub/other.db"), &damaged).unwrap();
    volume.run("sub/made.db", "CREATE TABLE t (x)");
    let kept = rolled_back(active.finish(true).unwrap());
    assert_eq!(volume.dump(), before);
    let stamp = kept.kept.file_name().unwrap().to_str().unwrap();
    let aside = path.join(format!("sub/other.db.found-{stamp}"));
    assert_eq!(kept.found, std::slice::from_ref(&aside));
    assert!(kept.until_removed, "there nobody sweeps");
    assert_eq!(std::fs::read(&aside).unwrap(), damaged.as_bytes());
    let new = path.join(format!("sub/made.db.new-{stamp}"));
    assert_eq!(kept.set_aside, [new]);
    std::fs::remove_file(aside).unwrap();
    // With no room for a copy, SQLite writes it where it is.
    let active = begin(&volume);
    volume.run("sub/other.db", "DELETE FROM t");
    volume.refuse(1, None);
    let kept = rolled_back(active.finish(true).unwrap());
    assert_eq!(volume.dump(), before);
    assert!(kept.found.is_empty(), "{kept:?}");
    // With no room for the snapshot either, it is left as it is.
    let active = begin(&volume);
    std::fs::write(path.join("sub/other.db"), &damaged).unwrap();
    let mut filler = std::fs::File::create(path.join("sub/filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
    let error = active.finish(true).unwrap_err();
    assert!(matches!(error, Error::Rollback { .. }), "{error}");
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
        disks::on_two_disks --exact --ignored --nocapture";
    unshared(dir.path(), script);
}

#[test]
fn a_full_disk_is_left_as_it_is_with_the_commands_to_run() {
    let dir = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=8m none \"$VOLUME\" && exec \"$0\" \
        disks::on_a_full_disk --exact --ignored --nocapture";
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
