//! What is not what was replicated is never restored, and it is told why.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use monolite_ltx::Txid;
use monolite_replica::{
    Progress, Replica, RestoreError, RestoreOptions, Target, VerifyOptions, restore, verify,
};

use monolite_testkit::s3::{Fault, Operation, Rule, S3Server};

use crate::world::{Source, bucket, encode, folder, names};

/// A replica with a snapshot and the changes of transactions 2 to 9.
async fn nine(dir: &Path) -> (Source, Replica) {
    let mut source = Source::new(dir, 1024);
    let replica = folder(dir);
    source.send_whole(&replica).await;
    for n in 0..8 {
        source.time_ms += 1_000;
        source.sql(&format!(
            "INSERT INTO item (body) VALUES (zeroblob({}))",
            3_000 + n
        ));
        source.send(&replica).await;
    }
    (source, replica)
}

fn path(dir: &Path, level: u8, min: u64, max: u64) -> PathBuf {
    let (min, max) = (Txid(min), Txid(max));
    dir.join(format!("copy/app.sqlite3/ltx/{level}/{min}-{max}.ltx"))
}

/// Fails to restore, and leaves everything as it was.
pub(crate) async fn fails(dir: &Path, replica: &Replica) -> RestoreError {
    let place = dir.join("place");
    std::fs::create_dir_all(&place).unwrap();
    let out = place.join("out.sqlite3");
    let error = restore(replica, &out, RestoreOptions::default())
        .await
        .unwrap_err();
    assert!(names(&place).is_empty(), "{:?} is left", names(&place));

    std::fs::write(&out, "what was there").unwrap();
    let options = RestoreOptions {
        overwrite: true,
        ..RestoreOptions::default()
    };
    let again = restore(replica, &out, options).await.unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
    assert_eq!(names(&place), ["out.sqlite3"]);
    assert_eq!(std::fs::read(&out).unwrap(), b"what was there");
    std::fs::remove_file(&out).unwrap();
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (_source, replica) = nine(dir.path()).await;
    for (level, min, max) in [(9, 1, 1), (0, 5, 5), (0, 9, 9)] {
        let path = path(dir.path(), level, min, max);
        let whole = std::fs::read(&path).unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..25 {
            let mut bytes = whole.clone();
            match random.u8(0..3) {
                0 => bytes.truncate(random.usize(0..whole.len())),
                1 => bytes.push(0),
                _ => bytes[random.usize(0..whole.len())] ^= 1 << random.u8(0..8),
            }
            std::fs::write(&path, bytes).unwrap();
            let error = fails(dir.path(), &replica).await.to_string();
            assert!(
                error.contains(&format!("ltx/{level}/{}-{}.ltx", Txid(min), Txid(max))),
                "{error}"
            );
        }
        std::fs::write(&path, whole).unwrap();
    }
    assert_eq!(
        verify(&replica, VerifyOptions::default())
            .await
            .unwrap()
            .txid,
        Txid(9)
    );
}

