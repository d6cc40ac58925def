//! `replicate`, `backup`, `restore`, `snapshots`, `verify`: as a newcomer runs
//! them, to a folder and to an S3 server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use monolite_testkit::s3::{Fault, Operation, Rule, S3Options, S3Server};
use monolite_testkit::{Outcome, Process, Signal, disk_dir, wait_until};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

/// A volume with an app's database, and a folder for its replica.
struct Volume {
    dir: TempDir,
}

impl Volume {
    fn new() -> Self {
        let dir = disk_dir();
        std::fs::create_dir(dir.path().join("data")).expect("a directory");
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn database(&self) -> PathBuf {
        self.path("data/app.sqlite3")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_monolite"));
        command.args(arguments);
        self.surround(&mut command);
        command
    }

    /// What the tests' own environment says of replicas must not matter.
    fn surround(&self, command: &mut Command) {
        command
            .env_clear()
            .env("MONOLITE_DATA", self.path("data"))
            .env("MONOLITE_REPLICA", self.path("replica"))
            .current_dir(self.dir.path());
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        Outcome::of(&mut self.command(arguments))
    }

    /// It must succeed.
    fn good(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        assert_eq!(said.errors, "", "{arguments:?}");
        said.out
    }
}

fn create(path: &Path) -> Connection {
    let db = Connection::open(path).expect("opened");
    db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS note (n INTEGER)")
        .expect("a table");
    db
}

fn add(db: &Connection, n: i64) {
    db.execute("INSERT INTO note VALUES (?1)", [n])
        .expect("inserted");
}

/// How many rows there are: those from 1 on, without a gap.
fn rows(path: &Path) -> i64 {
    let db = Connection::open(path).expect("opened");
    let check: String = db
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .expect("checked");
    assert_eq!(check, "ok");
    let (count, last): (i64, i64) = db
        .query_row("SELECT count(*), ifnull(max(n), 0) FROM note", (), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .expect("counted");
    assert_eq!(count, last, "a gap");
    count
}

#[test]
fn a_lost_volume_comes_back_as_it_was() {
    let volume = Volume::new();
    let db = create(&volume.database());
    add(&db, 1);
    let follow = ["replicate", "--sync-interval", "50ms"];
    let process = Process::start(env!("CARGO_BIN_EXE_monolite"), follow, |command| {
        volume.surround(command);
    });
    process.line("replicating database=\"app.sqlite3\"");
    (2..=200).for_each(|n| add(&db, n));
    // One that comes later is found by itself; a cache is not.
    let later = create(&volume.path("data/later.db"));
    add(&later, 1);
    add(&create(&volume.path("data/cache.sqlite3")), 1);
    let newest = || {
        let json = volume.good(&["snapshots", "app.sqlite3", "--json"]);
        let kept: Value = serde_json::from_str(&json).expect("JSON");
        kept[0]["newest"]["txid"].clone()
    };
    process.line("replicating database=\"later.db\"");
    let out = volume.path("look.sqlite3");
    let look = [
        "restore",
        "app.sqlite3",
        "-o",
        "look.sqlite3",
        "--overwrite",
    ];
    wait_until("all of it is stored", || {
        volume.good(&look);
        rows(&out) == 200
    });
    let before = newest();
    process.signal(Signal::KILL);
    let (_, output) = process.end();
    assert!(!output.contains("cache.sqlite3"), "{output}");

    // Replication goes on where it was.
    add(&db, 201);
    let said = volume.good(&["replicate", "--once"]);
    assert!(said.contains("stored app.sqlite3"), "{said}");
    assert_ne!(newest(), before);

    // The volume is gone but for what would be put over the new database.
    drop((db, later));
    std::fs::remove_dir_all(volume.path("data")).expect("removed");
    std::fs::create_dir(volume.path("data")).expect("a directory");
    let stale = ["-wal", "-shm", "-journal"]
        .map(|suffix| volume.path(&format!("data/app.sqlite3{suffix}")));
    for path in &stale {
        std::fs::write(path, "stale").expect("written");
    }
    let said = volume.good(&["restore"]);
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("its checksum is right"), "{said}");
    for path in &stale {
        assert!(!path.exists(), "{}", path.display());
    }
    assert_eq!(rows(&volume.database()), 201);
    assert_eq!(rows(&volume.path("data/later.db")), 1);
    assert!(!volume.path("data/cache.sqlite3").exists());

    // The new volume goes on there, too.
    add(&create(&volume.database()), 202);
    let said = volume.good(&["replicate", "--once"]);
    assert!(said.contains("stored app.sqlite3"), "{said}");
    volume.good(&look);
    assert_eq!(rows(&out), 202);
}

#[test]
fn a_commit_is_stored_though_none_follows_it() {
    let volume = Volume::new();
    let db = create(&volume.database());
    // Between its last write to the log and the commit it waits for the disk.
    db.execute_batch("PRAGMA synchronous = FULL").expect("set");
    let follow = ["replicate", "--sync-interval", "50ms"];
    let process = Process::start(env!("CARGO_BIN_EXE_monolite"), follow, |command| {
        volume.surround(command);
    });
    process.line("replicating database=\"app.sqlite3\"");
    let stored = volume.path("replica/app.sqlite3/ltx/0");
    let count = || std::fs::read_dir(&stored).map_or(0, Iterator::count);
    for n in 1..=8 {
        let before = count();
        add(&db, n);
        wait_until(&format!("commit {n} is stored"), || count() > before);
    }
}

#[test]
fn a_stop_stores_what_is_committed() {
    let volume = Volume::new();
    let db = create(&volume.database());
    add(&db, 1);
    let follow = ["replicate", "--sync-interval", "1h", "--log", "json"];
    let process = Process::start(env!("CARGO_BIN_EXE_monolite"), follow, |command| {
        volume.surround(command);
    });
    let line = process.line("\"message\":\"replicating\"");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["database"], "app.sqlite3");
    // Nobody else changes what is here meanwhile.
    let in_use = ["in use by `monolite replicate`", "kill"];
    volume.run(&["replicate", "--once"]).is_refused(1, &in_use);
    add(&db, 2);
    process.signal(Signal::TERM);
    let (status, output) = process.end();
    assert!(status.success(), "{output}");
    assert!(output.contains("everything is stored"), "{output}");
    volume.good(&["restore", "-o", "out.sqlite3"]);
    assert_eq!(rows(&volume.path("out.sqlite3")), 2);
}

