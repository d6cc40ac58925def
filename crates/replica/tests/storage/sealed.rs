//! What encryption keeps out.

use monolite_replica::{ErrorClass, FileInfo, Replica, StorageError};

use crate::bench::{Place, TIME, all, file, filled, key};

fn places() -> [Place; 2] {
    [Place::folder(), Place::bucket()]
}

fn is_unsealable<T: std::fmt::Debug>(result: &Result<T, StorageError>) -> bool {
    matches!(result, Err(StorageError::Unsealable { .. }))
}

async fn read(replica: &Replica, file: &FileInfo) -> Result<(), StorageError> {
    let mut body = replica.get(file).await?;
    while body.next().await?.is_some() {}
    Ok(())
}

/// Where the one file of a replica is.
fn name(place: &Place, database: &str, file: &FileInfo) -> String {
    let level = place.level(file.level);
    format!("{database}/{level}/{}", file.name())
}

#[tokio::test]
async fn without_the_key_nothing_opens() {
    for place in places() {
        let (header, body) = file(1, 1, TIME);
        let sealed = place.open("", Some(key(1)));
        assert!(sealed.is_sealed());
        let replica = sealed.replica("app");
        let stored = replica.put(9, &header, body.clone().into()).await.unwrap();
        let bytes = place.stored(&name(&place, "app", &stored)).unwrap();
        assert!(bytes.starts_with(b"MLSEAL1\n"));
        assert!(!bytes.windows(4).any(|bytes| bytes == b"LTX1"));

        let without = place.open("", None).replica("app");
        let error = read(&without, &stored).await.unwrap_err();
        assert!(matches!(error, StorageError::NoKey { .. }), "{error:?}");
        assert!(error.to_string().contains("give the key"), "{error}");
        let other = place.open("", Some(key(2))).replica("app");
        assert!(is_unsealable(&read(&other, &stored).await));
        assert!(is_unsealable(&other.header(&stored).await));
        // And it cannot be taken for its own.
        let put = other.put(9, &header, body.into()).await;
        assert!(is_unsealable(&put), "{put:?}");
    }
}

#[tokio::test]
async fn a_list_that_is_not_up_to_date_is_not_taken_for_a_wrong_key() {
    for place in places() {
        let (header, body) = file(1, 1, TIME);
        let replica = place.open("", Some(key(1))).replica("app");
        let stored = replica.put(9, &header, body.into()).await.unwrap();
        let listed = FileInfo {
            size: 10 << 20,
            ..stored.clone()
        };
        let error = replica.header(&listed).await.unwrap_err();
        assert!(error.is_not_found(), "{error:?}");
        assert_eq!(error.class(), ErrorClass::Transient);
        assert_eq!(replica.header(&stored).await.unwrap(), header);
    }
}

#[tokio::test]
async fn files_of_before_are_read_along() {
    for place in places() {
        let (header, body) = file(1, 1, TIME);
        let plain = place.open("", None).replica("app");
        plain.put(9, &header, body.clone().into()).await.unwrap();
        let replica = place.open("", Some(key(1))).replica("app");
        let (header, next) = file(2, 2, TIME);
        replica.put(0, &header, next.clone().into()).await.unwrap();
        let files = replica.list_all().await.unwrap();
        let sealed: Vec<_> = files.iter().map(|file| file.sealed).collect();
        assert_eq!(sealed, [true, false]);
        assert_eq!(all(replica.get(&files[0]).await.unwrap()).await, next);
        assert_eq!(all(replica.get(&files[1]).await.unwrap()).await, body);
    }
}

#[tokio::test]
async fn no_file_can_be_put_in_the_place_of_another() {
    for place in places() {
        let replica = place.open("", Some(key(1))).replica("app");
        let mut stored = Vec::new();
        for min in 1..=2 {
            let (header, body) = file(min, min, TIME);
            stored.push(replica.put(0, &header, body.into()).await.unwrap());
        }
        let bytes = place.stored(&name(&place, "app", &stored[0])).unwrap();
        // Of another range, another level, another database.
        place.store(&name(&place, "app", &stored[1]), &bytes);
        let raised = FileInfo {
            level: 1,
            ..stored[0].clone()
        };
        place.store(&name(&place, "app", &raised), &bytes);
        place.store(&name(&place, "app2", &stored[0]), &bytes);
        place.store(&name(&place, "of/app", &stored[0]), &bytes);
        assert!(read(&replica, &stored[0]).await.is_ok());
        assert!(is_unsealable(&read(&replica, &stored[1]).await));
        assert!(is_unsealable(&replica.header(&stored[1]).await));
        assert!(is_unsealable(&read(&replica, &raised).await));
        for other in ["app2", "of/app"] {
            let other = place.open("", Some(key(1))).replica(other);
            assert!(is_unsealable(&read(&other, &stored[0]).await));
        }
    }
}

#[tokio::test]
async fn what_was_changed_or_cut_short_is_found_while_reading() {
    for place in places() {
        let replica = place.open("", Some(key(1))).replica("app");
        let (header, body) = filled(1, 1, TIME, 200_000);
        let stored = replica.put(9, &header, body.into()).await.unwrap();
        let name = name(&place, "app", &stored);
        let bytes = place.stored(&name).unwrap();
        let chunk = 65_536 + 16;
        assert!(bytes.len() > 27 + 3 * chunk);
        let changed = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            bytes
        };
        let swapped = {
            let (head, chunks) = bytes.split_at(27);
            let (first, second) = (&chunks[..chunk], &chunks[chunk..2 * chunk]);
            [head, second, first, &chunks[2 * chunk..]].concat()
        };
        for wrong in [
            changed(0),
            changed(20),
            changed(1000),
            changed(27 + chunk + 5),
            changed(bytes.len() - 1),
            bytes[..bytes.len() - 1].to_vec(),
            bytes[..27 + chunk].to_vec(),
            bytes[..27].to_vec(),
            bytes[..10].to_vec(),
            Vec::new(),
            [&bytes[..], b"x"].concat(),
            swapped,
        ] {
            place.store(&name, &wrong);
            let read = read(&replica, &stored).await;
            assert!(is_unsealable(&read), "{}: {read:?}", wrong.len());
        }
        place.store(&name, &bytes);
        assert!(read(&replica, &stored).await.is_ok());
    }
}
