//! What is not as it was written is refused, and the error names the place.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Content, Pages, content, content_of, decode, encode, noise, plain_header};
use monolite_ltx::{DatabaseChecksums, Decoder, Error, Header, PageFault, PageIndex};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_truncation_is_refused(content in content_of(512)) {
        let file = encode(&content);
        for length in 0..file.len() {
            match decode(&file[..length]) {
                Err(Error::Truncated { offset, .. }) => prop_assert_eq!(offset, length as u64),
                other => prop_assert!(false, "{} of {}: {:?}", length, file.len(), other),
            }
            let part = &file[..length];
            let index = PageIndex::parse(part, length as u64, &content.header);
            prop_assert!(index.is_err(), "{} of {}", length, file.len());
        }
    }

    #[test]
    fn what_comes_after_is_refused(content in content(), more in 1..200_usize) {
        let mut file = encode(&content);
        let end = file.len() as u64;
        file.resize(file.len() + more, 0);
        match decode(&file) {
            Err(Error::TrailingBytes { offset }) => prop_assert_eq!(offset, end),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// Other compressed bytes may yield the same page; nothing else may pass.
    #[test]
    fn every_flipped_byte_is_refused_or_means_the_same(
        content in content_of(512),
        flip in 1..=255_u8,
    ) {
        let mut file = encode(&content);
        for at in 0..file.len() {
            file[at] ^= flip;
            if let Ok(other) = decode(&file) {
                prop_assert_eq!(&other, &content, "byte {}", at);
                prop_assert!(at >= Header::SIZE + 10);
            }
            file[at] ^= flip;
        }
    }

    #[test]
    fn no_bytes_do_harm(
        content in content_of(512),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = encode(&content);
        for (at, byte) in flips {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Ok(other) = decode(&file) {
            prop_assert_eq!(&other, &content);
        }
        let end = &file[cut.index(file.len())..];
        if let Ok(index) = PageIndex::parse(end, file.len() as u64, &content.header) {
            for entry in index.entries() {
                prop_assert!(entry.offset + u64::from(entry.size) <= file.len() as u64);
            }
        }
    }

    #[test]
    fn noise_is_no_file(mut bytes in prop::collection::vec(any::<u8>(), 0..400), magic: bool) {
        if magic && bytes.len() > 4 {
            bytes[..4].copy_from_slice(b"LTX1");
        }
        prop_assert!(decode(&bytes).is_err());
    }

    /// Past the header anything: only there the reader does its work.
    #[test]
    fn noise_after_a_header_is_no_file(
        content in content_of(512),
        rest in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..400),
    ) {
        let mut file = content.header.to_bytes().to_vec();
        file.extend_from_slice(&rest);
        prop_assert!(decode(&file).is_err());
    }
}

/// Three pages, and where their frames begin.
fn sample() -> (Content, Vec<u8>, Vec<usize>) {
    let pages: Pages = [2, 5, 9].map(|pgno| (pgno, noise(7, 512))).into();
    let content = Content {
        header: plain_header(512, 9, 2, 4),
        pages,
        post: None,
    };
    let file = encode(&content);
    let index = PageIndex::parse(&file, file.len() as u64, &content.header).unwrap();
    let begins = index
        .entries()
        .iter()
        .map(|entry| usize::try_from(entry.offset).unwrap())
        .collect();
    (content, file, begins)
}

fn page_fault(file: &[u8]) -> (u32, u64, PageFault) {
    match decode(file).unwrap_err() {
        Error::Page { pgno, offset, why } => (pgno, offset, why),
        other => panic!("{other}"),
    }
}

#[test]
fn a_wrong_page_is_named() {
    let (_, file, begins) = sample();
    let second = begins[1] as u64;
    let with = |at: usize, bytes: &[u8]| {
        let mut file = file.clone();
        file[begins[1] + at..][..bytes.len()].copy_from_slice(bytes);
        page_fault(&file)
    };
    assert_eq!(with(3, &[2]), (2, second, PageFault::Order(2)));
    assert_eq!(with(0, &0_u32.to_be_bytes()), (0, second, PageFault::Zero));
    let lock = monolite_ltx::lock_page(512);
    assert_eq!(
        with(0, &lock.to_be_bytes()),
        (lock, second, PageFault::LockPage)
    );
    assert_eq!(with(4, &[0, 3]), (5, second, PageFault::Flags(3)));
    // As versions 1 and 2 had it, and as version 3 never had it.
    let frame = [0x04, 0x22, 0x4d, 0x18];
    assert_eq!(with(4, &frame), (5, second, PageFault::OldFormat));
    assert_eq!(with(4, &[0, 0]), (5, second, PageFault::OldFormat));
    // Four gigabytes are not looked for.
    let (size, bound) = (u32::MAX, 512 + 2 + 16);
    assert_eq!(
        with(6, &[0xff; 4]),
        (5, second, PageFault::TooLong { size, bound })
    );
    assert!(matches!(
        with(6, &[0; 4]),
        (5, offset, PageFault::Lz4(_)) if offset == second
    ));
}

#[test]
fn a_page_too_short_is_refused() {
    let (_, mut file, begins) = sample();
    // A block of one literal.
    file[begins[0] + 6..][..6].copy_from_slice(&[0, 0, 0, 2, 0x10, 9]);
    let length = PageFault::Length {
        actual: 1,
        page_size: 512,
    };
    assert_eq!(page_fault(&file), (2, 100, length));
}

#[test]
fn an_incomplete_snapshot_is_refused() {
    let pages: Pages = (1..=3).map(|pgno| (pgno, vec![1; 512])).collect();
    let content = Content {
        header: plain_header(512, 3, 1, 4),
        pages,
        post: None,
    };
    let mut file = encode(&content);
    file[15] = 4;
    match decode(&file).unwrap_err() {
        Error::Incomplete { last, commit } => assert_eq!((last, commit), (3, 4)),
        other => panic!("{other}"),
    }
    file[15] = 2;
    assert_eq!(page_fault(&file).2, PageFault::BeyondCommit(2));
    file[15] = 3;
    assert!(decode(&file).is_ok());
    file[100 + 3] = 2;
    assert_eq!(page_fault(&file), (2, 100, PageFault::Gap(0)));
}

#[test]
fn an_index_of_other_pages_is_refused() {
    let (content, file, _) = sample();
    let length = file.len();
    let entries = length - 24 - usize::from(file[length - 17]);
    for at in entries..length - 16 {
        let mut file = file.clone();
        file[at] ^= 1;
        assert!(
            matches!(decode(&file).unwrap_err(), Error::Index { .. }),
            "byte {at}"
        );
        // It alone knows less, but never leads out of the file.
        if let Ok(index) = PageIndex::parse(&file, length as u64, &content.header) {
            let last = index.entries().last().unwrap();
            assert_eq!(last.offset + u64::from(last.size) + 6, entries as u64);
        }
    }
    // Of a length that no memory has.
    for huge in [u64::MAX, 1 << 62, length as u64, 0] {
        let mut file = file.clone();
        file[length - 24..length - 16].copy_from_slice(&huge.to_be_bytes());
        assert!(decode(&file).is_err());
        match PageIndex::parse(&file, length as u64, &content.header).unwrap_err() {
            Error::Index { offset, .. } => assert_eq!(offset, length as u64 - 24),
            other => panic!("{other}"),
        }
    }
    // A file said to be larger than any.
    assert!(PageIndex::parse(&file, u64::MAX, &content.header).is_err());
}

#[test]
fn the_trailer_fits_the_header() {
    let (_, file, _) = sample();
    let end = file.len() - 16;
    let mut post = file.clone();
    post[end] = 0x80;
    assert!(matches!(
        decode(&post).unwrap_err(),
        Error::Trailer {
            field: "post-apply checksum",
            ..
        }
    ));
    let mut none = file.clone();
    none[end + 8..].fill(0);
    assert!(matches!(
        decode(&none).unwrap_err(),
        Error::Trailer {
            field: "file checksum",
            value: 0,
            ..
        }
    ));
    let mut other = file;
    other[end + 15] ^= 1;
    assert!(matches!(
        decode(&other).unwrap_err(),
        Error::FileChecksum { .. }
    ));
}

/// Reserved bytes that are not ours are passed over.
#[test]
fn another_tag_is_no_tag() {
    let (content, file, _) = sample();
    let mut header = content.header.to_bytes();
    header[80..84].copy_from_slice(b"XYZ1");
    header[90] = 1;
    let parsed = Header::parse(&header).unwrap();
    assert_eq!(parsed.checksums, DatabaseChecksums::None);
    // But they are part of the file's checksum.
    let mut other = file;
    other[..100].copy_from_slice(&header);
    assert!(matches!(
        decode(&other).unwrap_err(),
        Error::FileChecksum { .. }
    ));
}

#[test]
fn after_an_error_there_is_nothing() {
    let (_, mut file, begins) = sample();
    file[begins[1] + 4] = 9;
    let mut decoder = Decoder::new(file.as_slice()).unwrap();
    let mut page = Vec::new();
    assert_eq!(decoder.next_page(&mut page).unwrap(), Some(2));
    assert!(matches!(
        decoder.next_page(&mut page),
        Err(Error::Page { .. })
    ));
    assert!(matches!(
        decoder.next_page(&mut page),
        Err(Error::Refused { .. })
    ));
    assert!(matches!(decoder.finish(), Err(Error::Refused { .. })));
}

#[test]
fn a_failing_reader_is_told_with_its_place() {
    #[derive(Debug)]
    struct Broken<'a>(&'a [u8]);
    impl std::io::Read for Broken<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Err(std::io::Error::other("the line is dead"));
            }
            self.0.read(buffer)
        }
    }
    let (_, file, begins) = sample();
    let error = Decoder::new(Broken(&file[..begins[1] + 5]))
        .unwrap()
        .finish()
        .unwrap_err();
    let text = format!(
        "cannot read the pages of an LTX file at byte {}: the line is dead",
        begins[1] + 5
    );
    assert_eq!(error.to_string(), text);
}
