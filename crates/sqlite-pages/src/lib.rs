//! Reads the pages of a live database as one read transaction sees them.
//!
//! SQLite's own way, the virtual table `sqlite_dbpage`, exists only if SQLite
//! was compiled with an option that a crate cannot ask for. This crate reads
//! the files instead, through the descriptors that SQLite itself has open: a
//! descriptor of our own on the database would drop SQLite's POSIX locks when
//! it is closed.
//!
//! # Why what is read is what the transaction sees
//! In a rollback journal mode nobody writes the database while a read
//! transaction holds its shared lock: a page is what the file has.
//!
//! In WAL mode a page is what its last frame in the log has, of the frames that
//! were committed when the transaction began; and if it has none there, what the
//! database has.
//!
//! - **Which frames.** The header of the log's index is read before the
//!   transaction begins and after. If it is the same, the transaction began on
//!   that state; else another one is tried. The index then lists the pages of
//!   its frames.
//! - **Frames stay.** By SQLite's locks, a read transaction is of one of two
//!   kinds. On a read mark above 0, the log is not reset while it lasts. On
//!   mark 0, the whole log was in the database when the transaction began; then
//!   the log may be reset, but nothing is copied into the database while the
//!   transaction lasts, so the database has every page. A reset writes new
//!   salts into the index before it writes any frame. So the salts are looked
//!   at *after* a frame was read: if they are the same, the frame was still
//!   there, and if not, the database is read.
//! - **The database stays.** A checkpoint copies frames of our state or older
//!   ones. The pages it writes meanwhile have frames in the log, and are not
//!   read from the database; or the transaction is on mark 0, and there is no
//!   checkpoint.
//!
//! ```
//! use monolite_sqlite_pages::Pages;
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("app.sqlite3");
//! let conn = rusqlite::Connection::open(&path)?;
//! conn.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE member (name)")?;
//!
//! let pages = Pages::begin(&conn)?;
//! let mut page = vec![0; pages.page_size() as usize];
//! pages.read(1, &mut page)?;
//! assert!(page.starts_with(b"SQLite format 3\0"));
//! conn.execute_batch("COMMIT")?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod handle;
mod pages;

pub use pages::Pages;
