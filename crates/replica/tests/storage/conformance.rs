//! What every place does, with and without encryption.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use monolite_replica::{FileInfo, Permission, Permit, StorageError};
use tokio::io::AsyncReadExt;

use crate::bench::{LARGE, Place, TIME, all, file, filled, unwatched};
use crate::case::{Case, cases};

#[tokio::test]
async fn what_is_put_is_listed_and_got_until_it_is_deleted() {
    for case in cases() {
        let replica = case.destination.replica("app.sqlite3");
        assert_eq!(replica.list_all().await.unwrap(), []);
        let mut put = Vec::new();
        // Not in order, and more than a page of the list.
        for (level, min, max) in [(0, 3, 3), (9, 1, 1), (0, 2, 2), (1, 2, 3), (0, 16, 16)] {
            let (header, body) = file(min, max, TIME);
            let stored = replica
                .put(level, &header, body.clone().into())
                .await
                .unwrap();
            assert_eq!(
                (stored.level, stored.min.0, stored.max.0),
                (level, min, max)
            );
            assert_eq!(stored.sealed, case.sealed);
            let size = body.len() as u64 + if case.sealed { 27 + 16 } else { 0 };
            assert_eq!(stored.size, size);
            put.push((stored, header, body));
        }
        put.sort_by_key(|(stored, ..)| (stored.level, stored.min, stored.max));
        let listed = replica.list_all().await.unwrap();
        assert_eq!(listed.len(), put.len());
        for (listed, (stored, header, body)) in listed.iter().zip(&put) {
            let time_of = |file: &FileInfo| FileInfo {
                stored_ms: 0,
                ..file.clone()
            };
            assert_eq!(time_of(listed), time_of(stored));
            assert_eq!(replica.header(listed).await.unwrap(), *header);
            assert_eq!(all(replica.get(listed).await.unwrap()).await, *body);
            assert_eq!(replica.get_bytes(listed).await.unwrap(), *body);
            let mut read = Vec::new();
            let mut reader = replica.get(listed).await.unwrap();
            reader.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, *body);
            let stored = case
                .place
                .stored(&case.name("app.sqlite3", listed))
                .unwrap();
            assert_eq!(stored == *body, !case.sealed);
        }
        let level = replica.list(0).await.unwrap();
        assert_eq!(
            level.iter().map(|file| file.min.0).collect::<Vec<_>>(),
            [2, 3, 16]
        );

        replica.delete(&level[1..]).await.unwrap();
        // Again: that they are gone is no error.
        replica.delete(&level[1..]).await.unwrap();
        replica.delete(&[]).await.unwrap();
        assert_eq!(replica.list(0).await.unwrap(), level[..1]);
        assert_eq!(replica.list_all().await.unwrap().len(), 3);
        let error = replica.get(&level[1]).await.unwrap_err();
        assert!(error.is_not_found(), "{error:?}");
        let error = replica.header(&level[1]).await.unwrap_err();
        assert!(error.is_not_found(), "{error:?}");
    }
}

#[tokio::test]
async fn nothing_is_overwritten_and_the_same_again_is_success() {
    for case in cases() {
        let replica = case.destination.replica("app");
        let (header, body) = file(2, 2, TIME);
        let first = replica.put(0, &header, body.clone().into()).await.unwrap();
        let again = replica.put(0, &header, body.clone().into()).await.unwrap();
        assert_eq!((again.min, again.size), (first.min, first.size));

        let name = case.name("app", &first);
        let before = case.place.stored(&name).unwrap();
        let (other, other_body) = file(2, 2, TIME + 1);
        assert_eq!(body.len(), other_body.len());
        let error = replica.put(0, &other, other_body.into()).await.unwrap_err();
        assert!(
            matches!(error, StorageError::AlreadyExists { .. }),
            "{error:?}"
        );
        let text = error.to_string();
        assert!(
            text.contains("0000000000000002-0000000000000002.ltx"),
            "{text}"
        );
        assert!(text.contains("nothing was overwritten"), "{text}");
        // One of another size is another one too.
        let longer = [body.clone(), body].concat();
        let error = replica.put(0, &header, longer.into()).await.unwrap_err();
        assert!(
            matches!(error, StorageError::AlreadyExists { .. }),
            "{error:?}"
        );
        assert_eq!(case.place.stored(&name).unwrap(), before);
    }
}

