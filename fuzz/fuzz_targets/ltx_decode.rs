//! Any bytes as an LTX file: an error or a file, never a panic, and never more
//! memory than a file of that length can need.
//!
//! `cargo fuzz run ltx_decode`, with `crates/ltx/tests/golden` as a corpus.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use monolite_ltx::{Decoder, Encoder, Error, Header, PageIndex, merge};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let mut bytes = bytes.to_vec();
    // No mutation hits the checksum: the error tells it.
    let whole = Decoder::new(bytes.as_slice()).and_then(Decoder::finish);
    if let (Err(Error::FileChecksum { computed, .. }), Some(end)) =
        (whole.map(|_| ()), bytes.last_chunk_mut())
    {
        *end = computed.get().to_be_bytes();
    }
    match Header::parse(bytes.first_chunk().unwrap_or(&[0; Header::SIZE])) {
        Ok(header) => {
            file(&bytes, &header);
            index(&bytes, &header);
            Corpus::Keep
        }
        Err(_) => Corpus::Reject,
    }
});

fn file(bytes: &[u8], header: &Header) {
    let Ok(mut decoder) = Decoder::new(bytes) else {
        panic!("the header can be read");
    };
    let (mut pages, mut page) = (Vec::new(), Vec::new());
    while let Ok(Some(pgno)) = decoder.next_page(&mut page) {
        assert_eq!(page.len(), header.page_size as usize);
        assert!(0 < pgno && pgno <= header.commit);
        pages.push((pgno, page.clone(), decoder.block().to_vec()));
    }

    // What was read can be written, if such a file may be written at all.
    let Ok(mut encoder) = Encoder::new(Vec::new(), *header) else {
        return;
    };
    for (pgno, page, block) in &pages {
        encoder
            .page_compressed(*pgno, page, block)
            .expect("a page that was read can be written");
    }
    let Ok((_, trailer)) = decoder.finish() else {
        return;
    };
    let (written, ..) = encoder.finish(trailer.post).expect("a file that was read");
    Decoder::new(written.as_slice())
        .and_then(Decoder::finish)
        .expect("a file that was written");
    if header.commit > 0 {
        let again = Decoder::new(bytes).expect("a header that was read");
        merge(vec![again], Vec::new(), |_| {}).expect("a file that was read");
    }
}

fn index(bytes: &[u8], header: &Header) {
    let size = bytes.len() as u64;
    let Ok(index) = PageIndex::parse(bytes, size, header) else {
        return;
    };
    let mut page = Vec::new();
    for entry in index.entries() {
        let begin = usize::try_from(entry.offset).expect("inside the file");
        let frame = &bytes[begin..begin + entry.size as usize];
        // What the index leads to may be anything.
        let _ = entry.decode(frame, header.page_size, &mut page);
    }
}
