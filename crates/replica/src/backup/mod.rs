//! A consistent copy of a live database: to a file, to any writer, compressed
//! or not, and as snapshots on the volume itself.
//!
//! A copy is one committed state. It is read in one read transaction, so other
//! processes go on writing a database in WAL mode; one in rollback mode they
//! can write again when the copy has been read. What comes out is a plain
//! database file: page for page what the state holds, with no WAL,
//! and in the journal mode that the database had.
//!
//! No descriptor of a database is opened besides SQLite's own: the one closed
//! first would take all locks of this process on the database with it.

mod buffer;
mod check;
mod compression;
mod copy;
mod direct;
mod error;
mod file;
mod free_space;
pub mod local;
mod pump;
mod reader;
mod source;
mod temporary;
mod unpack;

pub use check::Check;
pub use compression::Compression;
pub use copy::Copy;
pub use error::{Error, Result};
pub use file::{BackupOptions, to_file, to_temporary};
pub use monolite_platform::cancel::Cancel;
pub use pump::{Backup, to_writer};
pub use reader::{CopyReader, Pages};
pub use unpack::{compression_of, unpack};