/// Whatever is wrong with a snapshot or a merged file, the files that it was made
/// of lead to the same state.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_gone_around_where_others_lead_to_the_same_state() {
    let dir = tempfile::tempdir().unwrap();
    let (mut source, replica) = nine(dir.path()).await;
    source.send_whole(&replica).await;
    let path = path(dir.path(), 9, 1, 9);
    let whole = std::fs::read(&path).unwrap();
    let mut random = fastrand::Rng::with_seed(8);
    let out = dir.path().join("out.sqlite3");
    for round in 0..40 {
        let mut bytes = whole.clone();
        match round % 5 {
            0 => bytes.truncate(random.usize(0..whole.len())),
            1 => bytes.push(0),
            // In the header, where it says what the file is.
            2 => bytes[random.usize(0..100)] ^= 1 << random.u8(0..8),
            3 => bytes.clear(),
            _ => bytes[random.usize(0..whole.len())] ^= 1 << random.u8(0..8),
        }
        std::fs::write(&path, bytes).unwrap();
        let target = match random.u8(0..3) {
            0 => Target::Latest,
            1 => Target::Txid(Txid(9)),
            _ => Target::Time(source.time_ms),
        };
        let options = RestoreOptions {
            target,
            overwrite: true,
            ..RestoreOptions::default()
        };
        let restored = restore(&replica, &out, options).await.unwrap();
        assert_eq!(restored.txid, Txid(9), "{target:?}");
        assert!(std::fs::read(&out).unwrap() == source.state(9).bytes);
        assert_eq!(restored.damages.len(), 1, "{:?}", restored.damages);
        assert!(
            restored.damages[0].contains("/ltx/9/"),
            "{:?}",
            restored.damages
        );
        let options = VerifyOptions {
            target,
            ..VerifyOptions::default()
        };
        assert_eq!(
            verify(&replica, options).await.unwrap().damages,
            restored.damages
        );
    }
    // Another's content, whole in itself.
    std::fs::copy(self::path(dir.path(), 9, 1, 1), &path).unwrap();
    let restored = verify(&replica, VerifyOptions::default()).await.unwrap();
    assert_eq!((restored.txid, restored.damages.len()), (Txid(9), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_damaged_file_takes_with_it_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (source, replica) = nine(dir.path()).await;
    std::fs::write(path(dir.path(), 0, 7, 7), "nothing").unwrap();
    let error = fails(dir.path(), &replica).await;
    assert_eq!(error.best(), Some(Txid(6)), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("3 states cannot be restored; the newest that can be is transaction 0000000000000006 of 2026-03-01T12:00:05Z"),
        "{message}"
    );
    // When the damaged one was is not known any more, and that is reported.
    let out = dir.path().join("out.sqlite3");
    let at = |seconds: i64| RestoreOptions {
        target: Target::Time(source.state(1).time_ms + seconds * 1_000),
        overwrite: true,
        ..RestoreOptions::default()
    };
    let restored = restore(&replica, &out, at(6)).await.unwrap();
    assert_eq!(restored.txid, Txid(6));
    assert!(
        restored.damages[0].contains("7.ltx"),
        "{:?}",
        restored.damages
    );
    let restored = restore(&replica, &out, at(3)).await.unwrap();
    assert_eq!((restored.txid, restored.damages.len()), (Txid(4), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_under_anothers_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_source, replica) = nine(dir.path()).await;
    std::fs::copy(path(dir.path(), 0, 4, 4), path(dir.path(), 0, 6, 6)).unwrap();
    let error = fails(dir.path(), &replica).await;
    let RestoreError::Broken { source, best, .. } = &error else {
        panic!("{error}");
    };
    assert!(matches!(**source, RestoreError::Swapped { .. }), "{error}");
    assert_eq!(best.map(|(txid, _)| txid), Some(Txid(5)));
    let message = error.to_string();
    assert!(
        message
            .contains("0000000000000006-0000000000000006.ltx holds transactions 0000000000000004"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (source, replica) = nine(dir.path()).await;
    std::fs::remove_file(path(dir.path(), 0, 6, 6)).unwrap();
    let error = fails(dir.path(), &replica).await.to_string();
    assert_eq!(
        error,
        format!(
            "cannot restore from {}: the files with the transactions after 0000000000000005 and \
             before 0000000000000007 are missing; the state at 0000000000000005 can be restored, the 3 newer ones cannot",
            replica.name()
        )
    );
    let out = dir.path().join("out.sqlite3");
    let options = RestoreOptions {
        target: Target::Txid(Txid(5)),
        ..RestoreOptions::default()
    };
    restore(&replica, &out, options).await.unwrap();
    assert!(std::fs::read(&out).unwrap() == source.state(5).bytes);

    std::fs::remove_file(path(dir.path(), 9, 1, 1)).unwrap();
    let error = fails(dir.path(), &replica).await.to_string();
    assert!(error.contains("no whole database to begin with"), "{error}");
    std::fs::remove_dir_all(dir.path().join("copy")).unwrap();
    let error = fails(dir.path(), &replica).await.to_string();
    assert!(error.contains("it holds no file"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_none_is_found_by_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(dir.path(), 1024);
    source.checksums = false;
    let replica = folder(dir.path());
    source.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
                INSERT INTO item (body) SELECT randomblob(300) FROM n",
    );
    let (header, _) = source.whole();
    // What was replicated was broken already.
    let mut bytes = source.state(1).bytes.clone();
    let middle = bytes.len() / 2048 * 1024;
    bytes[middle..middle + 1024].fill(0x55);
    let body = encode(header, (1..).zip(bytes.chunks(1024)));
    replica.put(9, &header, body).await.unwrap();
    let error = fails(dir.path(), &replica).await;
    assert!(
        matches!(&error, RestoreError::Corrupt { findings, .. } if !findings.is_empty()),
        "{error}"
    );
    let options = VerifyOptions {
        scratch: dir.path().into(),
        ..VerifyOptions::default()
    };
    let error = verify(&replica, options).await.unwrap_err();
    assert!(matches!(error, RestoreError::Corrupt { .. }), "{error}");
}

/// Does something when a restore begins to download, for the first few times.
struct AtDownload {
    times: AtomicUsize,
    act: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for AtDownload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AtDownload")
    }
}

impl Progress for AtDownload {
    fn begin(&self, step: &'static str, _total: Option<u64>) {
        let left = |left: usize| left.checked_sub(1);
        let counted = || {
            self.times
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left)
        };
        if step == "downloading" && counted().is_ok() {
            (self.act)();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_merged_and_deleted_meanwhile_are_planned_anew_once() {
    let dir = tempfile::tempdir().unwrap();
    let (source, replica) = nine(dir.path()).await;
    // What was 5 to 7 is one file from now on.
    let files = [5, 6, 7].map(|txid| std::fs::read(path(dir.path(), 0, txid, txid)).unwrap());
    let decoders = files
        .iter()
        .map(|bytes| monolite_ltx::Decoder::new(bytes.as_slice()).unwrap());
    let (merged, ..) = monolite_ltx::merge(decoders.collect(), Vec::new(), |_| ()).unwrap();
    let root = dir.path().to_owned();
    let act = move || {
        std::fs::create_dir_all(root.join("copy/app.sqlite3/ltx/1")).unwrap();
        std::fs::write(path(&root, 1, 5, 7), &merged).unwrap();
        for txid in [5, 6, 7] {
            std::fs::remove_file(path(&root, 0, txid, txid)).unwrap();
        }
    };
    let progress = |times: usize, act: Box<dyn Fn() + Send + Sync>| RestoreOptions {
        progress: Arc::new(AtDownload {
            times: times.into(),
            act,
        }),
        overwrite: true,
        ..RestoreOptions::default()
    };
    let out = dir.path().join("out.sqlite3");
    let restored = restore(&replica, &out, progress(1, Box::new(act)))
        .await
        .unwrap();
    assert_eq!(restored.files, 1 + 3 + 1 + 2);
    assert!(std::fs::read(&out).unwrap() == source.state(9).bytes);

    // But not again and again.
    let left = Mutex::new(vec![8, 9]);
    let root = dir.path().to_owned();
    let act = move || {
        let txid = left.lock().unwrap().pop().unwrap();
        std::fs::remove_file(path(&root, 0, txid, txid)).unwrap();
    };
    let error = restore(&replica, &out, progress(2, Box::new(act)))
        .await
        .unwrap_err();
    let name = path(dir.path(), 0, 8, 8);
    assert_eq!(
        error.to_string(),
        format!("{} is not there", name.display())
    );
    assert!(
        std::fs::read(&out).unwrap() == source.state(9).bytes,
        "the old one is gone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_network_costs_time_and_wrong_bytes_are_refused() {
    let server = S3Server::start();
    let replica = bucket(&server);
    let dir = tempfile::tempdir().unwrap();
    let mut source = Source::new(dir.path(), 4096);
    // Larger than what is fetched at once.
    source.sql("INSERT INTO item (body) VALUES (randomblob(5000000))");
    source.send_whole(&replica).await;
    for n in 0..20 {
        source.sql(&format!(
            "INSERT INTO item (body) VALUES (randomblob({}))",
            3_000 + n
        ));
        source.send(&replica).await;
    }
    let gets = |fault| Rule::new(fault).operation(Operation::GetObject);
    let faults = server.faults();
    let troubles = [
        faults.add(gets(Fault::Status(503)).next(4)),
        faults.add(gets(Fault::Reset).skip(3).next(3)),
        faults.add(gets(Fault::TornAnswer(1_000)).key("/0000/").skip(8).next(3)),
        faults.add(gets(Fault::TornAnswer(2_000_000)).key("/0009/").next(2)),
    ];
    let out = dir.path().join("out.sqlite3");
    restore(&replica, &out, RestoreOptions::default())
        .await
        .unwrap();
    assert!(std::fs::read(&out).unwrap() == source.state(21).bytes);
    assert!(troubles.iter().all(|trouble| trouble.hits() > 0));
    for trouble in troubles {
        faults.remove(&trouble);
    }

    for (at, key) in [(3_000_000, "/0009/"), (150, "/0000/")] {
        let wrong = faults.add(gets(Fault::WrongByte(at)).key(key));
        let out = dir.path().join("other.sqlite3");
        let error = restore(&replica, &out, RestoreOptions::default())
            .await
            .unwrap_err();
        assert!(
            matches!(&error, RestoreError::Broken { source, .. }
                if matches!(&**source, RestoreError::Damaged { name, .. } if name.contains(key))),
            "{error}"
        );
        assert!(
            !names(dir.path())
                .iter()
                .any(|name| name.starts_with("other"))
        );
        faults.remove(&wrong);
    }
}
