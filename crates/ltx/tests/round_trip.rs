//! What was written is read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{self, Read};

use common::{content, copy, decode, encode, noise, plain_header};
use monolite_ltx::{
    Checksum, Decoder, Encoder, Error, Header, PageFault, PageIndex, Trailer, lock_page,
};
use proptest::prelude::*;

/// Gives one byte at a time, and is interrupted before each.
struct Drip<'a>(&'a [u8], bool);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let some = buffer.len().min(1);
        self.0.read(&mut buffer[..some])
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_file_is_what_was_written(content in content()) {
        let file = encode(&content);
        prop_assert_eq!(&decode(&file).unwrap(), &content);
        prop_assert_eq!(copy(&file).unwrap(), file.clone());

        // By finish alone, in drops.
        let (_, trailer) = Decoder::new(Drip(&file, false)).unwrap().finish().unwrap();
        let end: [u8; 16] = file[file.len() - 16..].try_into().unwrap();
        prop_assert_eq!(Trailer::parse(&end, &content.header).unwrap(), trailer);
    }

    #[test]
    fn a_header_is_what_was_written(content in content()) {
        let bytes = content.header.to_bytes();
        prop_assert_eq!(Header::parse(&bytes).unwrap(), content.header);
    }

    #[test]
    fn an_index_leads_to_each_page(content in content()) {
        let file = encode(&content);
        let size = file.len() as u64;
        // First the little that says how much there is.
        let end = &file[file.len() - PageIndex::LENGTH_AT_END..];
        let Err(Error::IndexBeyond { needed, .. }) = PageIndex::parse(end, size, &content.header)
        else {
            panic!("no index is that short");
        };
        let end = &file[file.len() - usize::try_from(needed).unwrap()..];
        prop_assert!(PageIndex::parse(&end[1..], size, &content.header).is_err());
        let index = PageIndex::parse(end, size, &content.header).unwrap();
        prop_assert_eq!(&PageIndex::parse(&file, size, &content.header).unwrap(), &index);

        let numbers: Vec<u32> = index.entries().iter().map(|entry| entry.pgno).collect();
        prop_assert_eq!(numbers, content.pages.keys().copied().collect::<Vec<_>>());
        let mut page = Vec::new();
        for (pgno, expected) in &content.pages {
            let entry = index.get(*pgno).unwrap();
            let begin = usize::try_from(entry.offset).unwrap();
            let frame = &file[begin..begin + entry.size as usize];
            entry.decode(frame, content.header.page_size, &mut page).unwrap();
            prop_assert_eq!(&page, expected);
            for wrong in [&frame[..frame.len() - 1], &frame[..4], &file[begin..=begin + frame.len()], &[0; 10]] {
                prop_assert!(entry.decode(wrong, content.header.page_size, &mut page).is_err());
            }
        }
        prop_assert!(index.get(0).is_none());
    }
}

/// A gigabyte of database: the only size at which a snapshot has the lock page.
#[test]
fn a_snapshot_goes_over_the_lock_page() {
    const SIZE: u32 = 65536;
    let lock = lock_page(SIZE);
    assert_eq!(lock, 16385);
    let page = vec![7; SIZE as usize];
    let mut block = Vec::new();
    {
        let header = plain_header(SIZE, 9, 2, 2);
        let mut encoder = Encoder::new(Vec::new(), header).unwrap();
        encoder.page(9, &page).unwrap();
        let file = encoder.finish(None).unwrap().0;
        let mut decoder = Decoder::new(file.as_slice()).unwrap();
        decoder.next_page(&mut Vec::new()).unwrap();
        block.extend_from_slice(decoder.block());
    }

    let mut encoder = Encoder::new(Vec::new(), plain_header(SIZE, lock + 1, 1, 1)).unwrap();
    for pgno in (1..lock).chain([lock + 1]) {
        if pgno == lock + 1 {
            let why = encoder.page_compressed(lock, &page, &block).unwrap_err();
            assert!(matches!(
                why,
                Error::Page {
                    why: PageFault::LockPage,
                    ..
                }
            ));
        }
        encoder.page_compressed(pgno, &page, &block).unwrap();
    }
    let file = encoder.finish(None).unwrap().0;
    let mut decoder = Decoder::new(file.as_slice()).unwrap();
    let (mut read, mut last) = (0, 0);
    let mut found = Vec::new();
    while let Some(pgno) = decoder.next_page(&mut found).unwrap() {
        read += 1;
        last = pgno;
    }
    assert_eq!((read, last), (lock, lock + 1));
    decoder.finish().unwrap();
}

#[test]
fn a_checksum_of_a_snapshot_is_proven_by_writer_and_reader() {
    let page = noise(1, 512);
    let right = Checksum::EMPTY.toggle(Checksum::of_page(1, &page));
    let wrong = right.toggle(Checksum::of_page(2, &page));
    for (post, fits) in [(right, true), (wrong, false)] {
        let mut header = plain_header(512, 1, 1, 3);
        header.checksums = monolite_ltx::DatabaseChecksums::Reserved { pre: None, post };
        let mut encoder = Encoder::new(Vec::new(), header).unwrap();
        encoder.page(1, &page).unwrap();
        match encoder.finish(None) {
            Ok((file, ..)) => assert!(fits && decode(&file).is_ok()),
            Err(Error::DatabaseChecksum { stored, computed }) => {
                assert!(!fits);
                assert_eq!((stored, computed), (wrong, right));
            }
            Err(other) => panic!("{other}"),
        }
        header.checksums = monolite_ltx::DatabaseChecksums::Standard { pre: None };
        let mut encoder = Encoder::new(Vec::new(), header).unwrap();
        encoder.page(1, &page).unwrap();
        assert_eq!(encoder.finish(Some(post)).is_ok(), fits);
    }
}
