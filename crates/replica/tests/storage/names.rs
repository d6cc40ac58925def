//! What databases and files are called, and what is found by it.

use monolite_replica::StorageError;

use crate::bench::{Place, TIME, file, key};
use crate::case::cases;

#[tokio::test]
async fn databases_are_found_without_their_histories() {
    for case in cases() {
        assert_eq!(case.destination.databases().await.unwrap(), [""; 0]);
        let (header, body) = file(1, 1, TIME);
        let names = [
            "app",
            "app2",
            "deep/er/one.sqlite3",
            "deep/two",
            "with space%20ü",
        ];
        for name in names {
            let replica = case.destination.replica(name);
            replica.put(9, &header, body.clone().into()).await.unwrap();
        }
        for min in 2..8 {
            let (header, body) = file(min, min, TIME);
            let replica = case.destination.replica("app");
            replica.put(0, &header, body.into()).await.unwrap();
        }
        case.place.store("copies/.monolite/lease", b"{}");
        case.place
            .store("copies/notes/read.me", b"of somebody else");
        case.place.store("copies/app/notes", b"of somebody else");
        let level = case.place.level(0);
        case.place
            .store(&format!("copies/app/{level}/notes.ltx.tmp"), b"else");
        assert_eq!(case.destination.databases().await.unwrap(), names);
        // One's files are not another's, though its name begins alike.
        assert_eq!(
            case.destination
                .replica("app")
                .list_all()
                .await
                .unwrap()
                .len(),
            7
        );
        assert_eq!(
            case.destination
                .replica("app2")
                .list_all()
                .await
                .unwrap()
                .len(),
            1
        );
        assert_eq!(case.destination.replica("ap").list_all().await.unwrap(), []);
        assert_eq!(
            case.destination.replica("deep").list_all().await.unwrap(),
            []
        );

        // A URL may name a database itself.
        let direct = case
            .place
            .open("copies/deep/two", case.sealed.then(|| key(1)));
        assert_eq!(direct.databases().await.unwrap(), [""]);
        let files = direct.replica("").list_all().await.unwrap();
        assert_eq!(direct.replica("").get_bytes(&files[0]).await.unwrap(), body);
        // Or be shorter than the one it was written by.
        let above = case.place.open("", case.sealed.then(|| key(1)));
        assert_eq!(above.databases().await.unwrap().len(), names.len());
    }
}

#[tokio::test]
async fn what_is_no_replica_is_not_taken_for_an_empty_one() {
    for case in cases() {
        case.place.store("copies/.monolite/lease", b"{}");
        case.place.store("copies/.keep", b"");
        assert_eq!(case.destination.databases().await.unwrap(), [""; 0]);
        case.place.store("copies/uploads/2026/cat.png", b"miau");
        let error = case.destination.databases().await.unwrap_err();
        assert!(matches!(error, StorageError::Foreign { .. }), "{error}");
        assert!(
            error.to_string().contains("uploads/2026/cat.png"),
            "{error}"
        );
        let old = "copies/app.sqlite3/generations/0123456789abcdef/snapshots/00000000.snapshot.lz4";
        case.place.store(old, b"");
        let error = case.destination.databases().await.unwrap_err();
        assert!(
            matches!(error, StorageError::OldLitestream { .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains("copies/app.sqlite3 is"),
            "{error}"
        );
        // Litestream 0.5 went on there.
        let (header, body) = file(1, 1, TIME);
        let replica = case.destination.replica("app.sqlite3");
        replica.put(9, &header, body.into()).await.unwrap();
        assert_eq!(case.destination.databases().await.unwrap(), ["app.sqlite3"]);
    }
}

#[tokio::test]
async fn names_that_no_place_can_have_are_refused() {
    for case in cases() {
        let (header, body) = file(1, 1, TIME);
        for name in ["../app", "a/../../b", "a/./b", "."] {
            let replica = case.destination.replica(name);
            let put = replica.put(0, &header, body.clone().into()).await;
            let wrong = matches!(put, Err(StorageError::Setting { .. }));
            // A folder's `./` is nothing at all.
            assert!(wrong || name.contains("./b"), "{name}: {put:?}");
        }
    }
}

#[tokio::test]
async fn the_names_and_times_are_those_that_litestream_reads() {
    let (header, body) = file(0x1f, 0x20, TIME);
    let place = Place::bucket();
    let replica = place.open("copies", None).replica("app");
    replica.put(0, &header, body.clone().into()).await.unwrap();
    let name = "copies/app/0000/000000000000001f-0000000000000020.ltx";
    assert_eq!(place.stored(name).unwrap(), body);
    let Place::Bucket(server) = &place else {
        unreachable!()
    };
    let time = server.metadata(name, "litestream-timestamp").unwrap();
    assert_eq!(time, "2023-11-14T22:13:20.123Z");

    let place = Place::folder();
    let replica = place.open("copies", None).replica("app");
    let stored = replica.put(9, &header, body.clone().into()).await.unwrap();
    assert_eq!(stored.stored_ms, TIME);
    let name = "copies/app/ltx/9/000000000000001f-0000000000000020.ltx";
    assert_eq!(place.stored(name).unwrap(), body);
    assert_eq!(replica.list(9).await.unwrap(), [stored]);
}