#[test]
fn nothing_is_replaced_unasked_and_every_state_can_be_had() {
    let volume = Volume::new();
    let db = create(&volume.database());
    add(&db, 1);
    volume.good(&["replicate", "--once"]);
    add(&db, 2);
    let stored = volume.good(&["replicate", "--once", "--json"]);
    let stored: Value = serde_json::from_str(&stored).expect("JSON");
    // The first snapshot is followed by a file that changes nothing.
    assert_eq!(stored[0]["txid"], "0000000000000003");

    let there = ["exists already", "--overwrite"];
    volume
        .run(&["restore", "app.sqlite3"])
        .is_refused(1, &there);
    volume
        .run(&["restore", "--overwrite"])
        .is_refused(2, &["--all"]);
    let left = volume.good(&["restore", "app.sqlite3", "--if-missing"]);
    assert!(left.contains("left as it is"), "{left}");
    // The app has it open.
    let replace = ["restore", "app.sqlite3", "--overwrite", "--txid", "1"];
    volume
        .run(&replace)
        .is_refused(1, &["in use by another process"]);
    assert_eq!(rows(&volume.database()), 2);
    drop(db);
    // A commit that no replica has.
    add(&create(&volume.database()), 3);
    let said = volume.good(&replace);
    assert_eq!(rows(&volume.database()), 1);
    // What was there is kept whole, and is no database of the volume.
    let kept = before(&volume);
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(said.contains(kept[0].to_str().expect("UTF-8")), "{said}");
    assert_eq!(rows(&kept[0]), 3);

    // By time, and by the replica's own URL.
    let kept = volume.good(&["snapshots", "app.sqlite3", "--json"]);
    let kept: Value = serde_json::from_str(&kept).expect("JSON");
    let oldest = kept[0]["oldest"]["timestamp"].as_str().expect("a time");
    let out = volume.path("out.sqlite3");
    let url = format!("file://{}/app.sqlite3", volume.path("replica").display());
    volume.good(&["restore", &url, "-o", "out.sqlite3"]);
    assert_eq!(rows(&out), 2);
    let old = ["restore", &url, "-o", "out.sqlite3", "--overwrite"];
    volume.good(&[&old[..], &["--timestamp", oldest]].concat());
    assert_eq!(rows(&out), 1);
    volume
        .run(&[&old[..], &["--timestamp", "1h ago"]].concat())
        .is_refused(1, &["older than the oldest"]);
    volume
        .run(&["restore", "no.db"])
        .is_refused(1, &["no database no.db"]);
    // What was replaced is not replicated.
    let stored = volume.good(&["replicate", "--once"]);
    assert_eq!(stored.lines().count(), 1, "{stored}");
}

