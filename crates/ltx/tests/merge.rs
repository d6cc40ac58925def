//! Merging does what applying one file after the other does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::history::{History, changes};
use common::{Content, Pages, checksum, decode, encode};
use monolite_ltx::{Checksum, DatabaseChecksums, Decoder, Error, MergeFault, Txid, merge};
use proptest::prelude::*;

fn merged(files: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
    let inputs = files
        .iter()
        .map(|file| Decoder::new(file.as_slice()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut told = Vec::new();
    let (file, header, trailer, bytes) = merge(inputs, Vec::new(), |pgno| told.push(pgno))?;
    assert_eq!(bytes, file.len() as u64);
    let content = decode(&file).unwrap();
    assert_eq!(content.header, header);
    assert_eq!(content.post, trailer.post);
    assert_eq!(told, content.pages.keys().copied().collect::<Vec<_>>());
    Ok(file)
}

fn apply(state: &mut Pages, content: &Content) {
    state.extend(content.pages.clone());
    state.retain(|pgno, _| *pgno <= content.header.commit);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever is cut out of whatever history, in whatever parts.
    #[test]
    fn a_merged_file_leads_where_its_parts_lead(
        changes in changes(),
        cuts in prop::collection::vec((any::<bool>(), 0..3_u64), 9),
        first: prop::sample::Index,
        told: bool,
    ) {
        let history = History::new(&changes, told);
        let begin = first.index(changes.len()) as u64 + 1;
        let end = history.last();

        // Ranges that follow or overlap each other.
        let mut ranges = Vec::new();
        let mut next = begin;
        for (at, (_, back)) in (begin..=end).zip(&cuts).filter(|(at, (cut, _))| *cut || *at == end) {
            if next <= at {
                let min = next.saturating_sub(*back).max(begin);
                ranges.push(min..=at);
                next = at + 1;
            }
        }
        let contents: Vec<Content> = ranges.iter().map(|range| history.file(range.clone())).collect();
        let files: Vec<Vec<u8>> = contents.iter().map(encode).collect();
        let file = merged(&files).unwrap();
        let content = decode(&file).unwrap();

        let mut state = history.state(begin - 1).clone();
        apply(&mut state, &content);
        prop_assert_eq!(&state, history.state(end));

        let expected = history.file(begin..=end).header;
        prop_assert_eq!(content.header, expected);
        // Only what a part has, and the last version of it.
        for (pgno, page) in &content.pages {
            let last = contents.iter().rev().find_map(|part| part.pages.get(pgno));
            prop_assert_eq!(Some(page), last);
        }

        // In two steps it is the same file: blocks are copied.
        if files.len() > 2 {
            let half = merged(&files[..2]).unwrap();
            let mut rest = vec![half];
            rest.extend_from_slice(&files[2..]);
            prop_assert_eq!(merged(&rest).unwrap(), file);
        }
    }
}

fn three() -> History {
    History::new(
        &[
            (6, vec![(0, 1), (5, 2)]),
            (3, vec![(1, 3)]),
            (6, vec![(0, 4)]),
        ],
        true,
    )
}

fn fault(contents: &[Content]) -> MergeFault {
    let files: Vec<Vec<u8>> = contents.iter().map(encode).collect();
    match merged(&files).unwrap_err() {
        Error::Merge(fault) => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn what_does_not_follow_is_refused() {
    let history = three();
    let none: [Decoder<&[u8]>; 0] = [];
    assert!(matches!(
        merge(none.into(), Vec::new(), |_| {}).unwrap_err(),
        Error::Merge(MergeFault::NoInput)
    ));
    let not_contiguous = |min, max, previous| MergeFault::NotContiguous {
        min: Txid(min),
        max: Txid(max),
        previous: Txid(previous),
    };
    for (first, second) in [
        (1..=1, 3..=3),
        (1..=2, 2..=2),
        (2..=3, 1..=3),
        (3..=3, 2..=2),
    ] {
        let found = fault(&[history.file(first.clone()), history.file(second.clone())]);
        let expected = not_contiguous(*second.start(), *second.end(), *first.end());
        assert_eq!(found, expected);
    }
    let mut other = history.file(2..=2);
    other.header.page_size = 1024;
    other.pages = Pages::new();
    assert!(matches!(
        fault(&[history.file(1..=1), other]),
        MergeFault::PageSize {
            page_size: 1024,
            expected: 512,
            ..
        }
    ));
}

#[test]
fn two_histories_are_not_mixed() {
    let history = three();
    let mut other = history.file(2..=2);
    let foreign = Checksum::of_page(1, &[9; 512]);
    let DatabaseChecksums::Reserved { post, .. } = other.header.checksums else {
        panic!("told");
    };
    let pre = Some(foreign);
    other.header.checksums = DatabaseChecksums::Reserved { pre, post };
    let found = fault(&[history.file(1..=1), other.clone()]);
    let expected = MergeFault::History {
        min: Txid(2),
        max: Txid(2),
        pre: foreign,
        post: checksum(history.state(1)),
    };
    assert_eq!(found, expected);

    // Not told, it comes to light with a snapshot's pages.
    let pre = None;
    other.header.checksums = DatabaseChecksums::Reserved { pre, post };
    other.pages.insert(1, vec![8; 512]);
    let files = [encode(&history.file(1..=1)), encode(&other)];
    assert!(matches!(
        merged(&files).unwrap_err(),
        Error::DatabaseChecksum { .. }
    ));
}

#[test]
fn checksums_are_told_only_if_both_ends_are() {
    let history = three();
    let told = |first: DatabaseChecksums, last: DatabaseChecksums, begin: u64| {
        let mut files = [history.file(begin..=2), history.file(3..=3)];
        files[0].header.checksums = first;
        files[1].header.checksums = last;
        for file in &mut files {
            if let DatabaseChecksums::Standard { .. } = file.header.checksums {
                file.post = Some(checksum(history.state(file.header.max.0)));
            }
        }
        let file = merged(&files.map(|content| encode(&content))).unwrap();
        Decoder::new(file.as_slice()).unwrap().header().checksums
    };
    let (one, two, post) = (
        Some(checksum(history.state(1))),
        Some(checksum(history.state(2))),
        checksum(history.state(3)),
    );
    let middle = checksum(history.state(2));
    let none = DatabaseChecksums::None;
    let first = |pre| DatabaseChecksums::Reserved { pre, post: middle };
    let standard = |pre| DatabaseChecksums::Standard { pre };
    let last = DatabaseChecksums::Reserved { pre: two, post };
    let result = |pre| DatabaseChecksums::Reserved { pre, post };
    assert_eq!(told(first(one), last, 2), result(one));
    assert_eq!(told(first(None), last, 2), none);
    assert_eq!(told(none, last, 2), none);
    assert_eq!(told(standard(one), last, 2), result(one));
    assert_eq!(told(first(one), none, 2), none);
    assert_eq!(told(first(one), standard(two), 2), none);
    // A snapshot has nothing before it.
    assert_eq!(told(none, last, 1), result(None));
    assert_eq!(told(first(None), last, 1), result(None));
}

/// Page 5 of the first file was cut off by the second, and the third brings it
/// back without writing it: a file that lies.
#[test]
fn a_page_that_was_cut_off_does_not_come_back() {
    let history = three();
    let mut third = history.file(3..=3);
    third.pages.remove(&5).unwrap();
    let files = [1..=1, 2..=2].map(|range| encode(&history.file(range)));
    let [first, second] = files;
    match merged(&[first, second, encode(&third)]).unwrap_err() {
        Error::Page { pgno, .. } => assert_eq!(pgno, 6),
        other => panic!("{other}"),
    }
}

#[test]
fn a_damaged_input_is_named() {
    let history = three();
    let first = encode(&history.file(1..=1));
    let mut second = encode(&history.file(2..=2));
    let last = second.len() - 1;
    second[last] ^= 1;
    match merged(&[first.clone(), second.clone()]).unwrap_err() {
        Error::MergeInput { min, max, source } => {
            assert_eq!((min, max), (Txid(2), Txid(2)));
            assert!(matches!(*source, Error::FileChecksum { .. }));
        }
        other => panic!("{other}"),
    }
    second.truncate(110);
    let text = merged(&[first, second]).unwrap_err().to_string();
    assert_eq!(
        text,
        "cannot merge: the file 0000000000000002-0000000000000002: the LTX file ends too early, \
         at byte 110, in the pages: it is truncated"
    );
}

#[test]
fn an_input_that_was_read_from_is_refused() {
    let file = encode(&three().file(1..=1));
    let mut decoder = Decoder::new(file.as_slice()).unwrap();
    decoder.next_page(&mut Vec::new()).unwrap();
    assert!(matches!(
        merge(vec![decoder], Vec::new(), |_| {}).unwrap_err(),
        Error::Refused { .. }
    ));
}
