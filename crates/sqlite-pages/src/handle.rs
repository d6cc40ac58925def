//! The files that a connection has open, read through SQLite's own handles.
#![expect(unsafe_code, reason = "SQLite's file handles have no safe interface")]

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering, fence};

use monolite_sqlite_format::wal_index::{Header, REGION_SIZE};
use rusqlite::{Connection, ffi};

/// One of the two files of a connection's `main` database.
#[derive(Clone, Copy, Debug)]
pub(crate) enum File {
    Database,
    /// The log, in WAL mode only: it is another file in other modes.
    Log,
}

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Whole,
    /// The file ends before the end of what was asked for.
    Short,
}

/// Reads `into.len()` bytes at `offset`.
pub(crate) fn read(
    conn: &Connection,
    file: File,
    offset: u64,
    into: &mut [u8],
) -> Result<Read, ffi::Error> {
    let misuse = || ffi::Error::new(ffi::SQLITE_MISUSE);
    let handle = handle(conn, file)?;
    let length = c_int::try_from(into.len()).map_err(|_| misuse())?;
    let offset = i64::try_from(offset).map_err(|_| misuse())?;
    // SAFETY: `handle` is an open file of the connection, which is borrowed and
    // so neither closed nor used by another thread; `into` has `length` bytes.
    let code = unsafe {
        let methods = (*handle.as_ptr()).pMethods.as_ref().ok_or_else(misuse)?;
        let read = methods.xRead.ok_or_else(misuse)?;
        read(handle.as_ptr(), into.as_mut_ptr().cast(), length, offset)
    };
    match code {
        ffi::SQLITE_OK => Ok(Read::Whole),
        ffi::SQLITE_IOERR_SHORT_READ => Ok(Read::Short),
        code => Err(ffi::Error::new(code)),
    }
}

/// What the header of the log's index says now; `None` if it is in no state to
/// be read: a writer died while it wrote it, and the next transaction repairs
/// it; or this connection has no index in shared memory.
///
/// To be called in WAL mode only: in another one this would make an index.
pub(crate) fn index_header(conn: &Connection) -> Result<Option<Header>, ffi::Error> {
    /// Looks before a header that is never sound is given up. A writer needs
    /// less than a microsecond for it.
    const LOOKS: usize = 1000;
    let Index::Shared(region) = region(conn, 0)? else {
        return Ok(None);
    };
    for _ in 0..LOOKS {
        let first = words(region, 0);
        fence(Ordering::SeqCst);
        let second = words(region, Header::SIZE);
        if let Some(header) = Header::parse(&first, &second) {
            return Ok(Some(header));
        }
        std::hint::spin_loop();
    }
    Ok(None)
}

/// The salts of the log as the index has them now, also while a writer is
/// writing them: two that are one old and one new are neither.
pub(crate) fn salts(conn: &Connection) -> Result<Option<[u32; 2]>, ffi::Error> {
    // What was read before was read before.
    fence(Ordering::SeqCst);
    Ok(match region(conn, 0)? {
        Index::Shared(region) => Some([word(region, 32), word(region, 36)]),
        Index::Own | Index::Missing => None,
    })
}

/// Whether SQLite keeps the index in memory of its own, since it may not write a
/// shared one and nobody else has made one.
pub(crate) fn has_own_index(conn: &Connection) -> Result<bool, ffi::Error> {
    Ok(matches!(region(conn, 0)?, Index::Own))
}

/// Calls `each` with the page number of the log's frames from 1 to `frames`, in
/// their order. `false` if the index does not hold so many.
pub(crate) fn frame_pages(
    conn: &Connection,
    frames: u32,
    mut each: impl FnMut(u32),
) -> Result<bool, ffi::Error> {
    for (number, start, count) in monolite_sqlite_format::wal_index::page_numbers(frames) {
        let Index::Shared(region) = region(conn, number)? else {
            return Ok(false);
        };
        for at in 0..count {
            each(word(region, start + 4 * at));
        }
    }
    Ok(true)
}

/// A file of the connection's `main` database.
fn handle(conn: &Connection, file: File) -> Result<NonNull<ffi::sqlite3_file>, ffi::Error> {
    let what = match file {
        File::Database => ffi::SQLITE_FCNTL_FILE_POINTER,
        File::Log => ffi::SQLITE_FCNTL_JOURNAL_POINTER,
    };
    let mut file: *mut ffi::sqlite3_file = ptr::null_mut();
    // SAFETY: the connection is open, the name ends with a zero byte, and these
    // two operations write one pointer.
    let code = unsafe {
        let into: *mut c_void = ptr::from_mut(&mut file).cast();
        ffi::sqlite3_file_control(conn.handle(), c"main".as_ptr(), what, into)
    };
    match (code, NonNull::new(file)) {
        (ffi::SQLITE_OK, Some(file)) => Ok(file),
        (ffi::SQLITE_OK, None) => Err(ffi::Error::new(ffi::SQLITE_MISUSE)),
        (code, _) => Err(ffi::Error::new(code)),
    }
}

/// A region of the log's index.
enum Index {
    /// It stays mapped as long as the connection is in WAL mode.
    Shared(NonNull<u32>),
    /// SQLite has the index in memory of its own.
    Own,
    /// The index is not that long.
    Missing,
}

/// Maps a region that SQLite has mapped already, or does from now on. The index
/// is never made longer.
fn region(conn: &Connection, number: u32) -> Result<Index, ffi::Error> {
    let misuse = || ffi::Error::new(ffi::SQLITE_MISUSE);
    let handle = handle(conn, File::Database)?;
    let number = c_int::try_from(number).map_err(|_| misuse())?;
    let mut region: *mut c_void = ptr::null_mut();
    // SAFETY: `handle` is an open file of the borrowed connection; a VFS that
    // has no shared memory says so by its version or by a null function.
    let code = unsafe {
        let methods = (*handle.as_ptr()).pMethods.as_ref().ok_or_else(misuse)?;
        let Some(map) = methods.xShmMap.filter(|_| methods.iVersion >= 2) else {
            return Ok(Index::Own);
        };
        map(
            handle.as_ptr(),
            number,
            REGION_SIZE as c_int,
            0,
            &raw mut region,
        )
    };
    match code {
        // Read-only: the file is not ours to write, the memory is the same.
        ffi::SQLITE_OK | ffi::SQLITE_READONLY => {
            Ok(NonNull::new(region.cast()).map_or(Index::Missing, Index::Shared))
        }
        ffi::SQLITE_READONLY_CANTINIT => Ok(Index::Own),
        code => Err(ffi::Error::new(code)),
    }
}

fn words(region: NonNull<u32>, from: usize) -> [u32; 12] {
    std::array::from_fn(|at| word(region, from + 4 * at))
}

/// The word at byte `at` of a region.
fn word(region: NonNull<u32>, at: usize) -> u32 {
    debug_assert!(at.is_multiple_of(4) && at + 4 <= REGION_SIZE);
    // SAFETY: a region is `REGION_SIZE` bytes of mapped memory, aligned to a
    // page. Other processes write it at any time, so it is read as an atomic.
    unsafe { AtomicU32::from_ptr(region.as_ptr().add(at / 4)) }.load(Ordering::Relaxed)
}