/// The databases that restores replaced.
fn before(volume: &Volume) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(volume.path("data")).expect("listed");
    let paths = entries.map(|entry| entry.expect("listed").path());
    let is_before = |path: &PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy();
        name.contains(".before-") && !name.ends_with("-wal") && !name.ends_with("-shm")
    };
    paths.filter(is_before).collect()
}

/// Runs a command as it is printed between backquotes, in a shell, where nothing else
/// says where the volume and the replica are.
fn printed(said: &str) -> Outcome {
    let command = said
        .split('`')
        .find(|part| part.starts_with("monolite "))
        .expect("a command");
    let program = Path::new(env!("CARGO_BIN_EXE_monolite"));
    let path = program.parent().expect("a directory");
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", command])
        .env_clear()
        .env("PATH", path)
        .current_dir("/");
    Outcome::of(&mut shell)
}

/// What is missing or damaged in a replica: told with the state that can be had, and
/// replaced by the next run.
#[test]
fn a_broken_replica_says_what_can_be_had_and_is_whole_again_after_the_next_run() {
    for is_damaged in [false, true] {
        let volume = Volume::new();
        let db = create(&volume.database());
        for n in 1..=4 {
            add(&db, n);
            volume.good(&["replicate", "--once"]);
        }
        drop(db);
        let file = volume.path("replica/app.sqlite3/ltx/0/0000000000000004-0000000000000004.ltx");
        match is_damaged {
            true => std::fs::write(&file, "damaged").expect("written"),
            false => std::fs::remove_file(&file).expect("removed"),
        }
        let verified = volume.run(&["verify"]);
        assert_eq!(verified.code, 1, "{verified:?}");
        let restored = volume.run(&["restore", "app.sqlite3", "--overwrite"]);
        assert_eq!(restored.code, 1, "{restored:?}");
        for said in [&verified.out, &restored.errors] {
            let then = printed(said);
            assert_eq!(then.code, 0, "{said}: {then:?}");
            assert_eq!(rows(&volume.database()), 2);
            let kept = before(&volume).pop().expect("kept");
            assert_eq!(rows(&kept), 4);
            std::fs::rename(kept, volume.database()).expect("back");
        }
        if !is_damaged {
            let said = volume.run(&["snapshots"]);
            assert_eq!(said.code, 1, "{said:?}");
            assert!(said.errors.contains("the newer one cannot"), "{said:?}");
        }
        // As if nobody had restored anything.
        let said = volume.run(&["replicate", "--once"]);
        assert_eq!(said.code, 0, "{said:?}");
        if !is_damaged {
            assert!(said.errors.contains("A new snapshot is stored"), "{said:?}");
            volume.good(&["verify"]);
            volume.good(&["snapshots"]);
        }
    }
}

