//! What may not be written, and headers that are none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::plain_header;
use monolite_ltx::{
    Checksum, DatabaseChecksums, Encoder, Error, Header, PageFault, Result, Txid, WalSpan,
    lock_page,
};

fn fault<T: std::fmt::Debug>(result: Result<T>) -> PageFault {
    match result.unwrap_err() {
        Error::Page { why, .. } => why,
        other => panic!("{other}"),
    }
}

fn field<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
    match result.unwrap_err() {
        Error::Header { field, .. } => field,
        other => panic!("{other}"),
    }
}

#[test]
fn an_encoder_takes_only_pages_that_may_come() {
    let lock = lock_page(512);
    let page = [1; 512];
    let mut encoder = Encoder::new(Vec::new(), plain_header(512, lock + 2, 2, 2)).unwrap();
    assert_eq!(fault(encoder.page(0, &page)), PageFault::Zero);
    assert_eq!(fault(encoder.page(lock, &page)), PageFault::LockPage);
    let beyond = PageFault::BeyondCommit(lock + 2);
    assert_eq!(fault(encoder.page(lock + 3, &page)), beyond);
    let length = |actual| PageFault::Length {
        actual,
        page_size: 512,
    };
    assert_eq!(fault(encoder.page(1, &page[1..])), length(511));
    assert_eq!(fault(encoder.page(1, &[1; 513])), length(513));
    let block = [0; 531];
    let long = PageFault::TooLong {
        size: 531,
        bound: 530,
    };
    assert_eq!(fault(encoder.page_compressed(1, &page, &block)), long);
    let why = fault(encoder.page_compressed(1, &page, &[]));
    assert!(matches!(why, PageFault::Lz4(_)));

    encoder.page(4, &page).unwrap();
    assert_eq!(fault(encoder.page(4, &page)), PageFault::Order(4));
    assert_eq!(fault(encoder.page(3, &page)), PageFault::Order(4));
    // What was refused changed nothing.
    encoder.page(lock + 1, &page).unwrap();
    let (file, ..) = encoder.finish(None).unwrap();
    let pages = common::decode(&file).unwrap().pages;
    assert_eq!(pages.into_keys().collect::<Vec<_>>(), [4, lock + 1]);
}

#[test]
fn a_snapshot_is_whole_or_not_written() {
    let page = [1; 512];
    let mut encoder = Encoder::new(Vec::new(), plain_header(512, 3, 1, 2)).unwrap();
    assert_eq!(fault(encoder.page(2, &page)), PageFault::Gap(0));
    encoder.page(1, &page).unwrap();
    assert_eq!(fault(encoder.page(3, &page)), PageFault::Gap(1));
    encoder.page(2, &page).unwrap();
    match encoder.finish(None).unwrap_err() {
        Error::Incomplete { last, commit } => assert_eq!((last, commit), (2, 3)),
        other => panic!("{other}"),
    }
}

