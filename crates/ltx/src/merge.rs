//! Several files into one: compaction.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{Read, Write};

use crate::{
    DatabaseChecksums, Decoder, Encoder, Error, Header, MergeFault, Result, Trailer, Txid,
};

/// Writes one file that leads where `inputs` lead one after the other.
///
/// Each input must begin at or before the transaction after the one that the
/// input before ends with, and must end later. Of a page, the last version
/// counts; pages that the database no longer has are left out; LZ4 blocks are
/// copied as they are. The inputs are checked to their ends, and an error means
/// that what was written is worth nothing.
///
/// The output has the NoChecksum flag. It has [`DatabaseChecksums::Reserved`]
/// if the last input has and the first has the checksum it began on, or is a
/// snapshot; a snapshot's pages are then compared with that, which proves the
/// whole chain. `progress` is called with each page number written. Returns what
/// [`Encoder::finish`] does, and the header.
pub fn merge<R: Read, W: Write>(
    inputs: Vec<Decoder<R>>,
    out: W,
    mut progress: impl FnMut(u32),
) -> Result<(W, Header, Trailer, u64)> {
    let header = merged_header(&inputs)?;
    let mut encoder = Encoder::new(out, header)?;
    let mut inputs = Input::all(inputs);

    // The lowest page number first; of the same, the last input's.
    let mut waiting = BinaryHeap::with_capacity(inputs.len());
    for (at, input) in inputs.iter_mut().enumerate() {
        waiting.extend(input.advance()?.map(|pgno| (Reverse(pgno), at)));
    }
    let mut written = 0;
    while let Some((Reverse(pgno), at)) = waiting.pop() {
        let input = &mut inputs[at];
        // No page is 0: the first one differs from it.
        if pgno != written && pgno <= input.kept {
            encoder.page_compressed(pgno, &input.page, input.decoder.block())?;
            progress(pgno);
        }
        // Also when the last version is of a page that was cut off later: the
        // earlier ones must not come back.
        written = pgno;
        waiting.extend(input.advance()?.map(|pgno| (Reverse(pgno), at)));
    }

    for input in inputs {
        input.finish()?;
    }
    let (out, trailer, bytes) = encoder.finish(None)?;
    Ok((out, header, trailer, bytes))
}

/// One of the files.
struct Input<R: Read> {
    decoder: Decoder<R>,
    page: Vec<u8>,
    /// Pages above this were cut off by a later file, or by this one.
    kept: u32,
}

impl<R: Read> Input<R> {
    fn all(decoders: Vec<Decoder<R>>) -> Vec<Self> {
        let mut inputs: Vec<_> = decoders
            .into_iter()
            .map(|decoder| Self {
                kept: decoder.header().commit,
                page: Vec::new(),
                decoder,
            })
            .collect();
        let mut kept = u32::MAX;
        for input in inputs.iter_mut().rev() {
            kept = kept.min(input.kept);
            input.kept = kept;
        }
        inputs
    }

    fn advance(&mut self) -> Result<Option<u32>> {
        let Header { min, max, .. } = *self.decoder.header();
        self.decoder
            .next_page(&mut self.page)
            .map_err(|source| of_input(min, max, source))
    }

    fn finish(self) -> Result<()> {
        let Header { min, max, .. } = *self.decoder.header();
        match self.decoder.finish() {
            Ok(_) => Ok(()),
            Err(source) => Err(of_input(min, max, source)),
        }
    }
}

fn of_input(min: Txid, max: Txid, source: Error) -> Error {
    Error::MergeInput {
        min,
        max,
        source: Box::new(source),
    }
}

fn merged_header<R: Read>(inputs: &[Decoder<R>]) -> Result<Header> {
    let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
        return Err(MergeFault::NoInput.into());
    };
    if !inputs.iter().all(Decoder::is_fresh) {
        return Err(Error::Refused {
            what: "merge an LTX file",
            why: "pages were read from it already",
        });
    }
    for pair in inputs.windows(2) {
        if let [before, after] = pair {
            check_pair(before.header(), after.header())?;
        }
    }
    let (first, last) = (first.header(), last.header());
    Ok(Header {
        min: first.min,
        checksums: merged_checksums(first, last),
        // Meaningless for what is of several parts. Who wrote the last state is
        // not, and stays.
        wal: None,
        ..*last
    })
}

fn check_pair(before: &Header, after: &Header) -> Result<(), MergeFault> {
    let (min, max, previous) = (after.min, after.max, before.max);
    if before.page_size != after.page_size {
        return Err(MergeFault::PageSize {
            min,
            max,
            page_size: after.page_size,
            expected: before.page_size,
        });
    }
    if min > previous.next() || max <= previous {
        return Err(MergeFault::NotContiguous { min, max, previous });
    }
    if let (DatabaseChecksums::Reserved { post, .. }, Some(pre)) = (before.checksums, pre(after))
        && min == previous.next()
        && post != pre
    {
        return Err(MergeFault::History {
            min,
            max,
            pre,
            post,
        });
    }
    Ok(())
}

fn merged_checksums(first: &Header, last: &Header) -> DatabaseChecksums {
    match last.checksums {
        DatabaseChecksums::Reserved { post, .. } if first.is_snapshot() || pre(first).is_some() => {
            DatabaseChecksums::Reserved {
                pre: pre(first),
                post,
            }
        }
        _ => DatabaseChecksums::None,
    }
}

const fn pre(header: &Header) -> Option<crate::Checksum> {
    match header.checksums {
        DatabaseChecksums::None => None,
        DatabaseChecksums::Standard { pre } | DatabaseChecksums::Reserved { pre, .. } => pre,
    }
}