#[test]
fn a_replica_that_is_older_than_what_was_stored_is_not_well() {
    let volume = Volume::new();
    let db = create(&volume.database());
    for n in 1..=3 {
        add(&db, n);
        volume.good(&["replicate", "--once"]);
    }
    let file = volume.path("replica/app.sqlite3/ltx/0/0000000000000004-0000000000000004.ltx");
    std::fs::remove_file(file).expect("removed");
    let said = volume.run(&["verify"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.out.contains("this volume has stored 0000000000000004"),
        "{said:?}"
    );
    let said = volume.run(&["replicate", "--once"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.errors.contains("A new snapshot is stored"), "{said:?}");
    volume.good(&["verify"]);
    drop(db);
    std::fs::remove_dir_all(volume.path("data")).expect("removed");
    std::fs::create_dir(volume.path("data")).expect("a directory");
    volume.good(&["restore"]);
    assert_eq!(rows(&volume.database()), 3);
}

/// Ends the writer.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_copy_is_whole_while_the_app_writes() {
    let volume = Volume::new();
    let db = create(&volume.database());
    add(&db, 1);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn({
            let stop = &stop;
            move || {
                (2..)
                    .take_while(|_| !stop.load(Ordering::Relaxed))
                    .for_each(|n| add(&db, n));
            }
        });
        // Also if one of these fails.
        let _stop = Stop(&stop);
        let copied = |name: &str| {
            let said = volume.good(&["backup", "app.sqlite3", "-o", name]);
            assert!(
                said.starts_with(&format!("app.sqlite3: {name}, ")),
                "{said}"
            );
        };
        copied("one.sqlite3");
        let first = rows(&volume.path("one.sqlite3"));
        assert!(first >= 1);
        volume
            .run(&["backup", "app.sqlite3", "-o", "one.sqlite3"])
            .is_refused(1, &["exists already"]);
        copied("two.sqlite3.zst");
        let packed = std::fs::read(volume.path("two.sqlite3.zst")).expect("read");
        assert_eq!(packed[..4], [0x28, 0xb5, 0x2f, 0xfd]);
        let pipe = volume.command(&["backup", "-o", "-"]).output();
        let pipe = pipe.expect("the binary runs");
        assert!(pipe.status.success() && pipe.stderr.is_empty(), "{pipe:?}");
        std::fs::write(volume.path("three.sqlite3"), pipe.stdout).expect("written");
        assert!(rows(&volume.path("three.sqlite3")) >= first);
        // Object storage: a replica that anybody restores from its URL.
        let url = format!("file://{}", volume.path("elsewhere").display());
        let said = volume.good(&["backup", "-o", &url]);
        assert!(said.contains(&format!("monolite restore {url}")), "{said}");
        let one = format!("{url}/app.sqlite3");
        volume.good(&["restore", &one, "-o", "four.sqlite3"]);
        assert!(rows(&volume.path("four.sqlite3")) >= first);
    });
}

#[test]
fn a_snapshot_on_the_volume_is_at_hand() {
    let volume = Volume::new();
    let db = create(&volume.database());
    add(&db, 1);
    let taken = volume.run(&["backup", "--local"]);
    if taken.code != 0 {
        // The disk of this machine is too full for what only takes space.
        return taken.is_refused(1, &["must stay free"]);
    }
    add(&db, 2);
    let said = volume.good(&["snapshots", "--json"]);
    let kept: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(kept[0]["local"], true);
    assert_eq!(kept[0]["snapshots"][0]["bytes"], 8192);
    let restore = ["restore", "app.sqlite3", "--local", "--overwrite"];
    volume
        .run(&restore)
        .is_refused(1, &["in use by another process"]);
    assert_eq!(rows(&volume.database()), 2);
    drop(db);
    volume.good(&restore);
    assert_eq!(rows(&volume.database()), 1);
    let too_old = [&restore[..], &["--timestamp", "1h ago"]].concat();
    volume.run(&too_old).is_refused(1, &["the oldest is of 20"]);
}