#[test]
fn the_checksum_after_is_given_where_it_belongs() {
    let some = Checksum::of_page(1, &[1; 512]);
    let with = |checksums| Header {
        checksums,
        ..plain_header(512, 3, 2, 2)
    };
    let standard = with(DatabaseChecksums::Standard { pre: Some(some) });
    let reserved = with(DatabaseChecksums::Reserved {
        pre: Some(some),
        post: some,
    });
    for (header, post, fits) in [
        (standard, Some(some), true),
        (standard, None, false),
        (reserved, None, true),
        (reserved, Some(some), false),
        (with(DatabaseChecksums::None), Some(some), false),
    ] {
        let encoder = Encoder::new(Vec::new(), header).unwrap();
        match encoder.finish(post) {
            Ok(_) => assert!(fits),
            Err(Error::Trailer { .. }) => assert!(!fits),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_database_without_pages() {
    let empty = plain_header(512, 0, 3, 3);
    assert!(matches!(
        Encoder::new(Vec::new(), empty).unwrap_err(),
        Error::Refused { .. }
    ));
    let some = Checksum::of_page(1, &[1; 512]);
    let checksums = DatabaseChecksums::Standard { pre: Some(some) };
    let told = Header { checksums, ..empty };
    let end = |post| Encoder::new(Vec::new(), told).unwrap().finish(Some(post));
    assert!(matches!(end(some).unwrap_err(), Error::Trailer { .. }));
    let (file, ..) = end(Checksum::EMPTY).unwrap();
    assert_eq!(common::decode(&file).unwrap().header, told);
    let post = some;
    let checksums = DatabaseChecksums::Reserved { pre: None, post };
    let reserved = Header { checksums, ..empty };
    assert_eq!(field(reserved.check()), "post-apply checksum");
}

/// A writer that has room for so many bytes.
#[derive(Debug)]
struct Full(usize);

impl std::io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = (self.0.checked_sub(bytes.len()))
            .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::StorageFull))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_ends_an_encoder() {
    let header = plain_header(512, 3, 2, 2);
    assert!(matches!(
        Encoder::new(Full(99), header).unwrap_err(),
        Error::Write {
            offset: 0,
            part: "the header",
            ..
        }
    ));
    let mut encoder = Encoder::new(Full(105), header).unwrap();
    let error = encoder.page(1, &[1; 512]).unwrap_err();
    assert!(matches!(error, Error::Write { offset: 100, .. }));
    // No hole is written over.
    assert!(matches!(
        encoder.page(2, &[1; 512]).unwrap_err(),
        Error::Refused { .. }
    ));
    assert!(matches!(
        encoder.finish(None).unwrap_err(),
        Error::Refused { .. }
    ));
    // Wherever else the room ends, it is said.
    let whole = {
        let mut encoder = Encoder::new(Vec::new(), header).unwrap();
        encoder.page(1, &[1; 512]).unwrap();
        encoder.finish(None).unwrap().2
    };
    for room in 100..=usize::try_from(whole).unwrap() {
        let mut encoder = Encoder::new(Full(room), header).unwrap();
        let done = encoder.page(1, &[1; 512]).is_ok() && encoder.finish(None).is_ok();
        assert_eq!(done, room as u64 == whole, "room for {room}");
    }
}

#[test]
fn headers_are_checked() {
    let some = Checksum::of_page(1, &[1; 512]);
    let good = plain_header(4096, 3, 2, 2);
    good.check().unwrap();
    let wal = |offset, size, salt1| Header {
        wal: Some(WalSpan {
            offset,
            size,
            salt1,
            salt2: 0,
        }),
        ..good
    };
    let of = |checksums| Header { checksums, ..good };
    for (header, name) in [
        (plain_header(0, 3, 2, 2), "page size"),
        (plain_header(256, 3, 2, 2), "page size"),
        (plain_header(4095, 3, 2, 2), "page size"),
        (plain_header(1 << 17, 3, 2, 2), "page size"),
        (plain_header(4096, 3, 0, 2), "first transaction"),
        (plain_header(4096, 3, 3, 2), "transactions"),
        (wal(0, 5, 0), "WAL offset"),
        (wal(0, 0, 5), "WAL offset"),
        (wal(-1, 5, 0), "WAL offset"),
        (wal(5, -1, 0), "WAL size"),
        (
            of(DatabaseChecksums::Standard { pre: None }),
            "pre-apply checksum",
        ),
        (
            Header {
                min: Txid(1),
                ..of(DatabaseChecksums::Standard { pre: Some(some) })
            },
            "pre-apply checksum",
        ),
        (
            Header {
                min: Txid(1),
                ..of(DatabaseChecksums::Reserved {
                    pre: Some(some),
                    post: some,
                })
            },
            "pre-apply checksum",
        ),
    ] {
        assert_eq!(field(header.check()), name);
        assert_eq!(field(Header::parse(&header.to_bytes())), name);
        assert_eq!(field(Encoder::new(Vec::new(), header)), name);
    }
}

#[test]
fn header_bytes_are_checked() {
    let good = Header {
        checksums: DatabaseChecksums::Reserved {
            pre: None,
            post: Checksum::EMPTY,
        },
        ..plain_header(4096, 3, 2, 2)
    };
    let with = |at: usize, byte: u8| {
        let mut bytes = good.to_bytes();
        bytes[at] = byte;
        Header::parse(&bytes)
    };
    assert_eq!(with(0, b'L').unwrap(), good);
    assert!(matches!(with(3, b'2').unwrap_err(), Error::NotLtx(_)));
    assert_eq!(field(with(7, 3)), "flags");
    assert_eq!(field(with(4, 1)), "flags");
    assert_eq!(field(with(40, 0x80)), "pre-apply checksum");
    assert_eq!(field(with(47, 1)), "pre-apply checksum");
    let (pre, post) = (
        "pre-apply checksum in the reserved bytes",
        "post-apply checksum in the reserved bytes",
    );
    assert_eq!(field(with(91, 1)), pre);
    assert_eq!(field(with(92, 0)), post);
    assert_eq!(with(80, 0).unwrap().checksums, DatabaseChecksums::None);
    assert_eq!(good.database_bytes(), 3 * 4096);
    assert_eq!(lock_page(4096), 262_145);
    assert_eq!(lock_page(0), lock_page(512));
}
