//! What is not what was replicated is never restored, and it is told why.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use monolite_ltx::{Checksum, DatabaseChecksums, Encoder, Header, Txid};
use monolite_replica::{
    FileInfo, IntegrityCheck, Progress, Replica, RestoreError, RestoreOptions, Target,
    VerifyOptions, restore, verify,
};

use monolite_testkit::s3::{Fault, Operation, Rule, S3Server};

use crate::world::{START, Source, bucket, encode, folder, names};

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
async fn fails(dir: &Path, replica: &Replica) -> RestoreError {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_file_under_anothers_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_source, replica) = nine(dir.path()).await;
    std::fs::copy(path(dir.path(), 0, 4, 4), path(dir.path(), 0, 6, 6)).unwrap();
    let error = fails(dir.path(), &replica).await;
    assert!(matches!(error, RestoreError::Swapped { .. }), "{error}");
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
             before 0000000000000007 are missing; the state at 0000000000000005 can be restored",
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

/// Files made by hand, of a database of pages of 512 bytes.
async fn put(
    replica: &Replica,
    level: u8,
    min: u64,
    max: u64,
    commit: u32,
    pages: &[(u32, u8)],
) -> FileInfo {
    put_with(
        replica,
        level,
        min,
        max,
        commit,
        pages,
        DatabaseChecksums::None,
    )
    .await
}

async fn put_with(
    replica: &Replica,
    level: u8,
    min: u64,
    max: u64,
    commit: u32,
    pages: &[(u32, u8)],
    checksums: DatabaseChecksums,
) -> FileInfo {
    let header = Header {
        page_size: 512,
        commit,
        min: Txid(min),
        max: Txid(max),
        timestamp_ms: START,
        checksums,
        wal: None,
        node_id: 0,
    };
    let pages: Vec<_> = pages
        .iter()
        .map(|(pgno, byte)| (*pgno, [*byte; 512]))
        .collect();
    let body = encode(
        header,
        pages.iter().map(|(pgno, page)| (*pgno, page.as_slice())),
    );
    replica.put(level, &header, body).await.unwrap()
}

fn unchecked() -> RestoreOptions {
    RestoreOptions {
        integrity_check: IntegrityCheck::None,
        ..RestoreOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_cut_off_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let replica = folder(dir.path());
    put(&replica, 9, 1, 1, 4, &[(1, 1), (2, 1), (3, 1), (4, 1)]).await;
    put(&replica, 0, 2, 2, 2, &[(1, 2)]).await;
    // Grows again, and does not say what is on page 3.
    put(&replica, 0, 3, 3, 4, &[(1, 3), (4, 3)]).await;
    let out = dir.path().join("out.sqlite3");
    let error = restore(&replica, &out, unchecked()).await.unwrap_err();
    assert!(
        matches!(
            error,
            RestoreError::MissingPage {
                pgno: 3,
                txid: Txid(3),
                ..
            }
        ),
        "{error}"
    );
    assert!(!out.exists());

    put(&replica, 0, 4, 4, 4, &[(1, 4), (3, 4)]).await;
    restore(&replica, &out, unchecked()).await.unwrap();
    assert_eq!(
        std::fs::read(&out).unwrap(),
        [[4; 512], [1; 512], [4; 512], [3; 512]].concat()
    );

    // And a shrunk database is that short.
    put(&replica, 0, 5, 5, 1, &[(1, 5)]).await;
    let options = RestoreOptions {
        overwrite: true,
        ..unchecked()
    };
    restore(&replica, &out, options).await.unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), [5; 512]);
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_files_lead_to_the_newer_page() {
    let dir = tempfile::tempdir().unwrap();
    let replica = folder(dir.path());
    put(&replica, 9, 1, 2, 3, &[(1, 2), (2, 2), (3, 2)]).await;
    // Of transaction 3, 4 and 5; of 2 to 4; of 4 to 7.
    put(&replica, 1, 2, 4, 3, &[(1, 4), (2, 3)]).await;
    put(&replica, 1, 4, 7, 3, &[(1, 7), (3, 6)]).await;
    put(&replica, 0, 5, 5, 3, &[(1, 5)]).await;
    let out = dir.path().join("out.sqlite3");
    let restored = restore(&replica, &out, unchecked()).await.unwrap();
    assert_eq!((restored.txid, restored.files), (Txid(7), 3));
    assert_eq!(
        std::fs::read(&out).unwrap(),
        [[7; 512], [3; 512], [6; 512]].concat()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_pages_is_an_empty_file() {
    let dir = tempfile::tempdir().unwrap();
    let replica = folder(dir.path());
    let header = Header {
        page_size: 512,
        commit: 0,
        min: Txid(1),
        max: Txid(1),
        timestamp_ms: START,
        checksums: DatabaseChecksums::Standard { pre: None },
        wal: None,
        node_id: 0,
    };
    let encoder = Encoder::new(Vec::new(), header).unwrap();
    let body = encoder.finish(Some(Checksum::EMPTY)).unwrap().0;
    replica.put(9, &header, body.into()).await.unwrap();
    let out = dir.path().join("out.sqlite3");
    let restored = restore(&replica, &out, RestoreOptions::default())
        .await
        .unwrap();
    assert_eq!(
        (restored.pages, std::fs::read(&out).unwrap()),
        (0, Vec::new())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_not_what_was_replicated_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let replica = folder(dir.path());
    let sum = |pages: &[(u32, u8)]| {
        let sums = pages
            .iter()
            .map(|(pgno, byte)| Checksum::of_page(*pgno, &[*byte; 512]));
        sums.fold(Checksum::EMPTY, Checksum::toggle)
    };
    let first = sum(&[(1, 1), (2, 1)]);
    let reserved = |pre, post| DatabaseChecksums::Reserved { pre, post };
    put_with(
        &replica,
        9,
        1,
        1,
        2,
        &[(1, 1), (2, 1)],
        reserved(None, first),
    )
    .await;
    // Says that it changes page 2 as well.
    let wrong = sum(&[(1, 2), (2, 2)]);
    put_with(
        &replica,
        0,
        2,
        2,
        2,
        &[(1, 2)],
        reserved(Some(first), wrong),
    )
    .await;
    let error = fails(dir.path(), &replica).await;
    assert!(
        matches!(error, RestoreError::Checksum { txid: Txid(2), expected, .. } if expected == wrong),
        "{error}"
    );
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
            matches!(&error, RestoreError::Damaged { name, .. } if name.contains(key)),
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
