//! Everything that can be wrong with a file, or with what one is made of.

use std::io;

use crate::{Checksum, Txid};

/// What this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that is no transaction id.
    #[error("{0:?} is no transaction id: 16 hexadecimal digits are needed")]
    Txid(String),
    /// A text that is no checksum.
    #[error("{0:?} is no checksum: 16 hexadecimal digits are needed, the first of them 8 to f")]
    Checksum(String),
    /// A name that is none of an LTX file.
    #[error(
        "{0:?} is no name of an LTX file: `<min>-<max>.ltx` is needed, 16 lower-case hexadecimal digits each, with 1 <= min <= max"
    )]
    FileName(String),
    /// The file does not begin as an LTX file does.
    #[error("this is no LTX file: it begins with {:?}, not with \"LTX1\"", String::from_utf8_lossy(.0))]
    NotLtx([u8; 4]),
    /// A field of the header has a value that it cannot have.
    #[error("the LTX header is wrong: {field} {value}: {why}")]
    Header {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file ends too early.
    #[error("the LTX file ends too early, at byte {offset}, in {part}: it is truncated")]
    Truncated {
        /// In which part.
        part: &'static str,
        /// Its size.
        offset: u64,
    },
    /// The reader failed.
    #[error("cannot read {part} of an LTX file at byte {offset}: {source}")]
    Read {
        /// Which part.
        part: &'static str,
        /// From where.
        offset: u64,
        /// The reader's answer.
        source: io::Error,
    },
    /// The writer failed.
    #[error("cannot write {part} of an LTX file at byte {offset}: {source}")]
    Write {
        /// Which part.
        part: &'static str,
        /// To where.
        offset: u64,
        /// The writer's answer.
        source: io::Error,
    },
    /// A page cannot be where it is, or cannot be read.
    #[error("page {pgno} at byte {offset} of the LTX file is wrong: {why}")]
    Page {
        /// Its number.
        pgno: u32,
        /// Where its frame begins.
        offset: u64,
        /// What is wrong.
        why: PageFault,
    },
    /// The index at the end is not that of the pages.
    #[error("the page index of the LTX file is wrong at byte {offset}: {why}")]
    Index {
        /// Where.
        offset: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// The bytes given do not hold the whole index.
    #[error(
        "the last {needed} bytes of the LTX file are needed to read its page index; there are {given}"
    )]
    IndexBeyond {
        /// How many bytes are needed.
        needed: u64,
        /// How many there are.
        given: u64,
    },
    /// The trailer has a value that it cannot have.
    #[error("the trailer of the LTX file is wrong: {field} {value:016x}: {why}")]
    Trailer {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file is not what was written.
    #[error("the LTX file is damaged: its checksum is {computed}, its trailer says {stored}")]
    FileChecksum {
        /// What the trailer says.
        stored: Checksum,
        /// What the bytes give.
        computed: Checksum,
    },
    /// The pages of a snapshot are not the database it says.
    #[error(
        "the pages of the snapshot have the checksum {computed}, not {stored} as it says: they are not the state of the database that was meant"
    )]
    DatabaseChecksum {
        /// What the file says.
        stored: Checksum,
        /// What the pages give.
        computed: Checksum,
    },
    /// There is something after the end.
    #[error("there are bytes after the end of the LTX file, at byte {offset}")]
    TrailingBytes {
        /// Where the file should end.
        offset: u64,
    },
    /// A snapshot that lacks pages.
    #[error("the snapshot ends after page {last} and should hold all pages up to {commit}")]
    Incomplete {
        /// The last page there is; 0 if there is none.
        last: u32,
        /// How many pages the database has.
        commit: u32,
    },
    /// What was asked of an encoder or decoder does not fit its file.
    #[error("cannot {what}: {why}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// Files that cannot be merged.
    #[error("cannot merge LTX files: {0}")]
    Merge(#[from] MergeFault),
    /// Something is wrong with one of the files being merged.
    #[error("cannot merge: the file {min}-{max}: {source}")]
    MergeInput {
        /// Its first transaction.
        min: Txid,
        /// Its last transaction.
        max: Txid,
        /// What is wrong.
        source: Box<Self>,
    },
}

/// What is wrong with a page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageFault {
    /// Flags nobody knows.
    #[error("its flags are {0:#06x}, and only 0x0001 is known")]
    Flags(u16),
    /// A frame that no Litestream since 0.5.0 wrote.
    #[error(
        "it is of an older LTX page format, or damaged: this program reads LTX version 3, which Litestream writes since 0.5.0"
    )]
    OldFormat,
    /// Page 0.
    #[error("page numbers count from 1")]
    Zero,
    /// The lock page.
    #[error("it is the lock page, which is in no file")]
    LockPage,
    /// Not in order.
    #[error("it comes after page {0}, and page numbers must rise")]
    Order(u32),
    /// A page of a snapshot is missing.
    #[error("it comes after page {0}, and a snapshot must hold every page")]
    Gap(u32),
    /// Beyond the end of the database.
    #[error("the database has only {0} pages after this file")]
    BeyondCommit(u32),
    /// More compressed bytes than a page can have.
    #[error("it has {size} compressed bytes, and {bound} is the most a page can have")]
    TooLong {
        /// How many it says.
        size: u32,
        /// The bound.
        bound: u32,
    },
    /// Its bytes are no LZ4 block.
    #[error("its bytes are no LZ4 block of a page: {0}")]
    Lz4(String),
    /// A frame that an index leads to is another page's.
    #[error("there is page {0} instead")]
    Other(u32),
    /// A frame is shorter than the index says.
    #[error("its frame ends earlier than the index says")]
    FrameSize,
    /// Not as long as a page.
    #[error("it has {actual} bytes, and a page has {page_size}")]
    Length {
        /// How many it has.
        actual: usize,
        /// How many a page has.
        page_size: u32,
    },
}

/// Why files cannot be merged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeFault {
    /// Nothing given.
    #[error("there is none")]
    NoInput,
    /// Another page size.
    #[error("{min}-{max} has pages of {page_size} bytes, the first file of {expected}")]
    PageSize {
        /// The file's first transaction.
        min: Txid,
        /// Its last transaction.
        max: Txid,
        /// Its page size.
        page_size: u32,
        /// That of the first file.
        expected: u32,
    },
    /// Not one after the other.
    #[error(
        "{min}-{max} does not lead on from {previous}: it must begin at or before the transaction after that, and end later"
    )]
    NotContiguous {
        /// The file's first transaction.
        min: Txid,
        /// Its last transaction.
        max: Txid,
        /// The last transaction of the file before.
        previous: Txid,
    },
    /// Another history.
    #[error(
        "{min}-{max} begins on a database with the checksum {pre}, but the file before it ends with {post}: they are of different histories"
    )]
    History {
        /// The file's first transaction.
        min: Txid,
        /// Its last transaction.
        max: Txid,
        /// The checksum it begins on.
        pre: Checksum,
        /// The checksum the file before ends with.
        post: Checksum,
    },
}
