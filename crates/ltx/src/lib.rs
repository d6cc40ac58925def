//! LTX, the file format of SQLite replication, in its version 3: encode, decode,
//! merge.
//!
//! An LTX file holds the pages of a database that a range of transactions
//! changed, each in its last version. Applied to the state before the range it
//! makes the state after it; a file whose range begins with transaction 1 is a
//! *snapshot*, and makes that state out of nothing. The format is that of the Go
//! implementation, `github.com/superfly/ltx` v0.5.2, which Litestream uses since
//! 0.5.16: the two read each other's files. Those of Litestream 0.5.0 to 0.5.15
//! are read, too, but these versions cannot read ours.
//!
//! This crate does no input or output of its own, holds no more in memory than a
//! page or two (and, writing, three bytes for every page), and takes nothing in a
//! file for true before it is checked.
//!
//! ```
//! use monolite_ltx::{DatabaseChecksums, Decoder, Encoder, Header, Txid};
//!
//! let header = Header {
//!     page_size: 512,
//!     commit: 9,
//!     min: Txid(2),
//!     max: Txid(2),
//!     timestamp_ms: 1_767_225_600_000,
//!     checksums: DatabaseChecksums::None,
//!     wal: None,
//!     node_id: 0,
//! };
//! let mut encoder = Encoder::new(Vec::new(), header)?;
//! encoder.page(1, &[1; 512])?;
//! encoder.page(7, &[7; 512])?;
//! let (file, written, _bytes) = encoder.finish(None)?;
//!
//! let mut decoder = Decoder::new(file.as_slice())?;
//! let mut page = Vec::new();
//! while let Some(pgno) = decoder.next_page(&mut page)? {
//!     assert_eq!(page, vec![u8::try_from(pgno)?; 512]);
//! }
//! let (_rest, read) = decoder.finish()?;
//! assert_eq!(read, written);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The format
//!
//! Header, page frames, six zero bytes, index, trailer; nothing else, nothing
//! between. Integers are unsigned and big-endian unless stated otherwise; a
//! *varint* is that of protobuf and of Go's `binary.Uvarint` (seven bits a byte,
//! lowest first, bit 7 set on all but the last). In brackets: where the fact is
//! from, as file of superfly/ltx v0.5.2 and function or type; *ours* is what this
//! crate demands or adds beyond that.
//!
//! ## Header: 100 bytes \[`ltx.go`: `Header.MarshalBinary`, `Validate`\]
//!
//! | at | size | what |
//! |---|---|---|
//! | 0 | 4 | `LTX1`. Versions 1 and 2 have it too: there is no number of the version |
//! | 4 | 4 | flags: `0x2` NoChecksum; all others must be 0 |
//! | 8 | 4 | page size: a power of two, 512 to 65536 |
//! | 12 | 4 | commit: the database's size after the last transaction, in pages |
//! | 16 | 8 | first transaction, at least 1 |
//! | 24 | 8 | last transaction, not before the first |
//! | 32 | 8 | time of the last transaction: milliseconds since 1970, signed |
//! | 40 | 8 | pre-apply checksum: of the database before. 0 with NoChecksum or on a snapshot, else bit 63 is set |
//! | 48 | 8 | offset in the WAL it was made from, signed, not negative |
//! | 56 | 8 | bytes of that WAL, signed, not negative |
//! | 64 | 4 | that WAL's first salt |
//! | 68 | 4 | that WAL's second salt |
//! | 72 | 8 | number of the node that wrote it, or 0 |
//! | 80 | 20 | reserved: written as 0, read as anything, part of the file's checksum. *Ours*: see below |
//!
//! If the size or a salt of the WAL is not 0, its offset must not be. A merged
//! file has no WAL \[`compactor.go`: `Compact`\]; Go gives it no node either, we
//! keep that of the last part.
//!
//! ### Database checksums
//!
//! The checksum of a page is the CRC-64/GO-ISO (reflected, polynomial 0x1b,
//! initial value and final exclusive or all ones; of `123456789` it is
//! `b90956c775a41001`) over its number in four bytes and the page, with bit 63
//! set. That of a database is the exclusive or over all its pages but the lock
//! page, bit 63 always set; of none, just bit 63 \[`checksum.go`: `ChecksumPage`;
//! `decoder.go`: `DecodePage`\]. So it is kept up to date page by page.
//!
//! A file has it in one of three ways, [`DatabaseChecksums`]:
//!
//! - `Standard`: flags 0, one before in the header, one after in the trailer.
//! - `None`: NoChecksum, both fields 0. All of Litestream's files: it refuses to
//!   restore files with any other.
//! - `Reserved`, *ours*: NoChecksum as before, and in the reserved bytes what
//!   Litestream need not know.
//!
//! | at | size | what |
//! |---|---|---|
//! | 80 | 4 | `MDB1`; anything else, and what follows means nothing |
//! | 84 | 8 | checksum of the database before: 0 on a snapshot or if unknown, else bit 63 is set |
//! | 92 | 8 | checksum of the database after: bit 63 is set |
//!
//! The tag counts only with NoChecksum. Other bytes there are passed over, and
//! not kept when a file is written again.
//!
//! ## Page frames \[`encoder.go`: `EncodePage`; `decoder.go`: `DecodePage`\]
//!
//! | at | size | what |
//! |---|---|---|
//! | 0 | 4 | page number, counted from 1 |
//! | 4 | 2 | flags: `0x1`, the length follows and the page is an LZ4 *block* |
//! | 6 | 4 | length of the block |
//! | 10 | … | the LZ4 block, without any frame around it; it yields exactly a page |
//!
//! - Page numbers rise. A snapshot has every page from 1 to commit.
//! - The lock page, `0x4000_0000 / page size + 1`, is in no file: SQLite never
//!   writes it. In a database it is zeros.
//! - A file that is no snapshot must have every page by which the database grew,
//!   or merging it into a snapshot fails. A file alone cannot show that.
//! - No page is above commit.
//! - *Ours*: all this also when reading, a block must yield a whole page, it must
//!   not be longer than page size + page size / 255 + 16, which is what literals
//!   alone take, and a snapshot must go up to its last page. Go's encoder can
//!   write nothing else but for the last of these; its decoder checks none.
//!
//! Six zero bytes, a page header without a page, end the frames.
//!
//! ### Older frames \[ltx v0.5.1, `encoder.go`: `EncodePage`, `writeCompressed`\]
//!
//! ltx v0.5.0 and v0.5.1, thus Litestream 0.5.0 to 0.5.15, wrote flags 0, no
//! length, and an LZ4 *frame*, and refuse flag `0x1`. They are read and never
//! written; everything else of the format is the same.
//!
//! | at | size | what |
//! |---|---|---|
//! | 0 | 4 | page number |
//! | 4 | 2 | flags: 0 |
//! | 6 | 7 | `04 22 4d 18 64 40 a7`: the head of an LZ4 frame, always this one |
//! | 13 | 4 | length of the block, **little-endian**; with bit 31 set it is the page, not compressed |
//! | 17 | … | the LZ4 block, or the page |
//! | … | 4 | 0: no further block |
//! | … | 4 | xxHash-32 of the page; *ours*: not looked at, the file's checksum covers the page |
//!
//! The file's checksum covers the first six bytes and the page. Version 2 had no
//! flags either; it is refused as [`PageFault::OldFormat`].
//!
//! ## Page index \[`encoder.go`: `encodePageIndex`\]
//!
//! For each frame, in order, three varints: page number, offset of the frame in
//! the file, size of the whole frame. Then a varint 0. Then eight
//! bytes: how many bytes these varints have, the 0 with them. From the end of a
//! file one finds it so: the length is at −24 ([`PageIndex`]).
//!
//! *Ours*: the index must be, byte for byte, that of the frames.
//!
//! ## Trailer: 16 bytes \[`ltx.go`: `Trailer.MarshalBinary`, `Validate`\]
//!
//! | at | size | what |
//! |---|---|---|
//! | 0 | 8 | post-apply checksum: of the database after. 0 with NoChecksum, else bit 63 is set |
//! | 8 | 8 | checksum of the file |
//!
//! Of a database without pages (commit 0) the post-apply checksum is just bit 63.
//! The Go implementation therefore cannot write commit 0 with NoChecksum
//! \[`encoder.go`: `Close`\], though it reads that; so does this crate.
//!
//! The file's checksum is a CRC-64/GO-ISO with bit 63 set, over: the header;
//! for each page the bytes before its block (six of an older frame, else ten) and
//! then the page **as it was before
//! compression**; the six zero bytes; the index with its length; the post-apply
//! checksum \[`decoder.go`: `DecodePage`, `Close`\]. Two files may therefore
//! differ in their blocks and have the same checksum, if the lengths agree.
//!
//! ## Names \[`ltx.go`: `FormatFilename`, `ParseFilename`\]
//!
//! `<first>-<last>.ltx`, each as 16 lower-case hexadecimal digits: [`FileName`].

mod checksum;
mod decoder;
mod encoder;
mod error;
mod frame;
mod header;
mod index;
mod index_builder;
mod index_check;
mod layout;
mod merge;
mod name;
mod old_frame;
mod rolling;
mod sequence;
mod sink;
mod source;
mod trailer;
mod txid;

pub use crate::checksum::Checksum;
pub use crate::decoder::Decoder;
pub use crate::encoder::Encoder;
pub use crate::error::{Error, MergeFault, PageFault, Result};
pub use crate::header::{DatabaseChecksums, Header, WalSpan};
pub use crate::index::{IndexEntry, PageIndex};
pub use crate::merge::merge;
pub use crate::name::FileName;
pub use crate::trailer::Trailer;
pub use crate::txid::Txid;
pub use monolite_sqlite_format::lock_page;
