//! What is in the files of `tests/golden`.

use std::path::PathBuf;

use monolite_ltx::{Checksum, DatabaseChecksums, Header, WalSpan};

use super::{Content, Pages, checksum, plain_header};

/// A name, and what the file has.
pub(crate) type Golden = (&'static str, fn() -> Content);

/// Written by superfly/ltx v0.5.2 (`tests/go.rs` proves it).
pub(crate) const TODAY: [Golden; 3] = [
    ("standard-snapshot.ltx", standard_snapshot),
    ("standard-changes.ltx", standard_changes),
    ("litestream-changes.ltx", litestream_changes),
];

/// Written by superfly/ltx v0.5.1, as in Litestream before 0.5.16.
pub(crate) const OLD: Golden = ("old-frames.ltx", old_frames);

pub(crate) fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name]
        .iter()
        .collect()
}

pub(crate) fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

fn standard_snapshot() -> Content {
    let pages: Pages = [(1, pattern()), (2, vec![0; 512]), (3, incompressible())].into();
    Content {
        header: Header {
            checksums: DatabaseChecksums::Standard { pre: None },
            node_id: 0x0123_4567_89ab_cdef,
            ..plain_header(512, 3, 1, 1)
        },
        post: Some(checksum(&pages)),
        pages,
    }
}

fn standard_changes() -> Content {
    let pre = standard_snapshot().post;
    let mut pages = standard_snapshot().pages;
    pages.insert(2, incompressible());
    pages.remove(&3);
    let post = Some(checksum(&pages));
    pages.remove(&1);
    Content {
        header: Header {
            checksums: DatabaseChecksums::Standard { pre },
            timestamp_ms: -1,
            ..plain_header(512, 2, 2, 0xfedc)
        },
        pages,
        post,
    }
}

fn litestream_changes() -> Content {
    let wal = WalSpan {
        offset: 32,
        size: 2 * 536,
        salt1: 0xdead_beef,
        salt2: 7,
    };
    Content {
        header: Header {
            wal: Some(wal),
            ..plain_header(512, 3_000_000, 2, 3)
        },
        // The lock page is 2,097,153.
        pages: [
            (1, pattern()),
            (4, vec![0; 512]),
            (2_097_152, incompressible()),
            (2_097_154, pattern()),
        ]
        .into(),
        post: None::<Checksum>,
    }
}

fn old_frames() -> Content {
    Content {
        header: Header {
            timestamp_ms: 1_767_225_600_123,
            ..plain_header(512, 9, 2, 3)
        },
        pages: [(1, vec![0; 512]), (4, pattern()), (9, incompressible())].into(),
        post: None,
    }
}

fn pattern() -> Vec<u8> {
    (0..=6).cycle().take(512).collect()
}

fn incompressible() -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(512).collect()
}
