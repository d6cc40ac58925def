//! Columns of rows that anybody may have written: what is out of bounds is
//! read as the nearest value, so that one damaged row does not stop a queue.

use jiff::Timestamp;
use rusqlite::Row;

/// Text, with what is not UTF-8 replaced.
pub(super) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(column)?.as_bytes_or_null() {
        Ok(Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => row.get(column)?,
    })
}

/// As [`text`], where there may be none.
pub(super) fn optional_text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    let bytes = row.get_ref(column)?.as_bytes_or_null().ok().flatten();
    Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
}

/// A count, kept within what a `u32` holds.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u32>> {
    let value: Option<i64> = row.get(column)?;
    Ok(value.map(|value| u32::try_from(value.max(0)).unwrap_or(u32::MAX)))
}

/// A time, kept within the years that a [`Timestamp`] holds.
pub(super) fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(from_ms)
}

/// As [`timestamp`], where there may be none.
pub(super) fn optional_timestamp(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<Timestamp>> {
    let ms: Option<i64> = row.get(column)?;
    Ok(ms.map(from_ms))
}

fn from_ms(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(if ms < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}
