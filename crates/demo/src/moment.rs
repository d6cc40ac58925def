//! A point in time, for people and for `<time datetime>`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Milliseconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moment(pub(crate) i64);

impl Moment {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)))
    }

    /// As `2026-03-12T10:11:12Z`.
    pub(crate) fn iso(self) -> String {
        self.utc().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// As `3 minutes ago`, and a date once that is a week.
    /// `assets/app.js` says the same words.
    pub(crate) fn human(self, now: &Self) -> String {
        let seconds = now.0.saturating_sub(self.0) / 1000;
        match seconds {
            ..45 => "just now".into(),
            45..HOUR => ago((seconds / MINUTE).max(1), "minute"),
            HOUR..DAY => ago(seconds / HOUR, "hour"),
            _ if seconds < 7 * DAY => ago(seconds / DAY, "day"),
            _ => self.utc().strftime("%-d %B %Y").to_string(),
        }
    }

    /// Whoever asks for a year beyond 9999 gets 1970.
    fn utc(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or_default()
    }
}

fn ago(count: i64, unit: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{s} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_is_the_calendar_s() {
        assert_eq!(Moment(0).iso(), "1970-01-01T00:00:00Z");
        assert_eq!(Moment(-1).iso(), "1969-12-31T23:59:59Z");
        assert_eq!(Moment(1_709_164_799_999).iso(), "2024-02-28T23:59:59Z");
        assert_eq!(Moment(1_709_164_800_000).iso(), "2024-02-29T00:00:00Z");
        assert_eq!(Moment(1_709_251_200_000).iso(), "2024-03-01T00:00:00Z");
    }

    #[test]
    fn human_words() {
        let now = Moment(1_709_164_800_000);
        let before = |seconds: i64| Moment(now.0 - seconds * 1000).human(&now);
        assert_eq!(before(-500), "just now");
        assert_eq!(before(44), "just now");
        assert_eq!(before(50), "1 minute ago");
        assert_eq!(before(3 * MINUTE), "3 minutes ago");
        assert_eq!(before(HOUR), "1 hour ago");
        assert_eq!(before(2 * DAY), "2 days ago");
        assert_eq!(before(8 * DAY), "21 February 2024");
    }

    #[test]
    fn absurd_rows_do_no_harm() {
        for ms in [i64::MIN, i64::MAX] {
            let _ = (Moment(ms).iso(), Moment(ms).human(&Moment(0)));
        }
    }
}
