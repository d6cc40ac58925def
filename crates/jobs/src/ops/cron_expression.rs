//! When a cron expression is due.

use std::str::FromStr;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::{Error, Result};

/// The first tick after a time; both in milliseconds since 1970.
///
/// # Errors
/// [`Error::Invalid`] for an expression or time zone that is none.
pub(super) fn next_tick(schedule: &str, zone: &str, after_ms: i64) -> Result<i64> {
    let bad = |why: String| Error::invalid("recurring job", why);
    let cron = Cron::from_str(schedule)
        .map_err(|error| bad(format!("{schedule:?} is not a cron expression: {error}")))?;
    let zone = TimeZone::get(zone).map_err(|_| {
        bad(format!(
            "{zone:?} is not a time zone; try \"UTC\" or \"Europe/Berlin\""
        ))
    })?;
    let after = Timestamp::from_millisecond(after_ms).map_err(|error| bad(error.to_string()))?;
    let next: Zoned = cron
        .find_next_occurrence(&after.to_zoned(zone), false)
        .map_err(|error| bad(format!("{schedule:?} is never due: {error}")))?;
    Ok(next.timestamp().as_millisecond())
}
