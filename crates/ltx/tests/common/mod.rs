//! What is in a file, as a value: made at random, written, read.
// Each test uses another part.
#![allow(dead_code)]

pub(crate) mod golden;
pub(crate) mod history;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use monolite_ltx::{
    Checksum, DatabaseChecksums, Decoder, Encoder, Header, Result, Trailer, Txid, WalSpan,
    lock_page,
};
use proptest::prelude::*;

pub(crate) type Pages = BTreeMap<u32, Vec<u8>>;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Content {
    pub(crate) header: Header,
    pub(crate) pages: Pages,
    /// The trailer's.
    pub(crate) post: Option<Checksum>,
}

pub(crate) fn plain_header(page_size: u32, commit: u32, min: u64, max: u64) -> Header {
    Header {
        page_size,
        commit,
        min: Txid(min),
        max: Txid(max),
        timestamp_ms: 1_767_225_600_000,
        checksums: DatabaseChecksums::None,
        wal: None,
        node_id: 0,
    }
}

pub(crate) fn encode(content: &Content) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), content.header).unwrap();
    for (pgno, page) in &content.pages {
        encoder.page(*pgno, page).unwrap();
    }
    let (file, trailer, bytes) = encoder.finish(content.post).unwrap();
    assert_eq!(trailer.post, content.post);
    assert_eq!(bytes, file.len() as u64);
    file
}

pub(crate) fn decode(file: &[u8]) -> Result<Content> {
    let mut decoder = Decoder::new(file)?;
    let header = *decoder.header();
    let (mut pages, mut page) = (Pages::new(), Vec::new());
    while let Some(pgno) = decoder.next_page(&mut page)? {
        assert_eq!(page.len(), header.page_size as usize);
        assert!(pages.insert(pgno, page.clone()).is_none());
    }
    let (rest, Trailer { post, .. }) = decoder.finish()?;
    assert!(rest.is_empty());
    Ok(Content {
        header,
        pages,
        post,
    })
}

/// Writes a file anew from its own blocks.
pub(crate) fn copy(file: &[u8]) -> Result<Vec<u8>> {
    let post = decode(file)?.post;
    let mut decoder = Decoder::new(file)?;
    let mut encoder = Encoder::new(Vec::new(), *decoder.header())?;
    let mut page = Vec::new();
    while let Some(pgno) = decoder.next_page(&mut page)? {
        encoder.page_compressed(pgno, &page, decoder.block())?;
    }
    let (_, read) = decoder.finish()?;
    let (copy, written, _) = encoder.finish(post)?;
    assert_eq!(read.post, written.post);
    Ok(copy)
}

/// The lines that the Go program reads and writes; our reserved bytes are
/// nothing to it.
pub(crate) fn describe(content: &Content) -> String {
    let header = content.header;
    let (flags, pre) = match header.checksums {
        DatabaseChecksums::Standard { pre } => (0, pre),
        _ => (2, None),
    };
    let wal = header.wal.unwrap_or(WalSpan {
        offset: 0,
        size: 0,
        salt1: 0,
        salt2: 0,
    });
    let mut text = format!(
        "header {flags} {} {} {} {} {} {} {} {} {} {} {}\n",
        header.page_size,
        header.commit,
        header.min.0,
        header.max.0,
        header.timestamp_ms,
        pre.map_or(0, Checksum::get),
        wal.offset,
        wal.size,
        wal.salt1,
        wal.salt2,
        header.node_id,
    );
    for (pgno, page) in &content.pages {
        write!(text, "page {pgno} ").unwrap();
        for byte in page {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    writeln!(text, "post {}", content.post.map_or(0, Checksum::get)).unwrap();
    text
}

/// Of all pages, as of a whole database.
pub(crate) fn checksum(pages: &Pages) -> Checksum {
    pages.iter().fold(Checksum::EMPTY, |sum, (pgno, page)| {
        sum.toggle(Checksum::of_page(*pgno, page))
    })
}

/// From easy to impossible to compress.
pub(crate) fn page(page_size: u32) -> impl Strategy<Value = Vec<u8>> {
    let length = page_size as usize;
    prop_oneof![
        any::<u8>().prop_map(move |byte| vec![byte; length]),
        prop::collection::vec(any::<u8>(), 1..40).prop_map(move |some| some
            .iter()
            .copied()
            .cycle()
            .take(length)
            .collect()),
        any::<u64>().prop_map(move |seed| noise(seed, length)),
        (any::<u64>(), 0..length).prop_map(move |(seed, some)| {
            let mut page = noise(seed, some);
            page.resize(length, 0);
            page
        }),
    ]
}

pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        })
        .collect()
}

pub(crate) fn page_size() -> impl Strategy<Value = u32> {
    prop_oneof![
        6 => Just(512),
        1 => prop::sample::select(vec![1024, 2048, 8192, 16384, 32768]),
        3 => Just(4096),
        1 => Just(65536),
    ]
}

pub(crate) fn content() -> impl Strategy<Value = Content> {
    page_size().prop_flat_map(content_of)
}

/// Of a page size: a snapshot or not, with and without checksums.
pub(crate) fn content_of(page_size: u32) -> impl Strategy<Value = Content> {
    let most = if page_size > 8192 { 3 } else { 12 };
    let snapshot = prop::collection::vec(page(page_size), 1..most)
        .prop_map(|pages| (true, (1..).zip(pages).collect::<Pages>(), 0));
    let lock = lock_page(page_size);
    let number = prop_oneof![
        4 => 1..100_u32,
        2 => lock - 3..lock + 4,
        1 => any::<u32>().prop_map(|pgno| pgno.max(1)),
        1 => Just(u32::MAX),
    ]
    .prop_filter("the lock page", move |pgno| *pgno != lock);
    let some = prop::collection::btree_map(number, page(page_size), 0..most);
    let more = prop_oneof![Just(0_u32), 0..1000_u32];
    let changes = (some, more).prop_map(|(pages, more)| (false, pages, more));
    let wal = (1..i64::MAX, 0..i64::MAX, any::<u32>(), any::<u32>());
    let wal = wal.prop_map(|(offset, size, salt1, salt2)| WalSpan {
        offset,
        size,
        salt1,
        salt2,
    });
    let told = (0..4_u8, any::<u64>(), any::<u64>());
    let transactions = (2..u64::MAX, any::<u64>());
    (
        prop_oneof![snapshot, changes],
        transactions,
        (any::<i64>(), any::<u64>(), prop::option::of(wal)),
        told,
    )
        .prop_map(
            move |((snapshot, pages, more), (min, span), (timestamp_ms, node_id, wal), told)| {
                let last = pages.keys().last().copied().unwrap_or(1);
                let min = if snapshot { 1 } else { min };
                let of = |bits: u64| Checksum::from_bits(bits | 1 << 63);
                let pre = if snapshot { None } else { of(told.1) };
                let post = if snapshot {
                    checksum(&pages)
                } else {
                    of(told.2).unwrap()
                };
                let checksums = match told.0 {
                    0 => DatabaseChecksums::None,
                    1 => DatabaseChecksums::Standard { pre },
                    2 => DatabaseChecksums::Reserved { pre, post },
                    _ => DatabaseChecksums::Reserved { pre: None, post },
                };
                let standard = matches!(checksums, DatabaseChecksums::Standard { .. });
                Content {
                    header: Header {
                        page_size,
                        commit: last.saturating_add(more),
                        min: Txid(min),
                        max: Txid(min.saturating_add(span)),
                        timestamp_ms,
                        checksums,
                        wal,
                        node_id,
                    },
                    pages,
                    post: standard.then_some(post),
                }
            },
        )
}
