//! Which errors pass by themselves, and which last until somebody acts.

use std::io;

use rusqlite::{ErrorCode, ffi};

/// Whether waiting helps against an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// It may pass by itself: a network or a provider that is down, a database
    /// that is locked, a full disk.
    Transient,
    /// Another machine holds the replica's lease. It passes when that machine
    /// stops, or when its lease expires.
    LeaseHeld,
    /// It lasts until somebody changes something: a refused credential, a bucket
    /// that does not exist, a read-only file, another volume's replica, a
    /// SQLite without a feature that is needed.
    Permanent,
}

impl ErrorClass {
    /// A short name for logs and JSON: `transient`, `lease_held`, `permanent`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::LeaseHeld => "lease_held",
            Self::Permanent => "permanent",
        }
    }

    /// An error of the operating system. A full disk may be emptied, and a
    /// network mount may come back; rights do not change by waiting.
    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::Unsupported => Self::Permanent,
            _ => Self::Transient,
        }
    }

    /// An error of SQLite. What depends on other processes, on memory or on the
    /// disk may pass, as a file that is still copied in. The rest is about the
    /// statement, the file's content or the rights to it, and comes again each time.
    pub(crate) fn of_sqlite(error: &rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(error, _) = error else {
            return Self::Permanent;
        };
        // Another process, or one that may write, has to recover the database first.
        if [
            ffi::SQLITE_READONLY_CANTINIT,
            ffi::SQLITE_READONLY_RECOVERY,
            ffi::SQLITE_READONLY_ROLLBACK,
        ]
        .contains(&error.extended_code)
        {
            return Self::Transient;
        }
        match error.code {
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted
            | ErrorCode::OperationAborted
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::CannotOpen
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::SchemaChanged => Self::Transient,
            _ => Self::Permanent,
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, OpenFlags};

    use super::*;

    fn of_sql(sql: &str) -> ErrorClass {
        let conn = Connection::open_in_memory().unwrap();
        ErrorClass::of_sqlite(&conn.execute_batch(sql).unwrap_err())
    }

    #[test]
    fn an_sql_error_is_permanent_and_a_lock_is_not() {
        for sql in ["SELECT * FROM missing", "not SQL", "SELECT missing()"] {
            assert_eq!(of_sql(sql), ErrorClass::Permanent, "{sql}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let open = || Connection::open(&path).unwrap();
        let (one, two) = (open(), open());
        two.busy_timeout(std::time::Duration::ZERO).unwrap();
        one.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let busy = two.execute_batch("BEGIN IMMEDIATE").unwrap_err();
        assert_eq!(ErrorClass::of_sqlite(&busy), ErrorClass::Transient);
        drop(one);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let reader = Connection::open_with_flags(&path, flags).unwrap();
        let refused = reader.execute_batch("CREATE TABLE t (x)").unwrap_err();
        assert_eq!(ErrorClass::of_sqlite(&refused), ErrorClass::Permanent);
        // It may be that the volume is being mounted.
        let missing = Connection::open_with_flags(dir.path().join("none"), flags).unwrap_err();
        assert_eq!(ErrorClass::of_sqlite(&missing), ErrorClass::Transient);
        std::fs::write(&path, [7; 4096]).unwrap();
        let garbage = open().execute_batch("SELECT * FROM sqlite_schema");
        let garbage = garbage.unwrap_err();
        assert_eq!(ErrorClass::of_sqlite(&garbage), ErrorClass::Permanent);
    }

    #[test]
    fn a_database_that_is_to_be_recovered_first_is_waited_for() {
        for (code, class) in [
            (ffi::SQLITE_READONLY_CANTINIT, ErrorClass::Transient),
            (ffi::SQLITE_READONLY_RECOVERY, ErrorClass::Transient),
            (ffi::SQLITE_READONLY_ROLLBACK, ErrorClass::Transient),
            (ffi::SQLITE_READONLY_DIRECTORY, ErrorClass::Permanent),
            (ffi::SQLITE_READONLY, ErrorClass::Permanent),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(ErrorClass::of_sqlite(&error), class, "{code}");
        }
    }

    #[test]
    fn rights_last_and_a_full_disk_does_not() {
        let class = |kind: io::ErrorKind| ErrorClass::of_io(&kind.into());
        assert_eq!(
            class(io::ErrorKind::PermissionDenied),
            ErrorClass::Permanent
        );
        assert_eq!(
            class(io::ErrorKind::ReadOnlyFilesystem),
            ErrorClass::Permanent
        );
        assert_eq!(class(io::ErrorKind::StorageFull), ErrorClass::Transient);
        assert_eq!(class(io::ErrorKind::NotFound), ErrorClass::Transient);
    }
}