#[test]
fn a_flipped_byte_is_found_before_it_is_needed() {
    let volume = Volume::new();
    add(&create(&volume.database()), 1);
    volume.good(&["replicate", "--once"]);
    let said = volume.good(&["verify"]);
    assert!(said.starts_with("ok    app.sqlite3"), "{said}");
    assert!(said.contains("integrity_check"), "{said}");
    let snapshots = volume.path("replica/app.sqlite3/ltx/9");
    let mut files = std::fs::read_dir(snapshots).expect("listed");
    let file = files.next().expect("one").expect("listed").path();
    let mut bytes = std::fs::read(&file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("written");
    let said = volume.run(&["verify"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.starts_with("FAIL  app.sqlite3"), "{said:?}");
    assert!(said.out.contains("cannot be restored"), "{said:?}");
    let said = volume.run(&["verify", "--quick", "--json"]);
    assert_eq!(said.code, 1, "{said:?}");
    let json: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(json[0]["restorable"], false);
    assert!(json[0]["error"].as_str().expect("why").contains(".ltx"));
}

#[test]
fn what_is_wrong_with_a_bucket_is_one_line_without_a_secret() {
    let server = S3Server::start_with(S3Options {
        access_key: "AKIDNOTTOBESEEN".into(),
        secret_key: "hunter2hunter2".into(),
        ..S3Options::default()
    });
    let volume = Volume::new();
    add(&create(&volume.database()), 1);
    let key = "0123456789abcdef".repeat(4);
    let run = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = volume.command(arguments);
        command.envs(server.variables());
        command.env("MONOLITE_REPLICA", "s3://test/shop");
        command.envs(variables.iter().copied());
        let said = Outcome::of(&mut command);
        let all = format!("{}{}", said.out, said.errors);
        for secret in ["NOTTOBESEEN", "hunter2", "mallory", &key] {
            assert!(!all.contains(secret), "{arguments:?} {variables:?}: {all}");
        }
        said
    };
    let once = &["replicate", "--once"][..];
    for (variables, code, words) in [
        (&[("MONOLITE_REPLICA", "s4://test/shop")], 2, &["s3://"][..]),
        (
            &[("MONOLITE_REPLICA", "s3://AKIDNOTTOBESEEN:hunter2@")],
            2,
            &["***@"],
        ),
        (
            &[("MONOLITE_REPLICA", "s3://absent/shop")],
            1,
            &["does not exist"],
        ),
        (
            &[("AWS_SECRET_ACCESS_KEY", "mallory0mallory0")],
            1,
            &["its secret"],
        ),
        (&[("AWS_ACCESS_KEY_ID", "mallory")], 1, &["access key"]),
        (
            &[("MONOLITE_REPLICA_KEY", "hunter2")],
            2,
            &["MONOLITE_REPLICA_KEY", "64"],
        ),
        (
            &[("MONOLITE_SYNC_INTERVAL", "1ms")],
            2,
            &["MONOLITE_SYNC_INTERVAL", "50ms"],
        ),
    ] {
        run(once, variables).is_refused(code, words);
    }

    let sealed = [("MONOLITE_REPLICA_KEY", key.as_str())];
    let said = run(once, &sealed);
    assert_eq!(said.code, 0, "{said:?}");
    let keys = server.keys("shop/app.sqlite3/");
    assert!(
        keys.iter().all(|key| key.ends_with(".ltx.sealed")),
        "{keys:?}"
    );
    let restore = &["restore", "-o", "out.sqlite3"][..];
    run(restore, &[]).is_refused(1, &["is encrypted"]);
    assert_eq!(run(restore, &sealed).code, 0);
    assert_eq!(rows(&volume.path("out.sqlite3")), 1);

    // The bucket as Tigris on Fly tells of it, and nothing else.
    let platform = [("MONOLITE_REPLICA", ""), ("BUCKET_NAME", "test")];
    let said = run(once, &platform);
    assert!(said.out.contains("s3://test/monolite"), "{said:?}");
    let said = run(&["verify"], &platform);
    assert!(said.out.starts_with("ok    app.sqlite3"), "{said:?}");
}

#[test]
fn what_waiting_does_not_change_is_not_waited_for() {
    let server = S3Server::start();
    let volume = Volume::new();
    add(&create(&volume.database()), 1);
    // These credentials may list, and may not write.
    let denied = Rule::new(Fault::Status(403)).operation(Operation::PutObject);
    server.faults().add(denied);
    let began = Instant::now();
    let mut command = volume.command(&["replicate", "--once"]);
    command.envs(server.variables());
    command.env("MONOLITE_REPLICA", "s3://test/shop");
    Outcome::of(&mut command).is_refused(1, &["app.sqlite3", "allow these credentials"]);
    // A loaded machine's, and far from the minute that a network is given.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

/// What `backup` made comes back, by whatever way it was compressed.
#[test]
fn a_backup_is_restored_from_its_file() {
    let volume = Volume::new();
    let db = create(&volume.database());
    (1..=100).for_each(|n| add(&db, n));
    drop(db);
    for end in ["", ".gz", ".zst"] {
        let name = format!("monday.sqlite3{end}");
        volume.good(&["backup", "app.sqlite3", "-o", &name]);
        let said = volume.good(&["restore", &name, "-o", "out.sqlite3", "--overwrite"]);
        assert!(said.contains("restored"), "{said}");
        assert_eq!(rows(&volume.path("out.sqlite3")), 100);
        // Without -o, to the database of its name on the volume.
        volume.good(&["restore", &name, "--overwrite"]);
        assert_eq!(rows(&volume.path("data/monday.sqlite3")), 100);
        if !end.is_empty() {
            let whole = std::fs::read(volume.path(&name)).expect("read");
            std::fs::write(volume.path(&name), &whole[..whole.len() / 2]).expect("written");
            let said = volume.run(&["restore", &name, "-o", "out.sqlite3", "--overwrite"]);
            said.is_refused(1, &["monday.sqlite3"]);
            assert_eq!(rows(&volume.path("out.sqlite3")), 100, "left as it was");
        }
    }
    std::fs::write(volume.path("notes.txt"), "no database").expect("written");
    let said = volume.run(&["restore", "./notes.txt", "-o", "out.sqlite3", "--overwrite"]);
    said.is_refused(1, &["neither a database nor"]);
}

#[test]
fn a_folder_is_named_as_it_is_and_errors_are_json_where_that_is_asked_for() {
    let volume = Volume::new();
    add(&create(&volume.database()), 1);
    volume.good(&["replicate", "--once"]);
    let folder = volume.path("replica");
    for folder in [
        folder.to_str().expect("UTF-8"),
        "./replica",
        "./replica/app.sqlite3",
    ] {
        let said = volume.good(&["verify", folder]);
        assert!(said.starts_with("ok    app.sqlite3"), "{said}");
    }
    for verb in ["restore", "snapshots", "verify"] {
        let said = volume.run(&[verb, "no.db", "--json"]);
        assert_eq!(said.code, 1, "{verb}: {said:?}");
        let json: Value = serde_json::from_str(&said.out).expect(verb);
        assert!(
            json["error"].as_str().expect("why").contains("no.db"),
            "{json}"
        );
    }
    // Not the head of a table that has no rows.
    let said = volume.run(&["snapshots", "no.db"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
}

#[test]
fn what_is_no_replica_is_refused_with_words() {
    let volume = Volume::new();
    add(&create(&volume.database()), 1);
    let old = volume.path("replica/app.sqlite3/generations/0123456789abcdef/snapshots");
    std::fs::create_dir_all(&old).expect("a directory");
    std::fs::write(old.join("00000000.snapshot.lz4"), "").expect("written");
    for arguments in [
        &["replicate"][..],
        &["replicate", "--once"],
        &["restore", "--if-missing"],
        &["snapshots"],
        &["verify"],
    ] {
        volume.run(arguments).is_refused(1, &["Litestream 0.3"]);
    }
    std::fs::remove_dir_all(volume.path("replica")).expect("removed");
    std::fs::create_dir_all(volume.path("replica/uploads")).expect("a directory");
    std::fs::write(volume.path("replica/uploads/cat.png"), "").expect("written");
    for arguments in [
        &["replicate"][..],
        &["replicate", "--once"],
        &["restore", "--if-missing"],
    ] {
        volume
            .run(arguments)
            .is_refused(1, &["uploads/cat.png", "correct the prefix"]);
    }
    assert!(!volume.path("replica/app.sqlite3").exists());
}

/// A wrapper and its terminal both send it.
#[test]
fn the_echo_of_a_signal_does_not_drop_the_last_sync() {
    for pause in [5, 20, 100] {
        let server = S3Server::start();
        let volume = Volume::new();
        let db = create(&volume.database());
        let url = format!("s3://{}/shop", server.bucket());
        let follow = ["replicate", "--replica", &url];
        let process = Process::start(env!("CARGO_BIN_EXE_monolite"), follow, |command| {
            volume.surround(command);
            server.lead(command);
        });
        process.line("replicating database=\"app.sqlite3\"");
        let slow = Rule::new(Fault::Delay(Duration::from_secs(1))).operation(Operation::PutObject);
        server.faults().add(slow);
        (1..=20).for_each(|n| add(&db, n));
        process.signal(Signal::TERM);
        thread::sleep(Duration::from_millis(pause));
        process.signal(Signal::TERM);
        let (status, said) = process.end();
        assert!(
            status.success() && said.contains("everything is stored"),
            "{said}"
        );
        let mut command = volume.command(&[
            "restore",
            "app.sqlite3",
            "-o",
            "out.sqlite3",
            "--replica",
            &url,
        ]);
        server.lead(&mut command);
        assert_eq!(Outcome::of(&mut command).code, 0);
        assert_eq!(rows(&volume.path("out.sqlite3")), 20);
    }
}

/// `nohup monolite replicate &`, and the end of the session.
#[test]
fn a_hang_up_that_is_ignored_stays_so() {
    let volume = Volume::new();
    let db = create(&volume.database());
    let arguments = [
        "-c",
        "trap '' HUP; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_monolite"),
        "replicate",
    ];
    let process = Process::start("/bin/sh", arguments, |command| volume.surround(command));
    process.line("replicating database=\"app.sqlite3\"");
    process.signal(Signal::HUP);
    add(&db, 1);
    // It goes on: what comes later is found and stored.
    add(&create(&volume.path("data/later.db")), 1);
    process.line("replicating database=\"later.db\"");
    process.signal(Signal::TERM);
    let (status, said) = process.end();
    assert!(
        status.success() && said.contains("signal=\"SIGTERM\""),
        "{said}"
    );
}
