//! Files that are whole, each of them, and do not lead where they say.

use monolite_ltx::{Checksum, DatabaseChecksums, Encoder, Header, Txid};
use monolite_replica::{FileInfo, IntegrityCheck, Replica, RestoreError, RestoreOptions, restore};

use crate::damage::fails;
use crate::world::{START, encode, folder};

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
