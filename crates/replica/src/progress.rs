//! Saying how far a long piece of work is, to whoever wants to show it.

use std::fmt::Debug;

use crate::backup::Pages;

/// Receives the progress of a restore, a verification or a backup.
///
/// Called from several threads, up to a few thousand times a second; it must
/// not block. `()` is for those who do not want to know.
pub trait Progress: Debug + Send + Sync {
    /// A step begins, named for people, as in `downloading`. `total` is how
    /// many bytes it will be, where that is known.
    fn begin(&self, step: &'static str, total: Option<u64>) {
        let _ = (step, total);
    }

    /// That many more bytes of the step are done.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Those pages of so many bytes were written to its copy as they are: for
    /// whoever wants to know what is in a copy without reading it. Not called
    /// for a copy that shares the database's blocks.
    fn copied(&self, page_size: u32, pages: Pages<'_>) {
        let _ = (page_size, pages);
    }
}

impl Progress for () {}
