//! Encrypted files: what reads back, and what does not.

use monolite_ltx::Txid;
use proptest::prelude::*;

use super::*;

fn key(byte: u8) -> Key {
    Key::parse(&format!("{byte:02x}").repeat(32)).unwrap()
}

fn label(database: &str, max: u64) -> Label {
    let file = FileInfo {
        level: 0,
        min: Txid(1),
        max: Txid(max),
        size: 0,
        stored_ms: 0,
        sealed: true,
    };
    Label::new(database, &file)
}

fn seal(plain: &[u8]) -> Vec<u8> {
    let mut sealer = Encryptor::new(&key(1), label("app", 1)).unwrap();
    let mut sealed = sealer.head().to_vec();
    let mut chunks = plain.chunks(CHUNK).peekable();
    if plain.is_empty() {
        let mut chunk = Vec::new();
        sealer.chunk(&mut chunk, true).unwrap();
        sealed.append(&mut chunk);
    }
    while let Some(chunk) = chunks.next() {
        let mut chunk = chunk.to_vec();
        sealer.chunk(&mut chunk, chunks.peek().is_none()).unwrap();
        sealed.append(&mut chunk);
    }
    sealed
}

fn open_with(sealed: &[u8], step: usize, key: &Key, labels: Vec<Label>) -> Option<Vec<u8>> {
    let mut opener = Decryptor::new(key, labels);
    let mut plain = Vec::new();
    for bytes in sealed.chunks(step) {
        plain.append(&mut opener.push(bytes).ok()?);
    }
    plain.append(&mut opener.finish().ok()?);
    Some(plain)
}

fn open(sealed: &[u8]) -> Option<Vec<u8>> {
    open_with(sealed, 10_000, &key(1), vec![label("app", 1)])
}

fn content(size: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(size as u64);
    (0..size).map(|_| rng.u8(..)).collect()
}

/// Around the bounds of chunks.
fn sizes() -> impl Strategy<Value = usize> {
    let bound = (0..3_usize, 0..40_usize);
    bound.prop_map(|(chunks, more)| (chunks * CHUNK + more).saturating_sub(20))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_was_sealed_opens(size in sizes(), step in 1..200_000_usize) {
        let plain = content(size);
        let sealed = seal(&plain);
        prop_assert_eq!(sealed.len() as u64, sealed_size(size as u64));
        let step = step.max(sealed.len() / 1000);
        let opened = open_with(&sealed, step, &key(1), vec![label("app", 1)]);
        prop_assert_eq!(opened, Some(plain));
    }

    #[test]
    fn one_changed_bit_does_not(size in sizes(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut sealed = seal(&content(size));
        let at = at.index(sealed.len());
        sealed[at] ^= 1_u8 << bit;
        prop_assert_eq!(open(&sealed), None);
    }

    #[test]
    fn one_cut_short_or_lengthened_does_not(size in sizes(), to in any::<prop::sample::Index>()) {
        let sealed = seal(&content(size));
        prop_assert_eq!(open(&sealed[..to.index(sealed.len())]), None);
        let mut more = sealed.clone();
        more.push(0);
        prop_assert_eq!(open(&more), None);
    }

    #[test]
    fn hostile_bytes_do_not(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(open(&bytes), None);
        let mut with_head = MAGIC.to_vec();
        with_head.extend(bytes);
        prop_assert_eq!(open(&with_head), None);
    }
}

#[test]
fn a_file_cut_between_chunks_does_not_open() {
    let sealed = seal(&content(3 * CHUNK));
    for chunks in 0..3 {
        assert_eq!(
            open(&sealed[..HEAD + chunks * SEALED_CHUNK]),
            None,
            "{chunks}"
        );
    }
}

#[test]
fn chunks_cannot_be_swapped_repeated_or_taken_from_another_file() {
    let plain = content(3 * CHUNK);
    let (one, other) = (seal(&plain), seal(&plain));
    let chunk = |sealed: &[u8], number: usize| {
        let start = HEAD + number * SEALED_CHUNK;
        sealed[start..start + SEALED_CHUNK].to_vec()
    };
    let with = |chunks: [Vec<u8>; 3]| {
        let mut sealed = one[..HEAD].to_vec();
        sealed.extend(chunks.concat());
        sealed
    };
    let [a, b, c] = [0, 1, 2].map(|number| chunk(&one, number));
    assert_eq!(open(&with([a.clone(), b.clone(), c.clone()])), Some(plain));
    assert_eq!(open(&with([b.clone(), a.clone(), c.clone()])), None);
    assert_eq!(open(&with([a.clone(), a.clone(), c.clone()])), None);
    assert_eq!(open(&with([a.clone(), c.clone(), b.clone()])), None);
    assert_eq!(open(&with([a, chunk(&other, 1), c])), None);
}

#[test]
fn another_key_or_another_name_does_not_open_it() {
    let sealed = seal(b"content");
    let with = |key: u8, labels: Vec<Label>| open_with(&sealed, 1, &self::key(key), labels);
    assert!(with(1, vec![label("app", 1)]).is_some());
    assert!(with(2, vec![label("app", 1)]).is_none());
    assert!(with(1, vec![label("app", 2)]).is_none());
    assert!(with(1, vec![label("ap", 1)]).is_none());
    assert!(with(1, vec![label("x/app", 1), label("app", 1)]).is_some());
    assert!(with(1, vec![]).is_none());
}

#[test]
fn the_same_content_is_never_sealed_alike() {
    assert_ne!(seal(b"content"), seal(b"content"));
}

#[test]
fn the_last_chunk_opens_alone() {
    for size in [0, 1, 15, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
        let plain = content(size);
        let sealed = seal(&plain);
        let (range, number) = last_chunk(sealed.len() as u64).unwrap();
        let chunk = &sealed[range.start as usize..range.end as usize];
        let opener = || Decryptor::new(&key(1), vec![label("app", 1)]);
        let last = opener().only(&sealed[..HEAD], number, chunk, true).unwrap();
        assert!(plain.ends_with(&last), "{size}");
        assert_eq!(last.is_empty(), size == 0, "{size}");
        assert!(
            opener()
                .only(&sealed[..HEAD], number, chunk, false)
                .is_err()
        );
    }
    for size in 0..(HEAD + TAG) {
        assert_eq!(last_chunk(size as u64), None, "{size}");
    }
}

#[test]
fn a_key_is_never_shown() {
    let text = format!("{:?}", key(0xab));
    assert_eq!(text, "Key(..)");
    let sealer = Encryptor::new(&key(0xab), label("app", 1)).unwrap();
    assert!(!format!("{sealer:?}").contains("171"));
    let opener = Decryptor::new(&key(0xab), vec![]);
    assert!(!format!("{opener:?}").contains("171"));
}
