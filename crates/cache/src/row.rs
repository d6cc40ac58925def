//! Columns of an entry's row.

use rusqlite::Row;

use crate::expiry::Deadline;

/// The columns `expires_ms` and `ttl_ms`, of which `first` is the first.
pub(crate) fn deadline(row: &Row<'_>, first: usize) -> rusqlite::Result<Deadline> {
    Ok(Deadline {
        expires_ms: row.get(first)?,
        ttl_ms: row.get(first + 1)?,
    })
}

/// A column that is a blob or NULL.
pub(crate) fn blob<'r>(row: &'r Row<'_>, column: usize) -> rusqlite::Result<Option<&'r [u8]>> {
    Ok(row.get_ref(column)?.as_blob_or_null()?)
}

/// A number as SQLite stores it.
pub(crate) fn int(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
