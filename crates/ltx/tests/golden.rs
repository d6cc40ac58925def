//! Files that the Go implementation wrote are read, and written again as they
//! are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::golden::{OLD, TODAY, bytes};
use common::{copy, decode, encode};
use monolite_ltx::{Decoder, Header, PageIndex, merge};

#[test]
fn files_of_today_are_read_and_written_as_they_are() {
    for (name, content) in TODAY {
        let (file, content) = (bytes(name), content());
        assert_eq!(decode(&file).unwrap(), content, "{name}");
        assert_eq!(copy(&file).unwrap(), file, "{name}");
        // Our own compression may be another.
        let ours = encode(&content);
        assert_eq!(decode(&ours).unwrap(), content, "{name}");
    }
}

#[test]
fn old_frames_are_read_and_become_new_ones() {
    let (name, content) = OLD;
    let (file, content) = (bytes(name), content());
    assert_eq!(decode(&file).unwrap(), content);

    // Copied and merged, they have blocks: also of the page that was stored as
    // such.
    let new = copy(&file).unwrap();
    assert_eq!(decode(&new).unwrap(), content);
    assert_eq!(new[100..106], [0, 0, 0, 1, 0, 1]);
    let input = Decoder::new(file.as_slice()).unwrap();
    let (merged, ..) = merge(vec![input], Vec::new(), |_| {}).unwrap();
    assert_eq!(merged, new);

    let index = PageIndex::parse(&file, file.len() as u64, &content.header).unwrap();
    assert_eq!(index.entries().len(), content.pages.len());
    let mut page = Vec::new();
    for entry in index.entries() {
        let begin = usize::try_from(entry.offset).unwrap();
        let frame = &file[begin..begin + entry.size as usize];
        entry.decode(frame, 512, &mut page).unwrap();
        assert_eq!(page, content.pages[&entry.pgno]);
    }
}

#[test]
fn damage_of_files_of_go_is_refused() {
    for (name, content) in TODAY.into_iter().chain([OLD]) {
        let (mut file, content) = (bytes(name), content());
        for length in 0..file.len() {
            assert!(decode(&file[..length]).is_err(), "{name}: {length} bytes");
        }
        for at in 0..file.len() {
            for flip in [1, 0x80, 0xff] {
                file[at] ^= flip;
                if let Ok(other) = decode(&file) {
                    assert_eq!(other, content, "{name}: byte {at}");
                    assert!(at > Header::SIZE);
                }
                file[at] ^= flip;
            }
        }
    }
}
