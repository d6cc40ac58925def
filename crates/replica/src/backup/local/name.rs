//! The names of snapshots: their time in UTC, as in `20261121T143000Z.sqlite3`.

use std::ffi::OsStr;

const EXTENSION: &str = ".sqlite3";

pub(super) fn name_of(taken_ms: i64) -> Result<String, jiff::Error> {
    let taken = jiff::Timestamp::from_millisecond(taken_ms)?;
    Ok(format!("{}{EXTENSION}", taken.strftime("%Y%m%dT%H%M%SZ")))
}

/// When the snapshot of that name was taken, if it is the name of one.
pub(super) fn taken_of(name: &OsStr) -> Option<i64> {
    let name = name.to_str()?;
    let time = name.strip_suffix(EXTENSION)?;
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    let taken_ms = time.timestamp().as_millisecond();
    (name_of(taken_ms).ok()? == name).then_some(taken_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_names() {
        let name = "20261121T143000Z.sqlite3";
        assert_eq!(name_of(1_795_271_400_000).ok().as_deref(), Some(name));
        assert_eq!(taken_of(OsStr::new(name)), Some(1_795_271_400_000));
        for other in [
            "20261121T143000Z.sqlite3.copying-0123456789abcdef",
            "20261121T143000Z.sqlite3-wal",
            "20261121T143000Z",
            "20261321T143000Z.sqlite3",
            "2026-11-21T14:30:00Z.sqlite3",
            "20261121T143000.sqlite3",
            "app.sqlite3",
        ] {
            assert_eq!(taken_of(OsStr::new(other)), None, "{other}");
        }
    }
}