#[tokio::test]
async fn a_large_file_goes_in_parts_and_comes_back_whole() {
    // Encryption is slow in a build for tests: once must do.
    let folder_sealed = |case: &Case| case.sealed && matches!(case.place, Place::Folder(_));
    for case in cases().into_iter().filter(|case| !folder_sealed(case)) {
        let replica = case.destination.replica("app");
        let (header, body) = filled(1, 1, TIME, LARGE);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot");
        std::fs::write(&path, &body).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = {
            let told = told.clone();
            Arc::new(move |sent| told.lock().unwrap().push(sent))
        };
        let stored = replica.put_file(9, &header, &path, tell).await.unwrap();
        let told = told.lock().unwrap().clone();
        assert!(told.len() > 2 && told.is_sorted(), "{told:?}");
        assert_eq!(told.last(), Some(&stored.size));
        assert_eq!(replica.list(9).await.unwrap()[0].size, stored.size);
        assert_eq!(replica.header(&stored).await.unwrap(), header);
        assert_eq!(all(replica.get(&stored).await.unwrap()).await, body);
        if case.sealed {
            continue;
        }
        // The same again, from memory too.
        replica
            .put_file(9, &header, &path, unwatched())
            .await
            .unwrap();
        replica.put(9, &header, body.into()).await.unwrap();
        let (header, body) = filled(1, 1, TIME + 1, LARGE);
        let error = replica.put(9, &header, body.into()).await.unwrap_err();
        assert!(
            matches!(error, StorageError::AlreadyExists { .. }),
            "{error:?}"
        );
        if let Place::Bucket(server) = &case.place {
            assert_eq!(server.open_uploads(), 0);
        }
    }
}

/// Never lets anybody write.
struct No;

impl Permit for No {
    fn permit(&self, _: Duration) -> Permission<'_> {
        let name = "the destination".to_owned();
        let holder = None;
        Box::pin(async { Err(StorageError::Lost { name, holder }) })
    }
}

#[tokio::test]
async fn without_a_permit_nothing_is_written_or_deleted() {
    for case in cases() {
        let replica = case.destination.replica("app");
        let (header, body) = file(2, 2, TIME);
        let stored = replica.put(0, &header, body.into()).await.unwrap();
        let refused = replica.with_permit(Arc::new(No));
        let (header, body) = file(3, 3, TIME);
        let put = refused.put(0, &header, body.into()).await;
        assert!(matches!(put, Err(StorageError::Lost { .. })), "{put:?}");
        let deleted = refused.delete(std::slice::from_ref(&stored)).await;
        assert!(
            matches!(deleted, Err(StorageError::Lost { .. })),
            "{deleted:?}"
        );
        let left = refused.list_all().await.unwrap();
        assert_eq!(
            left.iter().map(|file| file.min).collect::<Vec<_>>(),
            [stored.min]
        );
        if let Place::Folder(dir) = &case.place {
            let level = dir.path().join("copies/app/ltx/0");
            assert_eq!(std::fs::read_dir(level).unwrap().count(), 1);
        }
    }
}

#[tokio::test]
async fn what_is_no_ltx_file_is_named() {
    for case in cases().into_iter().filter(|case| !case.sealed) {
        let replica = case.destination.replica("app");
        let level = case.place.level(0);
        let name = "0000000000000002-0000000000000002.ltx";
        for wrong in [&b""[..], b"short", &[7; 500]] {
            case.place
                .store(&format!("copies/app/{level}/{name}"), wrong);
            let files = replica.list(0).await.unwrap();
            let error = replica.header(&files[0]).await.unwrap_err();
            assert!(matches!(error, StorageError::Header { .. }), "{error:?}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

#[test]
fn futures_can_go_to_other_threads() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let place = Place::folder();
    let destination = place.open("copies", None);
    let replica = destination.replica("app");
    let (header, body) = file(1, 1, TIME);
    drop(send(destination.databases()));
    drop(send(replica.list_all()));
    drop(send(replica.put(0, &header, body.into())));
    drop(send(replica.put_file(
        0,
        &header,
        "x".as_ref(),
        unwatched(),
    )));
    let info = FileInfo {
        level: 0,
        min: header.min,
        max: header.max,
        size: 0,
        stored_ms: 0,
        sealed: false,
    };
    drop(send(replica.get(&info)));
    drop(send(replica.header(&info)));
    drop(send(replica.delete(&[])));
    let node = Default::default();
    let store = destination.lease();
    drop(send(store.acquire(&node, Duration::ZERO)));
}
