//! The files that replication keeps on the volume, for one database in one
//! destination.
//!
//! | suffix | content | if it is lost |
//! |---|---|---|
//! | `.map` | the checksums of the pages that the replica holds ([`PageMap`](crate::map::PageMap)) | it is made from the replica |
//! | `.sent` | which states were sent ([`SentRecord`](super::sent_record::SentRecord)) | the replica's state must equal the database's |
//! | `.restored` | which state the database was restored to, in the format of `.sent` | as `.sent` |
//! | `.ltx-new`, `.snapshot-new` | a file that is made before it is sent | it is made again |
//! | `.read` | a file of the replica while it is read | it is fetched again |
//!
//! The last three, which may be as large as the database, may lie in another directory.
//! Next to them are `.new` files while one of these is replaced, and
//! `.monolite-merging-…` files while files of a replica are merged.

use std::path::{Path, PathBuf};

use monolite_ltx::Checksum;
use monolite_volume::layout::replica;

/// Characters of a database's path that are part of its files' names.
const READABLE_CHARS: usize = 80;

/// The names of these files.
#[derive(Clone, Debug)]
pub(super) struct StateFiles {
    map: PathBuf,
    /// For large files that are soon removed.
    scratch: PathBuf,
}

impl StateFiles {
    /// In the directory `state`: a name that people can read, and a number that
    /// differs where two names read the same.
    pub(super) fn new(state: &Path, destination: &str, database: &str) -> Self {
        let readable: String = (database.chars())
            .map(|c| match c.is_ascii_alphanumeric() || c == '.' {
                true => c,
                false => '_',
            })
            .take(READABLE_CHARS)
            .collect();
        let whole = format!("{destination}\n{database}");
        let number = Checksum::of_page(0, whole.as_bytes()).get();
        Self {
            scratch: state.into(),
            map: state.join(format!("{readable}-{number:016x}.{}", replica::MAP)),
        }
    }

    /// Large files that are soon removed are made in this directory.
    pub(super) fn scratch_in(self, scratch: PathBuf) -> Self {
        Self { scratch, ..self }
    }

    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }

    fn in_scratch(&self, extension: &str) -> PathBuf {
        let path = self.map.with_extension(extension);
        self.scratch.join(path.file_name().unwrap_or_default())
    }

    pub(super) fn map(&self) -> PathBuf {
        self.map.clone()
    }

    pub(super) fn sent(&self) -> PathBuf {
        self.map.with_extension(replica::SENT)
    }

    pub(super) fn restored(&self) -> PathBuf {
        self.map.with_extension(replica::RESTORED)
    }

    pub(super) fn difference(&self) -> PathBuf {
        self.in_scratch("ltx-new")
    }

    pub(super) fn snapshot(&self) -> PathBuf {
        self.in_scratch("snapshot-new")
    }

    pub(super) fn download(&self) -> PathBuf {
        self.in_scratch("read")
    }
}
